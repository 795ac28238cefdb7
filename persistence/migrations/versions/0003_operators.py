"""What operators ask of the worker, what stays true of it, and the images it has pulled."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Three new tables; nothing that is there changes."""
    op.create_table(
        "requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("at", sa.REAL, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("job_key", sa.Integer, sa.ForeignKey("jobs.key")),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("done_at", sa.REAL),
        sa.Column("answer", sa.Text, nullable=False, server_default=""),
        sa.Column("refused", sa.Boolean, nullable=False, server_default=sa.text("0")),
        sqlite_autoincrement=True,
    )
    unanswered = sa.text("done_at IS NULL")
    op.create_index("requests_open", "requests", ["worker", "id"], sqlite_where=unanswered)
    op.create_table(
        "flags",
        sa.Column("worker", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("at", sa.REAL, nullable=False),
    )
    op.create_table(
        "images",
        sa.Column("image_id", sa.Text, primary_key=True),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("pulled_at", sa.REAL, nullable=False),
        sa.Column("used_at", sa.REAL, nullable=False),
    )
