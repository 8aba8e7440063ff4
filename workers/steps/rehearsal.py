"""The winner as it is going to be published, but without the validation part, which then says how well it answers.

The search compared single trainings of few passes; what is published is an average of several that learned longer. So
the gate is shown the scores of such an average. Must not know the test part, stores or gates.
"""

from __future__ import annotations

from collections.abc import Callable

from app.job_options import ResolvedOptions
from engine.evaluation import Evaluation
from engine.training import Candidate, train_candidates
from workers.context import Context
from workers.steps.averaged import averaged, members_of
from workers.steps.evaluate import course_of
from workers.steps.history import JobHistory
from workers.steps.measure import Measure


def rehearse(
    context: Context,
    measure: Measure,
    history: JobHistory,
    options: ResolvedOptions,
    winner: Candidate,
    should_stop: Callable[[], bool],
) -> Evaluation:
    """Scores on validation of the average of the winner's members, trained on the train part.

    Raises:
        StepFailedError: `training_diverged`, the winner did this time, from every seed.
        DoesNotFitError: memory did not suffice for the winner this time.
        TrainingStoppedError: `should_stop` said so.
    """
    course = course_of(history, options, history.split.train)
    trained = train_candidates(context.base, members_of(winner, options.averaged), course, should_stop=should_stop)
    (scores,) = measure.stacks([averaged(trained)], history.split.validation)
    return scores
