"""Losses of whole sequences.

ctc(blank)      the negative log-probability of a label sequence, over all its alignments with the positions
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.numerics import shifted_exp
from nnfunc._internal.validate import flag, positive_int
from nnfunc.arrays import Array
from nnfunc.core.settings import Settings
from nnfunc.losses.base import Loss, make

__all__ = ["ctc"]

Numbers: TypeAlias = NDArray[np.integer]


def ctc(blank: int = 0, zero_infinity: bool = False) -> Loss:
    """−log Σ Π softmax(z)[t, path[t]], over the paths that collapse to the labels without repeats and blanks.

    Connectionist temporal classification (Graves et al., ICML 2006).

    y contains logits (examples, positions, classes), or log-probabilities (which log softmax leaves unchanged), but not
    probabilities. An example is a sequence: weights are (examples,). The target is (examples, longest): class indices,
    padded with −1; or, if sequences of y end early, the tuple of these and the sequence lengths (examples,).

    Args:
        blank: the class that stands for no label.
        zero_infinity: whether an example without any path (its labels, with a blank between equal ones, outnumber its
            positions) has loss 0. Otherwise its loss is infinite, with gradient 0, and training reports it.

    Value and gradient of an example are PyTorch's with reduction="none". PyTorch's "mean" also divides each value by
    its number of labels: pass weights to do so.

    >>> z = np.log([[[0.5, 0.5], [0.5, 0.5]], [[0.1, 0.9], [0.1, 0.9]]])
    >>> value, cache = nn.losses.ctc().forward(z, np.array([[1, -1], [-1, -1]]))
    >>> np.exp(-cache.values).round(2)  # 11, 01 and 10; 00
    array([0.75, 0.01])
    """
    settings = Settings(blank=positive_int(blank, "blank", 0), zero_infinity=flag(zero_infinity, "zero_infinity"))
    return make("ctc", settings, _ctc, _ctc_gradient, "labels", axes=2)


class _Paths(NamedTuple):
    """The states of all examples, blank, label, blank, label, ..., blank, and the results computed from them.

    Attributes:
        states: (m, S) the class of each state.
        skips: (m, S) whether a path may reach a state from two states before: not across a blank between equal labels.
        ends: (m, S) 0 at the states in which a path may end, else −∞.
        emitted: (T, m, S) the log-probability of each state's class at each position.
        reached: (T, m, S) the log-probability of all path prefixes that are in a state at a position.
        total: (m,) the log-probability of all paths.
        lengths: (m,) the number of positions.
        softmax: of y's shape.
    """

    states: Numbers
    skips: NDArray[np.bool_]
    ends: Array
    emitted: Array
    reached: Array
    total: Array
    lengths: Numbers
    softmax: Array


def _ctc(z: Array, target: tuple[Numbers, Numbers], *, blank: int, zero_infinity: bool) -> tuple[Array, _Paths]:
    *lead, T, C = z.shape
    labels, lengths = target[0].reshape(-1, target[0].shape[-1]), target[1].reshape(-1)
    if blank >= C or (labels == blank).any():
        cause = f"y has classes from 0 to {C - 1}" if blank >= C else "the target has it among its labels"
        raise ValueError(f"blank={blank}, but {cause}: expected a separate class of y that stands for no label")
    shifted, exp, total = shifted_exp(z.reshape(-1, T, C))
    m, S = len(labels), 2 * labels.shape[1] + 1
    states = np.full((m, S), blank)
    states[:, 1::2] = np.where(labels < 0, blank, labels)
    skips = np.zeros((m, S), bool)
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    last = 2 * (labels >= 0).sum(axis=1)[:, None]
    ends = np.where((np.arange(S) == last) | (np.arange(S) == last - 1), 0, -np.inf).astype(z.dtype)
    of_states = np.broadcast_to(states[:, None], (m, T, S))
    emitted = np.take_along_axis(shifted - np.log(total), of_states, axis=-1).transpose(1, 0, 2)
    reached = np.empty_like(emitted)
    reached[0] = np.where(np.arange(S) < 2, emitted[0], -np.inf)
    for t in range(1, T):
        before = reached[t - 1]
        further = np.logaddexp(before, _moved(before, 1))
        reached[t] = emitted[t] + np.logaddexp(further, np.where(skips, _moved(before, 2), -np.inf))
    probability = np.logaddexp.reduce(reached[lengths - 1, np.arange(m)] + ends, axis=-1)
    paths = _Paths(states, skips, ends, emitted, reached, probability, lengths, (exp / total).reshape(z.shape))
    values = np.where(np.isneginf(probability), 0 if zero_infinity else np.inf, -probability).astype(z.dtype)
    return values.reshape(lead), paths


def _ctc_gradient(paths: _Paths, *, blank: int, zero_infinity: bool) -> Array:
    states, skips, ends, emitted, reached, total, lengths, softmax = paths
    *_, T, C = softmax.shape
    m = len(total)
    possible = np.isfinite(total)
    scale = np.where(possible, total, 0)[:, None]
    rest, posterior = ends, np.empty((m, T, states.shape[1]), softmax.dtype)
    for t in reversed(range(T)):
        if t < T - 1:
            after = rest + emitted[t + 1]
            further = np.logaddexp(after, _moved(after, -1))
            onward = np.logaddexp(further, _moved(np.where(skips, after, -np.inf), -2))
            rest = np.where((t >= lengths - 1)[:, None], ends, onward)
        posterior[:, t] = np.exp(reached[t] + rest - scale)
    of_classes = posterior @ (states[..., None] == np.arange(C)).astype(softmax.dtype)
    there = possible[:, None] & (np.arange(T) < lengths[:, None])
    dz = np.where(there[..., None], softmax.reshape(m, T, C) - of_classes, 0)
    return dz.reshape(softmax.shape)


def _moved(a: Array, by: int) -> Array:
    """Shifts the columns to the right (by < 0: to the left), filling with −∞."""
    moved = np.full_like(a, -np.inf)
    if by > 0:
        moved[:, by:] = a[:, :-by]
    else:
        moved[:, :by] = a[:, -by:]
    return moved
