"""What an engine says of itself: sizes, caps, quality. Plain dicts, ready for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.corrector import Corrector
from engine.engine import Engine


def engine_stats(engine: Engine) -> dict[str, Any]:
    """Of an engine at rest or between two micro-batches.

    metrics: see `PrequentialMetrics.summary`; bytes_per_user: history on average, and a resident
    state; caps: size and cap of everything that could grow; mixture: the weight of each expert
    beside the joint answers in the last layer; reranker and returns: how far the correction is
    trusted, 0 to 1, and the steps it has learned, None where there is none.
    """
    recommender, window = engine.recommender, engine.window
    rows, histories = len(recommender.users), recommender.histories
    users = rows - recommender.users.forgotten
    experts, linear = recommender.experts, recommender.mixture.linear.tolist()
    rules, reranker = experts.rules, recommender.reranker
    return {
        "events": recommender.events,
        "users": users,
        "items": len(recommender.items),
        "event_time": recommender.event_time,
        "version": recommender.version,
        "device": str(recommender.device),
        "metrics": engine.metrics.summary(),
        "mixture": dict(zip(experts.names, linear, strict=False))
        | {"joint": sum(linear[len(experts.names) :])},
        "reranker": reranker and _corrector(reranker.shortlist.corrector),
        "returns": reranker and reranker.returns and _corrector(reranker.returns.corrector),
        "drift_alarms": window.drift_alarms,
        "bytes_per_user": {
            "history": histories.nbytes / max(users, 1),
            "state": recommender.states.bytes_per_user,
        },
        "bytes": {
            "histories": histories.nbytes,
            "experts": experts.nbytes,
            "reranker": reranker.nbytes if reranker else 0,
        },
        "caps": {
            "users_resident": _cap(recommender.states.resident, recommender.states.cap),
            "events_since_anchor": _cap(
                int(histories.events.lengths(np.arange(rows)).max(initial=0)),
                2 * engine.config.history,
            ),
            "rules_bytes": _cap(rules.nbytes if rules else 0, engine.config.rules_bytes),
            "window_events": _cap(len(window.users), window.cap),
        },
    }


def _corrector(corrector: Corrector) -> dict[str, float]:
    return {"trust": float(corrector.trust[1]), "steps": int(corrector.steps[1])}


def _cap(size: int, cap: int) -> dict[str, int]:
    return {"size": size, "cap": cap}
