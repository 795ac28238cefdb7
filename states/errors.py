"""How a step ends when it does not end well. Each error is named after what its catcher must do."""


class StepEnd(Exception):
    """Base of the deliberate ends; anything else that leaves a step is a bug."""


class JobFailed(StepEnd):
    """The job can never succeed: fire FAILED. The message is a sentence for the job's owner."""


class JobGone(StepEnd):
    """The API answered 404: the job is no longer ours. Fire GONE and tell the API nothing more."""


class RunLost(StepEnd):
    """The container vanished, or died with its engine or host: fire LOST. The message says how."""


class Paused(StepEnd):
    """Leave the state as it is, give the attempt back, and try again later.

    Raised when the worker is told to stop and when the API or the engine is away. ``retry_after``
    is the least number of seconds to wait, or ``None`` to leave it to the caller's backoff.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class IllegalMove(Exception):
    """A trigger was fired in a state that has no edge for it."""


class StaleJob(Exception):
    """The job's row has moved on since it was read: somebody else wrote it. Read it again."""
