"""The first schema. Frozen: later changes of ``persistence.schema`` are later revisions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_LIVE = "state IN ('downloading', 'fetched', 'running', 'uploading')"


def upgrade() -> None:
    """Make all tables."""
    _make_jobs()
    _make_moves()
    _make_outbox()
    _make_files()


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("lease", sa.Text, nullable=False),
        sa.Column("delivery", sa.Integer, nullable=False),
        sa.Column("api_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("gone", sa.Boolean, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("created_at", sa.REAL, nullable=False),
        sa.Column("updated_at", sa.REAL, nullable=False),
        sa.UniqueConstraint("worker", "lease", "delivery", name="one_row_per_lease"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_api_id", "jobs", ["api_id"])
    op.create_index("jobs_live", "jobs", ["worker", "key"], sqlite_where=sa.text(_LIVE))


def _make_moves() -> None:
    op.create_table(
        "moves",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job_key", sa.Integer, sa.ForeignKey("jobs.key"), nullable=False),
        sa.Column("at", sa.REAL, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("because", sa.Text),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_moves_job_key", "moves", ["job_key"])


def _make_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job_key", sa.Integer, sa.ForeignKey("jobs.key"), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("queued_at", sa.REAL, nullable=False),
        sa.Column("sent_at", sa.REAL),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_job_key", "outbox", ["job_key"])
    op.create_index("outbox_unsent", "outbox", ["job_key", "id"], sqlite_where=sa.text("sent_at IS NULL"))


def _make_files() -> None:
    op.create_table(
        "files",
        sa.Column("job_key", sa.Integer, sa.ForeignKey("jobs.key"), primary_key=True),
        sa.Column("direction", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("at", sa.REAL, nullable=False),
    )
