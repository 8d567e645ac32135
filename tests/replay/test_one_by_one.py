"""The baselines that score one event after another: what they have in common, and each by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from replay.baselines import BASELINES, Task
from replay.baselines.biased_mf import BiasedMF
from replay.baselines.item_knn import ItemKNN
from replay.baselines.one_by_one import History, OneByOne
from replay.baselines.session_knn import SessionKNN
from replay.stream import Rows, to_rows
from replay.synthetic import markov_stream
from tests.checks import check_finds_tastes, ranks_of

X, Y, Z, W = range(4)
# Three users have x, two of them y too, one z; w is the most popular, on its own.
STREAM = [(0, X), (0, Y), (1, X), (1, Y), (2, X), (2, Z), (3, W), (4, W), (5, W), (6, W)]
NEWCOMER = 7
TASK = Task(n_users=8, n_items=4, repeats=True, seed=0)


def rows_of(events: list[tuple[int, int]], n_users: int = 8, n_items: int = 4) -> Rows:
    users, items = np.array(events, dtype=np.int32).T.copy()
    return Rows(users, items, np.full(len(events), np.nan, dtype=np.float32), n_users, n_items)


@pytest.mark.parametrize("name", ["item_knn", "session_knn", "isgd", "bpr_mf"])
def test_tastes_are_found(name: str) -> None:
    check_finds_tastes(BASELINES[name])


class Recorder(OneByOne):
    """Notes what it is given; its scores are no numbers."""

    name = "recorder"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.learned: list[tuple[int, list[int], int]] = []

    def scores(self, user: int, history: History) -> NDArray[np.floating]:
        return np.full(self.known, np.nan)

    def learn(self, user: int, history: History, item: int, value: float) -> None:
        assert item < self.known
        self.learned.append((user, history.tolist(), item))


def test_a_model_is_given_the_past_alone() -> None:
    recorder = Recorder(replace(TASK, repeats=False))
    recorder.rank_and_learn(rows_of([(0, X), (0, Y), (1, X), (0, X), (1, Y)]))
    expected = [(0, [], X), (0, [X], Y), (1, [], X), (0, [X, Y], X), (1, [X], Y)]
    assert recorder.learned == expected


def test_scores_that_are_no_numbers_are_never_in_favour() -> None:
    ranks = ranks_of(Recorder, rows_of([*STREAM, (0, Z)]), repeats=True)
    assert ranks[-1] == 4  # the last of all four


@pytest.mark.parametrize("name", ["item_knn", "bpr_mf"])
def test_users_without_history_get_what_is_popular(name: str) -> None:
    for item, rank in ((W, 1), (X, 2), (Y, 3), (Z, 4)):
        assert ranks_of(BASELINES[name], rows_of([*STREAM, (7, item)]), repeats=False)[-1] == rank


def test_item_knn_by_hand() -> None:
    """cos(x, y) = 2 / sqrt(3 * 2), cos(x, z) = 1 / sqrt(3 * 1), cos(y, z) = 0."""
    model = ItemKNN(TASK)
    model.rank_and_learn(rows_of(STREAM))
    of_x = [1, 2 / 6**0.5, 1 / 3**0.5, 0]
    of_y = [2 / 6**0.5, 1, 0, 0]
    for history, expected in (([X], of_x), ([Y], of_y), ([Y, X], np.add(of_x, of_y))):
        found = model.scores(NEWCOMER, np.array(history, dtype=np.int32))
        assert found == pytest.approx(expected, abs=1e-5)


def test_item_knn_forgets_the_items_that_came_longest_ago() -> None:
    """With two slots, x and y are gone after z and w."""
    model = ItemKNN(TASK, slots=2)
    model.rank_and_learn(rows_of([*STREAM, (6, Z)]))
    assert model.scores(0, np.array([X], dtype=np.int32)) == pytest.approx([0] * 4, abs=1e-5)
    of_w = model.scores(0, np.array([W], dtype=np.int32))
    assert of_w == pytest.approx([0, 0, 1 / (4 * 2) ** 0.5, 1], abs=1e-5)


def test_session_knn_by_hand() -> None:
    """Eight sessions begin; four have x (the newcomer's own among them), three y, one z."""
    model = SessionKNN(TASK)
    model.rank_and_learn(rows_of([*STREAM, (NEWCOMER, Y), (NEWCOMER, X)]))
    idf = np.log(8 / np.array([4, 3, 1, 4]))
    after_x = model.scores(NEWCOMER, np.array([X], dtype=np.int32))
    assert after_x == pytest.approx(idf * [4, 3, 1, 0], abs=1e-5)
    after_y_x = model.scores(NEWCOMER, np.array([Y, X], dtype=np.int32))
    assert after_y_x == pytest.approx(idf * [3 * 1.9 + 1, 3 * 1.9, 1, 0], abs=1e-5)
    after_w_w_y = model.scores(NEWCOMER, np.array([Y, W, W], dtype=np.int32))
    assert after_w_w_y == pytest.approx(idf * [3 * 0.81, 3 * 0.81, 0, 4], abs=1e-5)


def test_session_knn_knows_the_newest_sessions_only() -> None:
    """Room for four: those of x, y and z were overwritten by those of w."""
    model = SessionKNN(TASK, sessions=4)
    model.rank_and_learn(rows_of(STREAM))
    assert model.scores(0, np.array([X], dtype=np.int32)) == pytest.approx([0] * 4, abs=1e-5)
    of_w = model.scores(0, np.array([W], dtype=np.int32))
    assert of_w == pytest.approx([0, 0, 0, 4 * np.log(7 / 4)], abs=1e-5)


@pytest.mark.parametrize("name", ["isgd", "bpr_mf"])
def test_a_step_brings_the_event_up_and_says_nothing_of_strangers(name: str) -> None:
    model = BASELINES[name](TASK)
    assert isinstance(model, OneByOne)
    model.rank_and_learn(rows_of(STREAM))
    history = np.array([X], dtype=np.int32)
    stranger, before = model.scores(6, history), model.scores(NEWCOMER, history)
    model.rank_and_learn(rows_of([(NEWCOMER, Z)]))
    gains = model.scores(NEWCOMER, history) - before
    assert gains.argmax() == Z
    assert gains[Z] > 0
    assert np.abs(model.scores(6, history) - stranger).max() < gains[Z]


def test_biased_mf_ranks_as_river_predicts() -> None:
    rows = to_rows(markov_stream(10, 15, 400, predictability=0.5, seed=3))
    values = np.random.default_rng(3).integers(1, 6, 400).astype(np.float32)
    model = BiasedMF(Task(rows.n_users, rows.n_items, repeats=True, seed=0))
    model.rank_and_learn(rows._replace(values=values))
    for user in range(10):
        predicted = [model._model.predict_one(user, item) for item in range(15)]
        scores = model.scores(user, rows.items[:1])
        assert np.argsort(scores).tolist() == np.argsort(predicted).tolist()


def test_biased_mf_learns_nothing_from_events_without_a_value() -> None:
    model = BiasedMF(TASK)
    model.rank_and_learn(rows_of(STREAM))
    assert model.scores(0, np.array([X], dtype=np.int32)).tolist() == [0, 0, 0, 0]
