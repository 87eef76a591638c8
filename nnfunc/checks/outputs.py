"""Attribution of a wrong gradient to one of several outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

from nnfunc.arrays import Array
from nnfunc.checks.compare import Measure
from nnfunc.checks.function import Arrays, Function
from nnfunc.checks.maps import Opened
from nnfunc.checks.report import Finding
from nnfunc.checks.trees import flat

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator


def by_output(
    findings: list[Finding], opened: Opened, drawn: Arrays, rng: Generator, again: Callable[[Array], list[Finding]]
) -> list[Finding]:
    """Adds to findings the outputs that cause them, if the gradient is right for the cotangent of other outputs alone.

    Args:
        findings: the findings for all outputs together.
        opened: the function and its gradients.
        drawn: the cotangents by the names of the outputs.
        rng: for random directions.
        again: returns the findings under other cotangents.
    """
    wrong = {f.name for f in findings if f.name in opened.arrays and f.numeric_array is not None}
    if len(drawn) < 2 or not wrong:
        return findings
    alone = {k: flat([v if k == own else np.zeros(v.shape) for own, v in drawn.items()]) for k in drawn}
    blame: dict[str, list[str]] = {name: [] for name in wrong}
    ignored: dict[str, list[str]] = {name: [] for name in wrong}
    for output, weights in alone.items():
        zero, off = _alone(opened, weights, wrong, rng)
        for name in off:
            blame[name].append(output)
            ignored[name] += [output] * (name in zero)
    known: dict[tuple[str, ...], dict[str, Finding]] = {}
    said = []
    for f in findings:
        guilty = tuple(blame.get(f.name, ()))
        if 0 < len(guilty) < len(drawn):
            others = f"for {' and '.join(k for k in drawn if k not in guilty)} alone it is right"
            if list(guilty) == ignored[f.name]:
                text = f"{' and '.join(guilty)} does not contribute: a path or its dy is left out; {others}"
                f = f._replace(kind="missing-term", message=f"{f.name}: {text}.")
            else:
                if guilty not in known:
                    found = again(np.sum([alone[k] for k in guilty], axis=0))
                    known[guilty] = {g.name: g for g in found}
                f = known[guilty].get(f.name, f)
                f = f._replace(message=f"{f.message} The error comes from {' and '.join(guilty)}: {others}.")
        said.append(f)
    return said


def _alone(opened: Opened, weights: Array, names: Collection[str], rng: Generator) -> tuple[set[str], list[str]]:
    """The arrays whose gradient is 0, and those whose gradient is wrong, under these cotangents."""
    function = Function(
        lambda a: weights * opened.forward(a), lambda a: opened.backward(a, weights.copy()), opened.arrays
    )
    gradient = function.gradient(function.start)
    if not np.isfinite(gradient).all():
        return set(), []
    measure = Measure(function, function.start, gradient, rng)
    places = [place for place in function.places if place.name in names]
    zero = {place.name for place in places if not gradient[place.slice].any()}
    return zero, [p.name for p in places if any(measure.off(p.indices)[0] for _ in range(2))]
