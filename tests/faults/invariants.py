"""What must hold after any fault, looked up in database, store and process table alike.

Knows nothing of the fault there was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sqlmodel import Session, col, select

from adapters_store.errors import StoreError
from adapters_store.layout import RECORD_FILE
from adapters_store.store import AdapterStore
from app.database import Database
from app.job_states import FINAL, StepKind, StepState, TrialState
from app.repositories import tallies
from app.tables import Event, Job, SampleRow, Step, Trial, User, Version
from tests.faults.figures import Figures

_OPEN = (StepState.ready, StepState.claimed)


@dataclass
class Found:
    """What must not be, by its name."""

    lost_samples: list[str] = field(default_factory=list)
    stuck_jobs: list[str] = field(default_factory=list)
    failed_jobs: list[str] = field(default_factory=list)
    miscounted_trials: list[str] = field(default_factory=list)
    half_versions: list[str] = field(default_factory=list)
    nameless_folders: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def hold(self, figures: Figures, after: str) -> None:
        """Keep a row of each, and fail if anything was found."""
        figures.none_of(self.lost_samples, f"{after}: acknowledged samples lost", "samples")
        figures.none_of(self.stuck_jobs, f"{after}: jobs without an end", "jobs")
        figures.none_of(self.failed_jobs, f"{after}: jobs that failed", "jobs")
        figures.none_of(self.miscounted_trials, f"{after}: trials lost or counted twice", "trials")
        figures.none_of(self.half_versions, f"{after}: versions named and not whole", "versions")
        figures.none_of(self.nameless_folders, f"{after}: stored folders that no row names", "folders")
        figures.none_of(self.orphans, f"{after}: processes left behind", "processes")


def look_meanwhile(database: Database, store: AdapterStore, acknowledged: Mapping[str, Collection[str]]) -> Found:
    """What must hold at any moment, work going on: no sample is lost, no version is seen that is not whole."""
    found = Found()
    with database.read() as session:
        named = _look_at_samples_and_versions(session, acknowledged, found)
    found.half_versions += not_whole(store, named)
    return found


def look_over(
    database: Database, store: AdapterStore, data_dir: Path, acknowledged: Mapping[str, Collection[str]]
) -> Found:
    """Everything, once all jobs have had the time to end, all processes were told to stop and leftovers are erased.

    Args:
        data_dir: of the service, named by the environment of each of its processes.
        acknowledged: by user, the queries of all samples that the service said it had taken.
    """
    found = Found()
    with database.read() as session:
        named = _look_at_samples_and_versions(session, acknowledged, found)
        for job in session.exec(select(Job)):
            _look_at_job(session, job, found)
        _look_at_tallies(session, found)
    found.half_versions += not_whole(store, named)
    found.nameless_folders += sorted(_stored(data_dir / "store") - named)
    found.orphans += sorted(f"{p.pid} {' '.join(p.cmdline())}" for p in processes_of(data_dir))
    return found


def not_whole(store: AdapterStore, paths: Collection[str]) -> list[str]:
    """Those of the versions that cannot be read byte for byte as they were published."""
    damaged = []
    for path in sorted(paths):
        try:
            store.export_zip(path)
        except StoreError as error:
            damaged.append(f"{path}: {error}")
    return damaged


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Whatever runs with this data folder in its environment."""
    mine = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MILP_DATA_DIR") == str(data_dir) and process.status() != psutil.STATUS_ZOMBIE:
                mine.append(process)
        except psutil.Error:
            continue
    return mine


def _look_at_samples_and_versions(
    session: Session, acknowledged: Mapping[str, Collection[str]], found: Found
) -> set[str]:
    """The paths of all versions that a row names."""
    for user_id, queries in acknowledged.items():
        kept = set(session.exec(select(SampleRow.query).where(SampleRow.user_id == user_id)))
        found.lost_samples += sorted(set(queries) - kept)
    pointed = session.exec(select(User.active_version_id).where(col(User.active_version_id).is_not(None)))
    known = set(session.exec(select(Version.id)))
    found.half_versions += sorted(str(version) for version in set(pointed) - known)
    return set(session.exec(select(Version.path)))


def _look_at_tallies(session: Session, found: Found) -> None:
    """What /metrics tells of trials, against the trials there are."""
    told = {label: total.count for label, total in tallies.of_all_tenants(session)[tallies.Counted.trial].items()}
    ended = Counter(trial.state.value for trial in session.exec(select(Trial)))
    found.miscounted_trials += [
        f"{ended[state]} {state} trials, of which {count} were tallied"
        for state, count in told.items()
        if ended[state] != count
    ]


def _look_at_job(session: Session, job: Job, found: Found) -> None:
    if job.status not in FINAL:
        found.stuck_jobs.append(f"{job.id} is {job.status}")
        return
    steps = session.exec(select(Step).where(Step.job_id == job.id)).all()
    found.stuck_jobs += [
        f"step {step.id} of the ended {job.id} is {step.state}" for step in steps if step.state in _OPEN
    ]
    if job.status != "succeeded":
        found.failed_jobs.append(f"{job.id}: {job.error}")
        return
    trials = session.exec(select(Trial).where(Trial.job_id == job.id)).all()
    told = Counter(
        event.data["number"]
        for event in session.exec(select(Event).where(Event.job_id == job.id, Event.kind == "trial"))
    )
    # Each was planned once, ended once, and was told of once.
    found.miscounted_trials += [f"{job.id} {trial.number}" for trial in trials if trial.state == TrialState.planned]
    found.miscounted_trials += [f"{job.id} {n}" for n in range(job.trials_planned) if told[n] != 1]
    numbers = sorted(trial.number for trial in trials)
    if numbers != list(range(job.trials_planned)):
        found.miscounted_trials.append(f"{job.id} has {numbers} of {job.trials_planned}")
    if sum(step.kind == StepKind.publish for step in steps) != 1:
        found.miscounted_trials.append(f"{job.id} was published more than once")


def _stored(store: Path) -> set[str]:
    """Folders of the store that look like a version."""
    return {
        str(record.parent.relative_to(store)) for record in store.rglob(RECORD_FILE) if ".aside" not in record.parts
    }
