"""What a snapshot is made of: named arrays, as bytes and back.

A part of the engine that is durable hands out its arrays in numbered blocks, those that changed
since it was last asked, and takes them back one by one, in any order. What the arrays are called
and how many there are is the part's own matter.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import SnapshotError

Arrays = dict[str, NDArray[Any]]


class Durable(Protocol):
    """A part of the engine that snapshots hold."""

    def changes(self) -> Iterator[tuple[int, Arrays]]:
        """The blocks that changed since the last call, by number."""
        ...

    def restore(self, block: int, arrays: Arrays) -> None:
        """Take back one block, as `changes` gave it."""
        ...


class Tensors:
    """Every tensor that an object holds as an attribute, as one block: the `Durable` protocol."""

    def __init__(self, owner: object) -> None:
        self._owner = owner

    def changes(self) -> Iterator[tuple[int, Arrays]]:
        yield 0, {name: tensor.cpu().numpy() for name, tensor in self._tensors().items()}

    def restore(self, block: int, arrays: Arrays) -> None:
        tensors = self._tensors()
        if tensors.keys() != arrays.keys():
            raise SnapshotError(
                f"snapshot: holds {', '.join(arrays)} of {type(self._owner).__name__}, this program"
                f" has {', '.join(tensors)}; start with the version of lrustream that wrote it, or "
                "with a new database"
            )
        for name, tensor in tensors.items():
            setattr(self._owner, name, torch.from_numpy(arrays[name]).to(tensor))

    def _tensors(self) -> dict[str, Tensor]:
        return {k: v for k, v in vars(self._owner).items() if isinstance(v, Tensor)}


def pack(arrays: Arrays) -> bytes:
    """Numbers of any shape, compressed: a header that names them, then their bytes."""
    header = json.dumps([(name, a.dtype.str, a.shape) for name, a in arrays.items()]).encode()
    body = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values())
    return zlib.compress(len(header).to_bytes(4, "little") + header + body, level=1)


def unpack(payload: bytes) -> Arrays:
    """The inverse of `pack`; the arrays may be written to."""
    raw = zlib.decompress(payload)
    position = 4 + int.from_bytes(raw[:4], "little")
    arrays = {}
    for name, dtype, shape in json.loads(raw[4:position]):
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.frombuffer(raw, dtype=dtype, count=count, offset=position)
        arrays[name] = flat.reshape(shape).copy()
        position += flat.nbytes
    return arrays
