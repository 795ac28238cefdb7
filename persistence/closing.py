"""What a connection needs so that ``with`` closes it."""

from typing import Self


class Closing:
    """A context manager that calls ``close`` at the end."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
