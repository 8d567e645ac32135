"""The linear recurrence h_k = Lambda h_{k-1} + u_k over rows of different lengths.

One signature, three ways to compute it; `Rows` picks one by device and shape:

    sequential   one token after another, plain autograd: the reference
    stepwise     all rows at once, one time step after another; tokens lie time-major, longest
                 row first, so that each step is one contiguous block and none is padding (CPU)
    recursive    the paper's recursive parallelization (Algorithm 1) over the packed tokens:
                 log-depth; where the paper masks padding, row boundaries are masked (GPU,
                 and a few long rows on the CPU)

States are complex. Letters as in `config`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Method = Literal["sequential", "stepwise", "recursive"]

MIN_ROWS_A_STEP = 8  # with fewer rows in a mean step, log-depth was measured to be faster


@dataclass(frozen=True, eq=False)
class Rows:
    """How the N tokens of a batch fall into R rows, and in which slots a scan wants them.

    A token's *slot* is its place in the tensors the scan works on. Built once per batch and
    shared by all blocks, forward and backward.

    order: (N,) token at each slot, None where slots are in packed order
    filled: (M,) rows with at least one token; first, last: (M,) slots of their ends
    steps: tokens of each time step (stepwise)
    starts, ends: (N,) slots where each token's row starts and ends (recursive)
    later: (N - M,) slots of the tokens that have one before them, at the slot before (recursive)
    """

    rows: int
    tokens: int
    method: Method
    order: Tensor | None
    filled: Tensor
    first: Tensor
    last: Tensor
    longest: int
    steps: tuple[int, ...] = ()
    starts: Tensor | None = None
    ends: Tensor | None = None
    later: Tensor | None = None

    @classmethod
    def from_offsets(
        cls,
        offsets: Tensor | NDArray[np.int64],
        device: torch.device | str = "cpu",
        method: Method | None = None,
    ) -> Rows:
        """Row r holds tokens offsets[r]:offsets[r+1] of the packed batch; offsets: (R+1,) int64.

        Raises ValueError where the offsets do not start at 0 or go backwards.
        """
        bounds = np.asarray(offsets.cpu() if isinstance(offsets, Tensor) else offsets)
        lengths = np.diff(bounds)
        if bounds.ndim != 1 or len(bounds) == 0 or bounds[0] != 0 or (lengths < 0).any():
            raise ValueError("offsets must be one axis of int64, from 0 to N, never decreasing")
        tokens = int(bounds[-1])
        longest = int(lengths.max(initial=0))
        device = torch.device(device)
        if method is None:
            crowded = tokens >= MIN_ROWS_A_STEP * longest or longest <= 1
            method = "stepwise" if device.type == "cpu" and crowded else "recursive"
        filled = np.flatnonzero(lengths)

        def place(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        if method == "stepwise" and longest > 1:
            order, first, last, steps = _time_major(bounds[filled], lengths[filled], longest)
            return cls(
                len(lengths), tokens, method, place(order), place(filled), place(first),
                place(last), longest, steps=steps,
            )  # fmt: skip
        first, last = bounds[filled], bounds[filled + 1] - 1
        in_order = cls(
            len(lengths), tokens, method, None, place(filled), place(first), place(last), longest
        )
        if method != "recursive":
            return in_order
        return replace(
            in_order,
            starts=place(np.repeat(first, lengths[filled])),
            ends=place(np.repeat(last, lengths[filled])),
            later=place(np.setdiff1d(np.arange(tokens), first, assume_unique=True)),
        )

    def arrange(self, packed: Tensor) -> Tensor:
        """(N, ...) in packed order to (N, ...) in slot order."""
        return packed if self.order is None else packed.index_select(0, self.order)

    def restore(self, slotted: Tensor) -> Tensor:
        """The inverse of `arrange`."""
        if self.order is None:
            return slotted
        return torch.empty_like(slotted).index_copy(0, self.order, slotted)


def _time_major(
    begins: NDArray[np.int64], lengths: NDArray[np.int64], longest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], tuple[int, ...]]:
    """Slots of non-empty rows: all first tokens (longest row first), all second tokens, ...

    Returns order (N,), the slots of each row's first and last token, tokens per step.
    """
    by_length = np.argsort(-lengths, kind="stable")
    place = np.empty_like(by_length)
    place[by_length] = np.arange(len(by_length))
    steps = len(lengths) - np.searchsorted(np.sort(lengths), np.arange(longest), side="right")
    step_starts = np.concatenate(([0], np.cumsum(steps)))
    step = np.repeat(np.arange(longest), steps)
    rank = np.arange(step_starts[-1]) - step_starts[step]
    order = begins[by_length][rank] + step
    return order, place, step_starts[lengths - 1] + place, tuple(int(n) for n in steps)


def scan(
    inputs: Tensor, decay: Tensor, initial: Tensor | None, rows: Rows
) -> tuple[Tensor, Tensor]:
    """All states of h_k = Lambda h_{k-1} + u_k, and the last of each row.

    inputs: (N, D) u in the slot order of `rows`; decay: (D,) Lambda; initial: (R, D) states
    before the first token, None for zeros. All complex, of one precision.
    Returns states (N, D) in slot order and final (R, D); an empty row keeps its initial state.
    Differentiable in inputs, decay and initial. Raises ValueError where shapes do not fit.
    """
    if inputs.shape[0] != rows.tokens or inputs.shape[1:] != decay.shape:
        raise ValueError(
            f"scan: inputs {tuple(inputs.shape)} do not fit {rows.tokens} tokens "
            f"and decay {tuple(decay.shape)}"
        )
    if initial is None:
        initial = inputs.new_zeros(rows.rows, decay.shape[0])
    elif rows.tokens:
        if initial.shape != (rows.rows, decay.shape[0]):
            raise ValueError(f"scan: initial {tuple(initial.shape)} does not fit {rows.rows} rows")
        carried = initial.index_select(0, rows.filled) * decay
        inputs = inputs.index_add(0, rows.first, carried)
    if rows.method == "sequential":
        states = _sequential(inputs, decay, rows)
    elif rows.longest <= 1:
        states = inputs
    else:
        states = _Scan.apply(inputs, decay, rows)
    final = initial.index_copy(0, rows.filled, states.index_select(0, rows.last))
    return states, final


def _sequential(inputs: Tensor, decay: Tensor, rows: Rows) -> Tensor:
    """The definition, token by token. Differentiated by autograd."""
    first, last = set(rows.first.tolist()), rows.tokens
    states: list[Tensor] = []
    for k in range(last):
        states.append(inputs[k] if k in first else decay * states[-1] + inputs[k])
    return torch.stack(states) if states else inputs


class _Scan(torch.autograd.Function):
    """Scan from zero states. The gradient is the same recurrence run from the end:

    g_k = dL/dh_k + conj(Lambda) g_{k+1};  dL/du_k = g_k;  dL/dLambda = sum_k conj(h_{k-1}) g_k
    (a complex gradient stands for dL/dRe + i dL/dIm).
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, decay: Tensor, rows: Rows) -> Tensor:
        if rows.method == "stepwise":
            states = _stepwise(inputs, decay, rows)
        else:
            assert rows.starts is not None
            states = _algorithm_1(inputs, decay, rows.starts, rows.longest)
        ctx.save_for_backward(states, decay)
        ctx.rows = rows
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        states, decay = ctx.saved_tensors
        rows: Rows = ctx.rows
        if rows.method == "stepwise":
            return *_stepwise_back(grads[0], states, decay, rows), None
        assert rows.ends is not None and rows.later is not None
        mirrored_starts = rows.tokens - 1 - rows.ends.flip(0)
        back = decay.conj().resolve_conj()
        g = _algorithm_1(grads[0].flip(0), back, mirrored_starts, rows.longest).flip(0)
        grad_decay = (states[rows.later - 1].conj() * g[rows.later]).sum(0)
        return g, grad_decay, None


