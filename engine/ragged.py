"""Many growing rows of small integers in one pool, without an object for each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


class RaggedRows:
    """Rows of int32 values that grow at their end and may be cut at their start.

    A row owns a block of the pool; a full block moves to the pool's end with twice the room.
    The pool is packed anew when more than half of it is no longer owned.
    """

    def __init__(self) -> None:
        self._pool = np.empty(1024, dtype=np.int32)
        self._used = 0
        self._live = 0
        self._start = np.zeros(0, dtype=np.int64)
        self._length = np.zeros(0, dtype=np.int64)
        self._room = np.zeros(0, dtype=np.int64)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        return self._pool.nbytes + 3 * self._start.nbytes

    def lengths(self, rows: IntArray) -> IntArray:
        return self._length[rows]

    def row(self, row: int) -> NDArray[np.int32]:
        """The values of one row, oldest first (a view, valid until the next change)."""
        start = self._start[row]
        return self._pool[start : start + self._length[row]]

    def resize(self, rows: int) -> None:
        """Make room for rows 0 .. rows - 1; new ones are empty."""
        if rows > len(self._start):
            grown = max(rows, 2 * len(self._start), 64)
            for name in ("_start", "_length", "_room"):
                old = getattr(self, name)
                new = np.zeros(grown, dtype=np.int64)
                new[: len(old)] = old
                setattr(self, name, new)
        self._rows = max(self._rows, rows)

    def append(self, rows: IntArray, values: IntArray) -> None:
        """Append values[i] to row rows[i], in order; a row may occur many times."""
        if not len(rows):
            return
        order = np.argsort(rows, kind="stable")
        sorted_rows = rows[order]
        unique, first, counts = np.unique(sorted_rows, return_index=True, return_counts=True)
        self._reserve(unique, self._length[unique] + counts)
        rank = np.arange(len(rows)) - np.repeat(first, counts)
        position = np.repeat(self._start[unique] + self._length[unique], counts) + rank
        self._pool[position] = values[order]
        self._length[unique] += counts

    def replace(self, row: int, values: NDArray[np.int32]) -> None:
        """Set the values of one row."""
        self._length[row] = 0
        one = np.array([row])
        self._reserve(one, np.array([len(values)]))
        self._pool[self._start[row] : self._start[row] + len(values)] = values
        self._length[row] = len(values)

    def keep_last(self, row: int, count: int) -> None:
        """Forget all but the newest `count` values of one row."""
        values = self.row(row)
        if len(values) > count:
            values[:count] = values[len(values) - count :].copy()
            self._length[row] = count

    def tails(self, rows: IntArray, width: int, fill: int = -1) -> NDArray[np.int64]:
        """The newest `width` values of each row, (n, width), newest last, left-filled."""
        back = np.arange(-width, 0)
        position = self._length[rows][:, None] + back
        index = np.maximum(self._start[rows][:, None] + position, 0)
        return np.where(position >= 0, self._pool[index].astype(np.int64), fill)

    def gather(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """All values of each row, concatenated, and the offsets (n + 1,) where each begins."""
        lengths = self._length[rows]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        index = np.arange(offsets[-1]) + np.repeat(self._start[rows] - offsets[:-1], lengths)
        return self._pool[index].astype(np.int64), offsets

    def _reserve(self, rows: IntArray, needed: IntArray) -> None:
        """Give each row (unique) room for `needed` values, moving the rows that are full."""
        full = needed > self._room[rows]
        if not full.any():
            return
        rows, needed = rows[full], needed[full]
        room = 1 << np.ceil(np.log2(np.maximum(needed, 4))).astype(np.int64)
        wanted = int(room.sum())
        if self._used + wanted > len(self._pool):
            self._pack(wanted)
        old_start, lengths = self._start[rows].copy(), self._length[rows]
        starts = self._used + np.cumsum(room) - room
        rank = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        self._pool[np.repeat(starts, lengths) + rank] = self._pool[
            np.repeat(old_start, lengths) + rank
        ]
        self._live += wanted - int(self._room[rows].sum())
        self._start[rows], self._room[rows] = starts, room
        self._used += wanted

    def _pack(self, wanted: int) -> None:
        """Drop the blocks nobody owns, and make room for `wanted` more values."""
        size = len(self._pool)
        while self._live + wanted > size // 2:
            size *= 2
        pool = np.empty(size, dtype=np.int32)
        room = self._room
        starts = np.cumsum(room) - room
        owned = np.flatnonzero(room)
        lengths = self._length[owned]
        rank = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        pool[np.repeat(starts[owned], lengths) + rank] = self._pool[
            np.repeat(self._start[owned], lengths) + rank
        ]
        self._pool, self._start = pool, starts
        self._used = self._live = int(room.sum())
