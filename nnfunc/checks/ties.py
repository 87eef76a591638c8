"""Ties between elements of two arrays, as under a maximum: the gradient goes to one of them, or is split."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnfunc.checks.compare import Measure
from nnfunc.checks.function import Function, Place
from nnfunc.checks.numeric import beside
from nnfunc.checks.pattern import plural
from nnfunc.checks.report import Finding

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator


def at_ties(function: Function, rng: Generator) -> list[Finding]:
    """Finds mistakes where elements of two arrays are equal.

    Each element alone is at a kink, where many values are correct. Moved together, they are not at a kink, and the sum
    of the two gradients must be the derivative.

    Args:
        function: a function of the arrays to compare.
        rng: moves the tied values, as 0 may be a kink of other functions.

    >>> neither = Function(
    ...     lambda p: np.maximum(p["a"], p["b"]),
    ...     lambda p: {"a": 1.0 * (p["a"] > p["b"]), "b": 1.0 * (p["b"] > p["a"])},
    ...     {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([2.0, 2.0, 3.0])},
    ... )
    >>> [finding.name for finding in at_ties(neither, np.random.default_rng(0))]
    ['a', 'b']
    """
    findings: list[Finding] = []
    for a, b in combinations(function.places, 2):
        tied = np.flatnonzero(function.start[a.slice] == function.start[b.slice]) if _alike(a, b) else np.empty(0, int)
        if not tied.size:
            continue
        tests = [_together(function, (a, b), tied, rng) for _ in range(2)]
        if all(test is not None for test in tests):
            findings += [_finding(place, a, b, tied.size, *tests[0]) for place in (a, b) if tests[0]]
    return findings


def _together(
    function: Function, places: tuple[Place, Place], tied: NDArray[np.intp], rng: Generator
) -> tuple[float, float] | None:
    """(claimed, true) derivative when tied elements move together; None if they agree, or if undecided."""
    vector, direction = function.start.copy(), np.zeros(function.start.size)
    moves = (0.1 + 0.4 * rng.random(tied.size)) * function.scales(function.start)[places[0].slice.start]
    for place in places:
        vector[place.slice.start + tied] += moves
        direction[place.slice.start + tied] = moves
    gradient = function.gradient(vector)
    if not np.isfinite(gradient).all():
        return None
    sides = beside(function.along(vector, direction), 1.0, Measure(function, vector, gradient, rng).digits)
    claimed, right = float(gradient @ direction), sides.middle.value
    size = max(float(np.abs(gradient * direction).sum()), abs(right))
    wrong = not sides.kink and abs(claimed - right) > 4 * sides.middle.error + 1e-3 * size
    return (claimed, right) if wrong else None


def _alike(a: Place, b: Place) -> bool:
    return a.shape == b.shape and a.order == b.order


def _finding(place: Place, a: Place, b: Place, ties: int, claimed: float, right: float) -> Finding:
    text = f"{place.name}: where {a.name} and {b.name} are equal (in {plural(ties, 'element')})"
    share = claimed / right if right else np.inf
    said = (
        "neither receives the gradient"
        if abs(share) < 1e-6
        else f"together they receive {share:.3g} times the gradient"
    )
    text = f"{text}, {said}; together they should receive it once: one of them, or half each."
    return Finding("", place.name, "mask", text, analytic=claimed, numeric=right)
