"""The tables. One reader's rule: a job's row, its history and its outbox change in one transaction.

Times are seconds since the epoch. A change here needs a migration; a test compares the two.
"""

from sqlalchemy import (
    REAL,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from states.table import LIVE

_ONE_OF_LIVE = ", ".join(f"'{state}'" for state in sorted(LIVE))

# Literal text, not bound values: SQLite uses a partial index only where the query repeats its condition.
IS_LIVE = text(f"jobs.state IN ({_ONE_OF_LIVE})")
IS_ENDED = text(f"jobs.state NOT IN ({_ONE_OF_LIVE})")

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("lease", Text, nullable=False),
    Column("delivery", Integer, nullable=False),
    Column("api_id", Text, nullable=False, index=True),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("run", Integer, nullable=False),
    Column("told", Text, nullable=False),
    Column("gone", Boolean, nullable=False),
    Column("spec", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("created_at", REAL, nullable=False),
    Column("updated_at", REAL, nullable=False),
    Column("swept_at", REAL),
    UniqueConstraint("worker", "lease", "delivery", name="one_row_per_lease"),
    Index("jobs_live", "worker", "key", sqlite_where=text(f"state IN ({_ONE_OF_LIVE})")),
    Index(
        "jobs_unswept",
        "worker",
        "key",
        sqlite_where=text(f"swept_at IS NULL AND state NOT IN ({_ONE_OF_LIVE})"),
    ),
    sqlite_autoincrement=True,
)
"""One row per lease and delivery. ``version`` guards it; AUTOINCREMENT never gives a key out twice."""

moves = Table(
    "moves",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_key", Integer, ForeignKey("jobs.key"), nullable=False, index=True),
    Column("at", REAL, nullable=False),
    Column("source", Text),
    Column("target", Text, nullable=False),
    Column("because", Text),
    Column("run", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("detail", Text, nullable=False),
)
"""History. The first move of a job has neither ``source`` nor ``because``."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_key", Integer, ForeignKey("jobs.key"), nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("queued_at", REAL, nullable=False),
    Column("sent_at", REAL),
    Index("outbox_unsent", "job_key", "id", sqlite_where=text("sent_at IS NULL")),
    sqlite_autoincrement=True,
)
"""Statuses for the API. ``sent_at`` is NULL until the API has acknowledged it."""

files = Table(
    "files",
    metadata,
    Column("job_key", Integer, ForeignKey("jobs.key"), primary_key=True),
    Column("direction", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("at", REAL, nullable=False),
    Column("seconds", REAL, nullable=False, server_default="0"),
)
"""Files that are whole: on disk here, or acknowledged by the API."""

requests = Table(
    "requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("at", REAL, nullable=False),
    Column("kind", Text, nullable=False),
    Column("job_key", Integer, ForeignKey("jobs.key")),
    Column("arguments", Text, nullable=False),
    Column("done_at", REAL),
    Column("answer", Text, nullable=False, server_default=""),
    Column("refused", Boolean, nullable=False, server_default=text("0")),
    Index("requests_open", "worker", "id", sqlite_where=text("done_at IS NULL")),
    sqlite_autoincrement=True,
)
"""What an operator asks of the worker. ``arguments`` is a JSON object; ``done_at`` is NULL until it is
done or refused, and ``answer`` then a JSON object: a sentence (``text``) and figures."""

flags = Table(
    "flags",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("at", REAL, nullable=False),
)
"""What stays true of a worker over its restarts (``draining``), as long as the row is there."""

images = Table(
    "images",
    metadata,
    Column("image_id", Text, primary_key=True),
    Column("reference", Text, nullable=False),
    Column("pulled_at", REAL, nullable=False),
    Column("used_at", REAL, nullable=False),
)
"""Images that this worker has pulled: the only ones it may remove. ``used_at``: when a job last wanted it."""
