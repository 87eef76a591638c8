"""Detection rates: the corpus of small gradients, right and wrong, through every gradient checker.

Each gets the same loss, gradients and point, in float64, with its own defaults. PyTorch and JAX get them as an own
function with an own derivative; SciPy and the courses give a number, which is held against the limit of their manuals.
What a checker says of one array it is asked once for each array. Only nnfunc names an element, or a reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

import nnfunc as nn
from nnfunc.arrays import Array
from tests.benchmarks.coursework import edges
from tests.benchmarks.report import Options, Table
from tests.corpus import Case, right_cases, wrong_cases

Checker = Callable[[Case, str], bool]
"""(case, array) -> whether its gradient is called right, the others being held fixed"""


def held(case: Case, name: str) -> tuple[Callable[[Array], float], Callable[[Array], Array], Array]:
    """A case as a function of one of its arrays."""

    def at(value: Array) -> dict[str, Any]:
        return {**case.params, name: np.asarray(value, np.float64)}

    point = np.asarray(case.params[name], np.float64)
    shape = point.shape
    return (
        lambda v: float(case.loss(at(v))),
        lambda v: np.broadcast_to(np.asarray(case.grads(at(v))[name], np.float64), shape),
        point,
    )


def pytorch(case: Case, name: str) -> bool:
    """`torch.autograd.gradcheck` with its defaults: ε 1e-6, atol 1e-5, rtol 1e-3."""
    import torch

    loss, gradient, point = held(case, name)

    class Own(torch.autograd.Function):  # type: ignore[misc]  # PyTorch is not typed here
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return torch.tensor(loss(x.detach().numpy()), dtype=torch.float64)

        @staticmethod
        def backward(ctx: Any, *dy: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return dy[0] * torch.tensor(gradient(x.detach().numpy()).copy())

    x = torch.tensor(point, requires_grad=True)
    return bool(torch.autograd.gradcheck(Own.apply, (x,), raise_exception=False))


def jax(case: Case, name: str) -> bool:
    """`jax.test_util.check_grads`, reverse mode, with its defaults for float64."""
    import jax as j
    from jax.test_util import check_grads

    loss, gradient, point = held(case, name)
    shapes = j.ShapeDtypeStruct((), np.float64), j.ShapeDtypeStruct(point.shape, np.float64)

    @j.custom_vjp  # type: ignore[untyped-decorator]  # JAX is not typed here
    def f(x: Any) -> Any:
        return j.pure_callback(lambda v: np.float64(loss(np.asarray(v))), shapes[0], x)

    f.defvjp(
        lambda x: (f(x), x),
        lambda x, dy: (dy * j.pure_callback(lambda v: gradient(np.asarray(v)).copy(), shapes[1], x),),
    )
    with j.enable_x64(True):
        try:
            check_grads(f, (j.numpy.asarray(point),), order=1, modes=["rev"])
        except AssertionError:
            return False
    return True


def scipy(case: Case, name: str) -> bool:
    """`scipy.optimize.check_grad`: its manual shows errors of 1e-7 and less for what is right."""
    from scipy.optimize import check_grad

    loss, gradient, point = held(case, name)
    error = check_grad(lambda v: loss(v.reshape(point.shape)), lambda v: gradient(v.reshape(point.shape)).ravel(),
                       point.ravel())  # fmt: skip
    return bool(error < 1e-6 * max(1.0, float(np.linalg.norm(gradient(point)))))


def course(case: Case, name: str) -> bool:
    """‖g − n‖ / (‖g‖ + ‖n‖) < 1e-7 with central differences of 1e-7, as courses teach it."""
    loss, gradient, point = held(case, name)
    numeric, step = np.zeros(point.size), 1e-7
    for i in range(point.size):
        move = step * (np.arange(point.size) == i).reshape(point.shape)
        numeric[i] = (loss(point + move) - loss(point - move)) / (2 * step)
    claimed = gradient(point).ravel()
    size = float(np.linalg.norm(claimed) + np.linalg.norm(numeric))
    return not size or float(np.linalg.norm(claimed - numeric)) < 1e-7 * size


PEERS: Mapping[str, tuple[str, Checker]] = {
    "PyTorch gradcheck": ("torch", pytorch),
    "JAX check_grads": ("jax", jax),
    "SciPy check_grad": ("scipy", scipy),
    "the courses' formula": ("numpy", course),
}


def row(
    name: str, called: Callable[[Case], set[str]], kinds: Callable[[Case], set[str]] | None, hard: Sequence[Case]
) -> dict[str, Any]:
    """One checker over the corpus. `called` gives the arrays that it calls wrong."""
    wrong, right = list(wrong_cases()), list(right_cases())
    verdicts = [called(case) for case in wrong]
    found = sum(bool(v) for v in verdicts)
    named = sum(v == case.wrong for v, case in zip(verdicts, wrong, strict=True))
    said = sum(kinds(case) <= case.kinds - {"unknown"} for case in wrong) if kinds else 0
    accused, at_the_edge = (sum(bool(called(case)) for case in cases) for cases in (right, hard))
    return {
        "checker": name,
        f"found of {len(wrong)}": found,
        "exactly the wrong arrays": named,
        "the reason in a right word": said,
        f"right ones accused of {len(right)}": accused,
        f"and at the edge of {len(hard)}": at_the_edge,
    }


def run(options: Options) -> list[Table]:
    """The corpus through every checker that is installed."""

    def findings(case: Case) -> Any:
        return nn.check_gradients(case.loss, case.grads, case.params).findings

    def asked(right: Checker) -> Callable[[Case], set[str]]:
        return lambda case: {k for k in case.params if np.size(case.params[k]) and not right(case, k)}

    edge = [edges(i) for i in range(20 if options.quick else 200)]
    hard = [Case(e.about, e.loss, e.grads, e.params, frozenset(), frozenset()) for e in edge]
    rows = [
        row(
            "nnfunc check_gradients",
            lambda c: {f.name for f in findings(c)},
            lambda c: {f.kind for f in findings(c)},
            hard,
        )
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (package, right) in PEERS.items():
            if find_spec(package):
                rows.append(row(name, asked(right), None, hard))
    note = (
        "Corpora: tests/corpus.py, and at the edge tests/benchmarks/coursework.py (probabilities that are clipped, "
        "masks, ties, dead units). Each checker with its own defaults; the others are asked for each array by itself."
    )
    return [Table("Small wrong and right gradients", rows, note)]
