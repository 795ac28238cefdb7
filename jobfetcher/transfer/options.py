"""What downloads and uploads of one job have in common."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from jobfetcher.api.retries import NEVER, Policy
from jobfetcher.transfer.batch import COUNT
from jobfetcher.transfer.pool import INACTIVITY_SECONDS
from jobfetcher.transfer.worth import TERMS, Terms
from states.ports import Stop, StoredFile

OnDone = Callable[[StoredFile], None]
OnWhole = Callable[[Sequence[StoredFile]], None]


@dataclass(frozen=True)
class Transfer:
    """How the files of one job are moved."""

    stop: Stop = NEVER
    connections: int = 8
    """Files moved side by side."""
    done: Iterable[StoredFile] = ()
    """What is whole already."""
    on_whole: OnWhole = lambda _: None
    """Called with files that have become whole, from any thread; small ones come many at a time."""
    together: int = COUNT
    """Small files that become whole at once, at most."""
    policy: Policy | None = None
    """None: that of the API."""
    inactivity: float = INACTIVITY_SECONDS
    """The longest silence of a server, in seconds."""
    terms: Terms = TERMS
    """When one large file is received in ranges."""

    @classmethod
    def telling_each(cls, on_done: OnDone, **options: object) -> Self:
        """Options with ``on_done`` for each file as soon as it is whole."""

        def each(files: Sequence[StoredFile]) -> None:
            for file in files:
                on_done(file)

        return cls(on_whole=each, together=1, **options)  # type: ignore[arg-type]  # the fields' own types
