"""Run by Alembic for every command: the connection comes from `migrations.upgrade`."""

from __future__ import annotations

from alembic import context

from connectors.migrations import VERSION_TABLE
from connectors.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
