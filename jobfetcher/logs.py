"""Logging: one constant event name plus fields; readable on a terminal, JSON lines elsewhere.

Everything logged while a thread works for a job carries that job's id (see ``about``). Registered
secrets and the query strings of URLs are masked in every line, and control characters are escaped: what
jobs name must neither command a terminal nor look like a line of ours.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TextIO

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
LINES = "\n\t"
_QUERY = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>)]+")
_job: ContextVar[Mapping[str, object]] = ContextVar("job", default=MappingProxyType({}))


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Within the block, every line logged by this thread carries ``fields``."""
    token = _job.set({**_job.get(), **fields})
    try:
        yield
    finally:
        _job.reset(token)


def now(**fields: object) -> None:
    """From here on to the end of the ``about`` block around it, lines carry ``fields`` too."""
    _job.set({**_job.get(), **fields})


def tame(text: str, keep: str = "") -> str:
    """``text`` with an escape as in JSON for each control character that is not in ``keep``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else json.dumps(c)[1:-1] for c in text)


def _written(secret: str) -> tuple[str, str, str]:
    """What the secret looks like in a line of either format."""
    return secret, tame(secret), tame(json.dumps(secret, ensure_ascii=False)[1:-1])


class Masked(logging.Formatter):
    """Base of both formats: collects the fields, hides the secrets."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._secrets = tuple({form for secret in secrets if secret for form in _written(secret)})

    def mask(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _QUERY.sub(r"\1?***", text)

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        own = {k: v for k, v in vars(record).items() if k not in _STANDARD and not k.startswith("_")}
        return {**_job.get(), **own}


class Human(Masked):
    """``12:30:01 INFO    job.moved  state=running job_id=7``"""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{k}={v}" for k, v in self.fields(record).items())
        line = tame(f"{time} {record.levelname:<7} {record.getMessage()}  {fields}".rstrip())
        if record.exc_info:
            line = f"{line}\n{tame(self.formatException(record.exc_info), keep=LINES)}"
        return self.mask(line)


class Json(Masked):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "event": record.getMessage(),
            **self.fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return self.mask(tame(json.dumps(line, default=str, ensure_ascii=False)))


def configure(level: str, style: str, secrets: tuple[str, ...] = (), stream: TextIO = sys.stderr) -> None:
    """Send the log of this process to ``stream``. ``style`` is auto, human or json."""
    human = style == "human" or (style == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Human(secrets) if human else Json(secrets))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("jobfetcher", "persistence"):
        logging.getLogger(name).setLevel(level)
