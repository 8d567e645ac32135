"""The window of events since the last fine-tune: bounded, and a function of what is stored."""

from __future__ import annotations

import numpy as np

from engine.durable import pack, unpack
from engine.window import Window
from tests.engine.running import CONFIG, with_settings


def test_the_oldest_events_leave_beyond_the_cap() -> None:
    window = Window(CONFIG)
    for start in range(0, 1_000_000, 50_000):
        window.learn(np.arange(start, start + 50_000), 0.0, None)
        assert len(window) <= 2 * window.cap
    assert len(window.users) == window.cap
    assert window.users[-1] == 999_999
    assert (window.start, window.end) == (800_000, 1_000_000)


def test_a_restored_window_raises_the_same_alarms() -> None:
    """The loss jumps twice; between them the detector begins anew and the snapshot is taken."""
    config = with_settings(finetune_on_drift=True, finetune_every=10**9, finetune_growth=1e9)
    rng = np.random.default_rng(0)
    means = np.repeat([5.0, 6.0, 4.5], 1_200)
    losses = rng.normal(means, 0.1)[:, None]
    kept = Window(config)
    kept.start = 10_000  # of a stream that has run for a while
    for loss in losses[:2_200]:
        kept.learn(np.zeros(1, dtype=np.int64), 0.0, loss)
    assert kept.drift_alarms >= 1
    assert kept.due() == "drift"
    kept.cut(kept.end)
    assert kept.due() is None
    restored = Window(config)
    for block, arrays in kept.changes():
        restored.restore(block, unpack(pack(arrays)))
    before = kept.drift_alarms
    for window in (kept, restored):
        for loss in losses[2_200:]:
            window.learn(np.zeros(2, dtype=np.int64), 0.0, loss)
        assert window.due() == "drift"
    assert restored.drift_alarms == kept.drift_alarms > before
