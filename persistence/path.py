"""Which file a database URL means."""

from pathlib import Path

_PREFIX = "sqlite:///"


def path_of(url: str) -> Path | None:
    """The file of a SQLite URL (``sqlite:///relative.db``, ``sqlite:////absolute.db``).

    None for any other URL and for a database in memory.
    """
    if not url.startswith(_PREFIX):
        return None
    name = url.removeprefix(_PREFIX).partition("?")[0]
    return Path(name) if name and name != ":memory:" else None


def url_of(path: Path) -> str:
    """The URL that means ``path``."""
    return f"{_PREFIX}{path}"


def backup_suffix(revision: str) -> str:
    """What the copy of a file of schema ``revision`` is called, that is made before it is migrated."""
    return f".backup-{revision}"


def beside(path: Path, suffix: str) -> Path:
    """The file that SQLite (or we) keep beside the database: ``-wal``, ``-shm``, ``.new``."""
    return path.with_name(path.name + suffix)
