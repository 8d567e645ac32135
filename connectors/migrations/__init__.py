"""The schema of the durable store, version by version (Alembic).

A change of `connectors/schema.py` comes with a new file in `versions/` whose `down_revision` is
the newest one there; `Database.open` applies what a database has not seen yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from connectors.base import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

# A name of its own: the database may be shared with another program that uses Alembic.
VERSION_TABLE = "lrustream_schema"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "connectors:migrations")
    config.set_main_option("path_separator", "os")
    return config


def newest() -> str:
    """The schema version of this program."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current(connection: Connection) -> str | None:
    """The schema version of the database, None where it has no tables of ours.

    Raises StoreError where this program does not know that version, being older than it.
    """
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    version = context.get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if version is not None and version not in known:
        raise StoreError(
            f"schema version {version!r} is newer than this program, which knows {newest()!r}: "
            "upgrade lrustream"
        )
    return version


def upgrade(connection: Connection) -> None:
    """Bring the database to the newest schema, inside the transaction of `connection`."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
