"""What each expert makes up of the answers: by hand, and as the answers were really given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.mixture import Mixture
from engine.opinions import Opinions
from replay import analysis
from replay.analysis import shares_of
from replay.compare import Comparison
from replay.record import Recorder, Step
from replay.shares import Weights
from tests.replay.reports import CONFIG, replayed


def test_the_shares_take_all_layers_together_in_the_context_of_each_event() -> None:
    mixture = Mixture(2, torch.device("cpu"))
    mixture.linear = torch.tensor([0.1, 0.2, 0.3, 0.4])
    mixture.blend[1] = torch.tensor([0.25, 0.75])
    mixture.shared = torch.tensor([0.25, -1.5, 1.0])
    mixture.by_context[12] = torch.tensor([0.0, 1.0, 0.0])
    mixture.by_context[20] = torch.tensor([0.0, 0.0, -1.0])
    contexts = torch.tensor([[1, 9, 17, 28], [1, 12, 20, 28]])
    # The blend hands on .25 and .75; the log-linear answer |.25 + .25| and |-1.5 + .75| of 1.25,
    # in the other context |.25 + 0| and |-.5 + 0| of .75.
    expected = [
        [0.1 + 0.3 * 0.25 + 0.4 * 0.4, 0.2 + 0.3 * 0.75 + 0.4 * 0.6],
        [0.1 + 0.3 * 0.25 + 0.4 / 3, 0.2 + 0.3 * 0.75 + 0.4 * 2 / 3],
    ]
    np.testing.assert_allclose(Weights.of(mixture).shares(contexts), expected, rtol=1e-6)


def test_the_weights_are_a_copy() -> None:
    mixture = Mixture(2, torch.device("cpu"))
    weights = Weights.of(mixture)
    mixture.shared += 1.0
    assert weights.shared.tolist() == [0.0, 0.0, 1.0]


def test_a_step_tells_the_weights_its_answers_were_made_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They change within the micro-batch, which is scored in two parts."""
    comparison = Comparison.of(("engine",), replace(CONFIG, micro_batch=128))
    engine = comparison.new_engine()
    assert engine is not None
    used = []
    mixture = engine.recommender.mixture
    mix_and_learn = mixture.mix_and_learn

    def noting(
        opinions: Opinions,
        candidates: torch.Tensor,
        contexts: torch.Tensor,
        items: NDArray[np.int64],
    ) -> torch.Tensor:
        used.append(Weights.of(mixture).shares(contexts))
        return mix_and_learn(opinions, candidates, contexts, items)

    monkeypatch.setattr(mixture, "mix_and_learn", noting)
    recorder = Recorder(engine)
    for batch in replayed(("popularity",), events=256).events.micro_batches(128):
        used.clear()
        recorder.step(batch)
        assert len(used) == 2
        expected = torch.cat(used).mean(0)
        shares = recorder.recording().steps[-1].shares
        assert shares[-1] == pytest.approx(float(expected[-1]))
        assert sum(shares) == pytest.approx(1.0)


def test_the_shares_over_time_are_means_over_the_newest_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(analysis, "WINDOW", 5)
    ends_and_shares = [(2, 0.0), (4, 0.5), (5, 1.0), (15, 0.25)]
    steps = [Step(end, 1.0, 0.0, 1, 0, (share, 1 - share)) for end, share in ends_and_shares]
    expected = [0.0, 0.25, 2 / 5, 0.25]  # the last one, of ten events, fills the window
    np.testing.assert_allclose(shares_of(steps)[:, 0], expected)
    np.testing.assert_allclose(shares_of(steps).sum(1), 1.0)