# The steps are small and many: numpy's calls cost a third of torch's.


def _by_step(values: Tensor, rows: Rows) -> list[NDArray[np.complexfloating]]:
    """Views (rows still alive, D) of values (N, D), one for each step."""
    array = values.numpy()
    return [array[begin:end] for begin, end in pairwise(accumulate(rows.steps, initial=0))]


def _stepwise(inputs: Tensor, decay: Tensor, rows: Rows) -> Tensor:
    states = inputs.clone()
    steps = _by_step(states, rows)
    carried = np.empty_like(steps[0])
    for k in range(1, len(steps)):  # the first rows of step k - 1 are still alive
        alive = rows.steps[k]
        np.multiply(steps[k - 1][:alive], decay.numpy(), out=carried[:alive])
        steps[k] += carried[:alive]
    return states


def _stepwise_back(
    grad: Tensor, states: Tensor, decay: Tensor, rows: Rows
) -> tuple[Tensor, Tensor]:
    """The gradients of inputs and decay. On their conjugates, so that no step conjugates."""
    g = torch.conj_physical(grad)
    steps, before = _by_step(g, rows), _by_step(states, rows)
    carried, of_decay = np.empty_like(steps[0]), np.zeros_like(steps[0])
    for k in range(len(steps) - 1, 0, -1):
        alive = rows.steps[k]
        of_decay[:alive] += np.multiply(before[k - 1][:alive], steps[k], out=carried[:alive])
        steps[k - 1][:alive] += np.multiply(steps[k], decay.numpy(), out=carried[:alive])
    grad_decay = torch.from_numpy(of_decay.sum(0).conj())
    return torch.conj_physical_(g), grad_decay


def _algorithm_1(inputs: Tensor, decay: Tensor, starts: Tensor, longest: int) -> Tensor:
    """Recursive parallelization: blocks of l states are scanned; two neighbours make one of 2l by
    adding Lambda^(j+1) times the left block's last state to the right block's j-th.

    inputs: (N, D); starts: (N,) where each token's row starts: a state that belongs to a
    later row than the left block's last takes nothing from it. No row being longer than
    `longest`, only that many states of a right block can take anything.
    """
    tokens, width = inputs.shape
    levels = max(tokens - 1, 0).bit_length()
    padding = (1 << levels) - tokens
    states = torch.cat((inputs, inputs.new_zeros(padding, width)))  # (2^levels, D)
    starts = torch.cat((starts, torch.full((padding,), tokens, device=starts.device)))
    middles = torch.arange(1 << levels, device=starts.device)
    powers = decay[None]  # Lambda^1 .. Lambda^l
    for level in range(levels):
        half = 1 << level
        reach = min(half, longest)
        pairs = states.view(-1, 2 * half, width)
        middle = middles.view(-1, 2 * half)[:, half : half + 1]
        same_row = starts.view(-1, 2 * half)[:, half : half + reach] < middle
        carried = pairs[:, half - 1 : half] * powers[:reach]
        pairs[:, half : half + reach] += carried * same_row[..., None]
        if powers.shape[0] < longest:
            powers = torch.cat((powers, powers * powers[-1]))
    return states[:tokens]
