"""The items whose ids stand beside those of the user's newest items.

score(i) = SHARE d(i) + sum over q, o of r_qo [i stands o places after x_q], where x_q is the user's
q-th newest item, d the popularity, and r_qo how often, of late, the item that stood there was the
next one. What nobody has yet had after x_q can be found so. New items take their place in the order
with the next micro-batch.

Letters: B events, Q newest items, O offsets, I items, N entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.context import Context
from engine.id_order import IdOrder

NEWEST = 3
"""Of the user's items, those whose neighbours are looked at."""

REACH = 16
"""Places to either side."""

SHARE = 0.3
MEMORY = 0.9999
"""Share of the counts kept from event to event."""

PRIOR_HITS, PRIOR_TRIES = 0.01, 20.0


class IdNeighbours:
    """Hits and tries (Q, O) by how new the user's item is and by the offset, decayed."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.ids = IdOrder(device)
        self.hits = torch.zeros(NEWEST, 2 * REACH, device=device)
        self.tries = torch.zeros(NEWEST, 2 * REACH, device=device)

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes

    def scores(self, recent: Tensor, popularity: Tensor, out: Tensor) -> None:
        """Positive scores into out (B, I); recent (B, W) newest first, -1 where there is none,
        popularity (B, I)."""
        torch.mul(popularity, SHARE, out=out)
        beside = self._beside(recent).flatten(1)
        rates = self._rates().flatten() * (beside >= 0)
        out.scatter_add_(1, beside.clamp(min=0), rates)

    def entries(self, recent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is added to the share of popularity, as events, items and values (N,): a pair may
        come again."""
        beside = self._beside(recent)
        events, newest, offsets = (beside >= 0).nonzero(as_tuple=True)
        return events, beside[events, newest, offsets], self._rates()[newest, offsets]

    def learn(self, context: Context) -> None:
        recent = torch.from_numpy(context.recent).to(self.device)
        items = torch.from_numpy(context.items).to(self.device)
        beside = self._beside(recent)
        kept = MEMORY ** torch.arange(len(items) - 1, -1, -1, device=self.device)
        for counts, counted in (
            (self.tries, beside >= 0),
            (self.hits, beside == items[:, None, None]),
        ):
            counts.mul_(MEMORY ** len(items))
            counts += torch.tensordot(kept, counted.float(), dims=1)

    def _rates(self) -> Tensor:
        """(Q, O) how often what stands there is the next item."""
        return (self.hits + PRIOR_HITS) / (self.tries + PRIOR_TRIES)

    def _beside(self, recent: Tensor) -> Tensor:
        """(B, Q, O) item rows, -1 where there is none."""
        reach = torch.arange(1, REACH + 1, device=self.device)
        return self.ids.beside(recent[:, :NEWEST], torch.cat([-reach.flip(0), reach]))
