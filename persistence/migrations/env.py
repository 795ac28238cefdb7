"""Run by Alembic: brings the database on the caller's connection, inside its transaction, to a revision."""

from alembic import context

from persistence.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
