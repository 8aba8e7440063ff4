"""A configuration trained from several seeds, as the average of what came out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.averaging import average_stacks
from engine.base import Base
from engine.errors import DoesNotFitError
from engine.training import Course, train_candidates
from tests.engine.test_training import CANDIDATE, HISTORY, SETTINGS
from workers.failures import StepFailedError
from workers.steps.averaged import averaged, members_of


def test_members_have_one_configuration_and_seeds_and_orders_of_their_own_the_first_the_candidates() -> None:
    members = members_of(CANDIDATE, 4)
    assert members[0] == CANDIDATE
    assert {member.configuration for member in members} == {CANDIDATE.configuration}
    for own in ("seed", "key", "order_seed"):
        assert len({getattr(member, own) for member in members}) == 4
    assert members_of(CANDIDATE, 4) == members
    assert members_of(CANDIDATE, 1) == [CANDIDATE]


def test_a_member_that_diverged_is_left_out_of_the_average(base: Base) -> None:
    trained = train_candidates(base, members_of(CANDIDATE, 3), Course(HISTORY, SETTINGS))
    first, second, third = (one.stack for one in trained)
    assert first is not None
    assert third is not None
    of_two = averaged([trained[0], replace(trained[1], stack=None), trained[2]])
    expected = average_stacks([first, third])
    assert all((of_two.a[name] == expected.a[name]).all() for name in expected.a)
    of_all = averaged(trained)
    assert second is not None
    assert any((of_all.a[name] != of_two.a[name]).any() for name in of_all.a)


def test_where_none_trained_well_there_is_no_average(base: Base) -> None:
    trained = train_candidates(base, [CANDIDATE], Course(HISTORY, SETTINGS))
    with pytest.raises(StepFailedError, match="lower learning_rate"):
        averaged([replace(trained[0], stack=None)])
    with pytest.raises(DoesNotFitError):
        averaged([replace(trained[0], stack=None), replace(trained[0], stack=None, fits=False)])
