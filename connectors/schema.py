"""The tables of the durable store. `migrations/` creates them; a test keeps both equal.

journal           one row per durable step of the engine, positions without gaps
source_positions  the next offset to read, by topic and partition
snapshot          one row: the journal position that the chunks stand for
chunks            the pieces of the snapshot, each replaced when it changes
dead_letters      records that could not become events, each once
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# SQLite stores a table in the order of a key declared INTEGER; any other type costs a second tree.
RowKey = BigInteger().with_variant(Integer(), "sqlite")

# Positions are counted by the writer, not by the database: a sequence leaves gaps on a rollback.
journal = Table(
    "journal",
    metadata,
    Column("position", RowKey, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
)

source_positions = Table(
    "source_positions",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("payload", LargeBinary, nullable=False),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", RowKey, primary_key=True, autoincrement=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("replayed_at", Double),
    UniqueConstraint("topic", "partition", "offset", name="dead_letters_once"),
)
