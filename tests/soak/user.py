"""The user who submits and deletes jobs, and the other worker who takes some of them."""

import time
from dataclasses import dataclass

from mock_api.client import ControlRefused, MockControl
from mock_api.records import JobView
from tests.soak.actors import Actor, drawn
from tests.soak.jobs import Plan, plan

WAITING = 12
"""Unfinished jobs that the user keeps in the service."""
ENDED = frozenset({"finished", "error"})


@dataclass
class Submitted:
    """A job in the service."""

    plan: Plan
    id: int
    """The API's, which it may use again once the job is deleted."""
    submission: int
    """The mock's, which it does not."""
    at: float
    deleted_at: float | None = None


class User(Actor):
    """Keeps the queue filled, deletes jobs when their time has come, and lets the other worker in."""

    def __init__(self, control: MockControl, seed: int, image: str) -> None:
        super().__init__()
        self._control = control
        self._seed = seed
        self._image = image
        self._rival = drawn(seed, "rival")
        self.submitted: list[Submitted] = []
        self.taken = 0
        """Jobs that the other worker has pulled."""

    def act(self) -> float:
        views = self._control.jobs()
        self._delete()
        self._let_the_rival_take(views)
        for _ in range(len(unfinished(views)), WAITING):
            self.submit(plan(self._seed, len(self.submitted) + 1))
        return 1.0

    def submit(self, job: Plan) -> Submitted:
        """Hand in a job with its inputs."""
        for path, content in job.inputs.items():
            self._control.put_file(job.file_id(path), content)
        job_id = self._control.submit(**job.submission(self._image))
        view = self._control.job(job_id)
        assert view is not None, f"job {job_id} is gone before anybody could have taken it"
        submitted = Submitted(job, job_id, view.submission, time.time())
        self.submitted.append(submitted)
        return submitted

    def _delete(self) -> None:
        for job in self.submitted:
            due = job.plan.deleted_after
            if due is not None and job.deleted_at is None and time.time() > job.at + due:
                job.deleted_at = time.time()
                self._control.delete_job(job.id)

    def _let_the_rival_take(self, views: list[JobView]) -> None:
        for view in views:
            if view.status == "queued" and view.lease > 0 and self._rival.random() < 0.2:
                try:
                    self._control.take(view.id, "rival")
                    self.taken += 1
                except ControlRefused:
                    continue  # our worker, or its keep-alive, was faster


def unfinished(views: list[JobView]) -> list[JobView]:
    """Jobs that somebody still waits for."""
    return [view for view in views if view.status not in ENDED and not view.deleted]
