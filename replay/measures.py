"""Means over the scored events of a track: in all, window by window, and by segment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from replay.paired import WINDOW
from replay.prequential import Track
from replay.protocols import Protocol


def overall(track: Track, protocol: Protocol) -> dict[str, float]:
    """Each metric of the protocol over all scored events."""
    return _means(track, protocol, track.scored)


def by_window(track: Track, protocol: Protocol, window: int = WINDOW) -> dict[str, list[float]]:
    """Each metric over consecutive windows of scored events, the last of which may be shorter."""
    gains = protocol.gains(track.ranks[track.scored])
    starts = np.arange(0, len(gains), window)
    counts = np.diff(starts, append=len(gains))
    means = np.add.reduceat(gains, starts, axis=0) / counts[:, None]
    return dict(zip(protocol.metrics, means.T.tolist(), strict=True))


def by_segment(
    track: Track, protocol: Protocol, segments: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float]]:
    """By segment, "events" and each metric over its scored events; empty segments are left out."""
    scored = {name: mask & track.scored for name, mask in segments.items()}
    return {
        name: {"events": int(mask.sum()), **_means(track, protocol, mask)}
        for name, mask in scored.items()
        if mask.any()
    }


def _means(track: Track, protocol: Protocol, mask: NDArray[np.bool_]) -> dict[str, float]:
    means = protocol.gains(track.ranks[mask]).sum(axis=0) / max(int(mask.sum()), 1)
    return dict(zip(protocol.metrics, means.tolist(), strict=True))
