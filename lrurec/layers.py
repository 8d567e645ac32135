"""The two layers of a block: the linear recurrent unit and the position-wise feed-forward.

Both follow the authors' code, which produced the paper's tables, where it differs from the text:
the feed-forward has no GELU outside W2 (Eq. 8 has one); B and C carry biases, and gamma
multiplies B x + bias at every step, the first included (the text has h_1 = B x_1); dropout sits
on Re(C h) before the residual, inside the feed-forward after the GELU, and after W2.

Complex matrices are real ones of stacked parts, so that each product is one real product.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lrurec.config import ModelConfig
from lrurec.scan import Rows, scan

INIT_STD, INIT_CUT = 0.02, 0.04
RING = (0.8, 0.99)  # radius of Lambda at the start
MAX_PHASE = 2 * math.pi


def truncated_normal(*shape: int, generator: Generator) -> Tensor:
    """Normal values of standard deviation 0.02, none beyond 0.04."""
    values = torch.empty(*shape)
    return nn.init.trunc_normal_(values, std=INIT_STD, a=-INIT_CUT, b=INIT_CUT, generator=generator)


def dropout(x: Tensor, rate: float, generator: Generator | None) -> Tensor:
    """x with each entry zeroed with probability `rate` (to 1 in 65,536), the others scaled up.

    Four entries share one random 64-bit number: torch's own Bernoulli draws on the CPU cost
    more than all the rest of a layer.
    """
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
    words.random_(-(2**63), None, generator=generator)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    dropped = round(rate * 2**16)
    mask = torch.ge(bits, dropped - 2**15, out=torch.empty_like(x))
    return x * mask.mul_(2**16 / (2**16 - dropped))


def _interleaved(halves: Tensor) -> Tensor:
    """(2D, ...) from [a_1 .. a_D, b_1 .. b_D] to [a_1, b_1, a_2, b_2, ...]."""
    return halves.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1)


class LRU(nn.Module):
    """h_k = Lambda h_{k-1} + gamma (B x_k + b);  y_k = LayerNorm(dropout(Re(C h_k) + c) + x_k).

    in_weight, in_bias: (2D, H), (2D,) [Re B; Im B] and its bias
    out_weight, out_bias: (H, 2D), (H,) [Re C, -Im C], so that a real product gives Re(C h); the
    imaginary part of C's bias never reaches the output and is not kept
    """

    def __init__(self, config: ModelConfig, generator: Generator) -> None:
        super().__init__()
        width, states = config.width, config.recurrence
        self.dropout = config.dropout
        low, high = (radius**2 for radius in RING)
        u, v = torch.rand(2, states, generator=generator).clamp_min(1e-6)
        nu_log = torch.log(-0.5 * torch.log(low + u * (high - low)))
        radius = torch.exp(-torch.exp(nu_log))
        self.nu_log = nn.Parameter(nu_log)
        self.theta_log = nn.Parameter(torch.log(v * MAX_PHASE))
        self.gamma_log = nn.Parameter(0.5 * torch.log(1 - radius**2))
        self.in_weight = nn.Parameter(truncated_normal(2 * states, width, generator=generator))
        self.in_bias = nn.Parameter(truncated_normal(2 * states, generator=generator))
        self.out_weight = nn.Parameter(truncated_normal(width, 2 * states, generator=generator))
        self.out_bias = nn.Parameter(truncated_normal(width, generator=generator))
        self.norm = nn.LayerNorm(width)

    def decay(self) -> Tensor:
        """(D,) Lambda = exp(-exp(nu_log) + i exp(theta_log)), the ring of the paper's Sec. 4."""
        return torch.polar(torch.exp(-torch.exp(self.nu_log)), torch.exp(self.theta_log))

    def forward(
        self, x: Tensor, initial: Tensor | None, rows: Rows, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        """x: (N, H) in slot order; initial: (R, D). Returns y (N, H) and final states (R, D)."""
        gamma = torch.exp(self.gamma_log).repeat(2)
        in_weight, in_bias = gamma[:, None] * self.in_weight, gamma * self.in_bias
        # Real and imaginary parts side by side: the same memory read as complex numbers.
        drive = F.linear(x, _interleaved(in_weight), _interleaved(in_bias))  # (N, 2D)
        drive = drive.to(gamma.dtype)  # the recurrence is never in bfloat16
        states, final = scan(
            torch.view_as_complex(drive.unflatten(1, (-1, 2))), self.decay(), initial, rows
        )
        real = torch.view_as_real(states).flatten(1)  # (N, 2D)
        y = F.linear(real, _interleaved(self.out_weight.t()).t(), self.out_bias)  # (N, H)
        if self.training and self.dropout:
            y = dropout(y, self.dropout, generator)
        return self.norm(y + x), final


class FeedForward(nn.Module):
    """y = LayerNorm(dropout(W2 dropout(GELU(W1 x))) + x), inner width 4H."""

    def __init__(self, config: ModelConfig, generator: Generator) -> None:
        super().__init__()
        width = config.width
        self.dropout = config.dropout
        self.weight_1 = nn.Parameter(truncated_normal(4 * width, width, generator=generator))
        self.bias_1 = nn.Parameter(truncated_normal(4 * width, generator=generator))
        self.weight_2 = nn.Parameter(truncated_normal(width, 4 * width, generator=generator))
        self.bias_2 = nn.Parameter(truncated_normal(width, generator=generator))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, generator: Generator | None) -> Tensor:
        """(N, H) to (N, H)."""
        y = F.gelu(F.linear(x, self.weight_1, self.bias_1))  # (N, 4H)
        if self.training and self.dropout:
            y = dropout(y, self.dropout, generator)
        y = F.linear(y, self.weight_2, self.bias_2)  # (N, H)
        if self.training and self.dropout:
            y = dropout(y, self.dropout, generator)
        return self.norm(y + x)


class Block(nn.Module):
    """One LRU, one feed-forward."""

    def __init__(self, config: ModelConfig, generator: Generator) -> None:
        super().__init__()
        self.lru = LRU(config, generator)
        self.feed_forward = FeedForward(config, generator)

    def forward(
        self, x: Tensor, initial: Tensor | None, rows: Rows, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        y, final = self.lru(x, initial, rows, generator)
        return self.feed_forward(y, generator), final
