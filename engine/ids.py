"""Names at the edge, rows inside: users and items get a row when first met."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.durable import Arrays

BLOCK = 1024
"""Names that a snapshot writes together."""


class Vocabulary:
    """A growing map between names and rows 0, 1, 2, ... in order of first appearance.

    names: by row, empty where a name was forgotten.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names: list[str] = []
        self._rows: dict[str, int] = {}
        self._written = 0
        self._forgotten: set[int] = set()
        """Blocks that lost a name since the last snapshot."""
        self.add(list(names))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def forgotten(self) -> int:
        """Rows that have no name any more."""
        return len(self.names) - len(self._rows)

    def row(self, name: str) -> int:
        """The row of `name`, or -1 where it was never met."""
        return self._rows.get(name, -1)

    def add(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The row of each name, (n,) int64; names never met get the next rows."""
        rows = self._rows
        known = self.names
        result = np.empty(len(names), dtype=np.int64)
        for i, name in enumerate(names):
            row = rows.get(name)
            if row is None:
                row = rows[name] = len(known)
                known.append(name)
            result[i] = row
        return result

    def forget(self, name: str) -> int:
        """Take the name off its row, for ever: if it comes again, it gets another one.

        Returns the row, or -1 where the name was never met.
        """
        row = self._rows.pop(name, -1)
        if row >= 0:
            self.names[row] = ""
            self._forgotten.add(row // BLOCK)
        return row

    def changes(self) -> Iterator[tuple[int, Arrays]]:
        """The blocks with names that are new or forgotten since the last call (`Durable`)."""
        blocks = set(self._forgotten)
        if self._written < len(self):
            blocks.update(range(self._written // BLOCK, (len(self) - 1) // BLOCK + 1))
        for block in sorted(blocks):
            names = self.names[block * BLOCK : (block + 1) * BLOCK]
            yield block, {"json": np.frombuffer(json.dumps(names).encode(), dtype=np.uint8)}
        self._written = len(self)
        self._forgotten.clear()

    def restore(self, block: int, arrays: Arrays) -> None:
        names = json.loads(arrays["json"].tobytes())
        start = block * BLOCK
        self.names += [""] * (start + len(names) - len(self))
        self.names[start : start + len(names)] = names
        self._rows.update((name, start + i) for i, name in enumerate(names) if name)
        self._written = len(self)
