"""Run by Alembic for each command; ``run.py`` hands over the connection."""

from alembic import context

from backend.migrations.run import is_declared, target_metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=target_metadata(),
    transaction_per_migration=True,
    include_name=is_declared,
)
with context.begin_transaction():
    context.run_migrations()
