"""Leave-one-out data sets: files of `user item` lines, a user's items in time order.

1 1193        whole numbers; users ascending, so that a user's lines stand together;
1 661         no times: the order of the lines is the order of the events
"""

from __future__ import annotations

import re
from array import array
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.base import FileFormatError
from connectors.files import read_content

DATA_SETS: Final = ("ml-1m", "beauty", "video")

_LINE: Final = re.compile(rb"\s*(\d{1,18})\s+(\d{1,18})\s*")
_SHOWN: Final = 60


class Interactions(NamedTuple):
    """users, items: (n,) int64, as the file has them; users ascending."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]


def find(name: str, directory: str | Path) -> Path:
    """The file of data set `name` in `directory`. Raises FileFormatError where there is none."""
    names = (f"{name}.txt.gz", f"{name}.txt")
    for file in names:
        if (path := Path(directory) / file).is_file():
            return path
    raise FileFormatError(
        f"{directory} has no {' or '.join(names)}: give --data the folder that holds it"
    )


def read_interactions(path: str | Path) -> Interactions:
    """The lines of a file, plain or gzip; blank ones are left out.

    Raises FileFormatError, which names file, line, value, rule and next step.
    """
    path = Path(path)
    users, items = array("q"), array("q")
    last = 0
    for number, line in enumerate(read_content(path).splitlines(), start=1):
        if not line.strip():
            continue
        cells = _LINE.fullmatch(line)
        if cells is None:
            shown = line[:_SHOWN].decode(errors="replace")
            raise FileFormatError(
                f"{path} line {number}: {shown!r} is not `user item`, two whole numbers; "
                "fix the line"
            )
        user = int(cells[1])
        if user < last:
            raise FileFormatError(
                f"{path} line {number}: user {user} comes after user {last}; "
                "sort the file by user, and a user's items by time"
            )
        users.append(user)
        items.append(int(cells[2]))
        last = user
    if not users:
        raise FileFormatError(f"{path} holds no `user item` lines; give another file")
    return Interactions(np.array(users, dtype=np.int64), np.array(items, dtype=np.int64))
