"""One writer of a database or a folder: locks that the operating system or the server takes back.

Neither kind outlives its process, so nothing has to be cleaned up after a kill -9. Forked children
would share a lock, though: start processes by spawn, as multiprocessing can.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, text

# Any constant will do; the second half of the key tells the schemas of one database apart.
ADVISORY_LOCK = text("SELECT pg_try_advisory_lock(757001, hashtext(current_schema()))")

# Where a writer's machine loses its power, the server notices after a minute, not two hours.
KEEPALIVES = {"idle": 30, "interval": 10, "count": 3}


def lock_file(path: Path) -> BinaryIO | None:
    """Lock `path`, made where missing, until the file is closed; None where another has it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def lock_session(connection: Connection) -> bool:
    """Lock the PostgreSQL schema until `connection` is closed; False where another has it."""
    with connection.begin():
        for setting, value in KEEPALIVES.items():
            connection.exec_driver_sql(f"SET tcp_keepalives_{setting} = {value}")
        return bool(connection.scalar(ADVISORY_LOCK))
