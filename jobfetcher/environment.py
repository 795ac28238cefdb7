"""Where settings come from: environment variables and the ``.env`` file. The only reader of both.

Light on purpose: commands that only look at the database load this and no validation library.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "JOBFETCHER_"
ENV_FILE = Path(".env")
DEFAULT_BASE = "~/temp/decode_cloud/mounts"
"""The existing worker's default of ``PATH_BASE``."""

VERBATIM = ("PASSWORD", "ACCESS_TOKEN")
"""What may contain anything, so that nothing is cut off or out of it."""
_COMMENT = re.compile(r"\s+#.*$", re.DOTALL)

SPELLINGS = {"TIMEOUT_STATUS": ("TIMEOUT_STATUS", "TIMOUT_STATUS")}
"""Names that users have in their files in more than one spelling; the first found counts."""


class Misread(ValueError):
    """The ``.env`` file or a folder in the settings cannot be made out; the message says what to do."""


@dataclass(frozen=True)
class Found:
    """A value and where it came from."""

    value: str
    variable: str
    """The name it was found under (``JOBFETCHER_API_URL``)."""
    place: str
    """``environment`` or ``.env``."""

    @property
    def origin(self) -> str:
        """``API_URL (.env)``, for messages."""
        return f"{self.variable} ({self.place})"


def read_env_file(path: Path = ENV_FILE) -> dict[str, str]:
    """The variables of a ``.env`` file; none if there is no such file. Raises ``Misread``."""
    try:
        if not path.is_file():
            return {}
        from dotenv import dotenv_values

        return {name: value for name, value in dotenv_values(path).items() if value is not None}
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise Misread(
            f"The file {path} in the current folder cannot be read ({why}); let this account read it."
        ) from None
    except UnicodeDecodeError:
        raise Misread(f"The file {path} is not UTF-8 text; save it as UTF-8.") from None


def lookup(name: str, environ: Mapping[str, str], env_file: Mapping[str, str]) -> Found | None:
    """The value of the setting ``name`` (upper case), or None where it is unset or empty.

    ``JOBFETCHER_NAME`` wins over ``NAME``; among equals of the plain name the ``.env`` file wins over
    the environment, because login shells set ``USERNAME``.
    """
    names = SPELLINGS.get(name, (name,))
    places = [(PREFIX + n, environ, "environment") for n in names]
    places += [(PREFIX + n, env_file, str(ENV_FILE)) for n in names]
    places += [(n, env_file, str(ENV_FILE)) for n in names]
    places += [(n, environ, "environment") for n in names]
    for variable, source, place in places:
        if value := _bare(name, source.get(variable, "").strip()):
            return Found(value, variable, place)
    return None


def _bare(name: str, value: str) -> str:
    """``docker run --env-file`` takes a line's comment and quotes for part of the value."""
    if name in VERBATIM:
        return value
    value = "" if value.startswith("#") else _COMMENT.sub("", value)
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def value_of(name: str) -> str | None:
    """The setting ``name`` (upper case) of this process as it was written; None where it is not given."""
    found = lookup(name, os.environ, read_env_file())
    return found.value if found else None


def path_base() -> Path:
    """The worker's folder, as the settings would give it. Raises ``Misread``."""
    return folder_at(value_of("PATH_BASE") or DEFAULT_BASE)


def folder_at(written: str | Path) -> Path:
    """The absolute path of a folder as people write it (``~``, relative). Raises ``Misread``."""
    try:
        folder = Path(written).expanduser().absolute()
    except (RuntimeError, OSError):
        # This account has no home, '~name' names nobody, or the current folder was removed.
        raise Misread(
            f"Where {str(written)!r} is cannot be found out; set PATH_BASE to a path that begins with '/'."
        ) from None
    if "?" in str(folder):
        # The database's address would end there, and two such folders would share one file.
        raise Misread(f"The folder {str(folder)!r} has a '?' in its name; choose a PATH_BASE without.")
    return folder


def database_url() -> str:
    """The URL of the worker's database, as the settings would give it."""
    return value_of("DATABASE_URL") or f"sqlite:///{path_base() / 'jobfetcher.db'}"
