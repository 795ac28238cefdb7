"""When a job was swept, and how long each transfer took."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LIVE = "('downloading', 'fetched', 'running', 'uploading')"


def upgrade() -> None:
    """Ended jobs of before count as not swept: sweeping one twice does no harm."""
    op.add_column("jobs", sa.Column("swept_at", sa.REAL))
    op.add_column("files", sa.Column("seconds", sa.REAL, nullable=False, server_default="0"))
    unswept = sa.text(f"swept_at IS NULL AND state NOT IN {_LIVE}")
    op.create_index("jobs_unswept", "jobs", ["worker", "key"], sqlite_where=unswept)
