"""The user's own recent items, where repeats are allowed.

p(x_q) = r_q for the distinct items x_q of the user's newest events, the rest by popularity; r_q is
how often, of late, an item last met q events ago was the next one. What differs by user and by
item, `engine.returns` makes of it.

Letters: B events, W newest items, C columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.context import WINDOW, Context

MEMORY = 0.9999
"""Share of the counts kept from event to event."""

PRIOR_HITS, PRIOR_TRIES = 0.1, 2.0


class OwnHistory:
    """Hits and tries (W,) by how many events ago, decayed."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.hits = torch.zeros(WINDOW, device=device)
        self.tries = torch.zeros(WINDOW, device=device)

    def scores(self, recent: Tensor, columns: Tensor, popularity: Tensor, out: Tensor) -> None:
        """Positive scores into out (B, C).

        recent (B, W) newest first, -1 where there is none; columns (B, W) where these items stand
        in out; popularity (B, C).
        """
        rates = (self.hits + PRIOR_HITS) / (self.tries + PRIOR_TRIES) * distinct(recent)
        torch.mul(popularity, (1.0 - rates.sum(1)).clamp(min=0.05)[:, None], out=out)
        out.scatter_add_(1, columns.clamp(min=0), rates)

    def learn(self, context: Context) -> None:
        recent = torch.from_numpy(context.recent).to(self.device)
        items = torch.from_numpy(context.items).to(self.device)
        own = distinct(recent)
        kept = MEMORY ** torch.arange(len(items) - 1, -1, -1, device=self.device)
        for counts, counted in (
            (self.tries, own),
            (self.hits, own & (recent == items[:, None])),
        ):
            counts.mul_(MEMORY ** len(items))
            counts += kept @ counted.float()


def distinct(recent: Tensor) -> Tensor:
    """(B, W): there is an item, and it is not among those that came after it."""
    same = recent[:, :, None] == recent[:, None, :]
    later = torch.ones(WINDOW, WINDOW, dtype=torch.bool, device=recent.device).tril(-1)
    return (recent >= 0) & ~(same & later).any(dim=2)
