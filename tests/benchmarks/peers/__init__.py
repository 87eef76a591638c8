"""The contestants: one file for each, of which those are measured whose packages are installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from shutil import which

from tests.benchmarks.networks import Task
from tests.benchmarks.timing import Contestant

PACKAGES = {
    "ours": "nnfunc",
    "numpy_loops": "numpy",
    "torch_peer": "torch",
    "torch_compiled": "torch",
    "jax_peer": "optax",
    "sklearn_peer": "sklearn",
    "autograd_peer": "autograd",
    "mygrad_peer": "mygrad",
    "smallpebble_peer": "smallpebble",
}
"""The package that each file here is about."""


def available() -> list[str]:
    """The files whose packages are installed; torch.compile needs a C++ compiler too."""
    compiler = which("g++") or which("clang++")
    return [name for name, package in PACKAGES.items() if find_spec(package) and (compiler or "compiled" not in name)]


def missing(chosen: Sequence[str] | None = None) -> list[str]:
    """The chosen files (all, if none is) that are not available, and why."""
    why = {name: f"{package} is not installed" for name, package in PACKAGES.items() if not find_spec(package)}
    names = [name for name in chosen or PACKAGES if name not in available()]
    return [f"{name} ({why.get(name, 'no C++ compiler')})" for name in names]


def contestants(kind: str, task: Task, chosen: Sequence[str]) -> list[Contestant]:
    """What each chosen file has of a kind ("steps", "stacked", "predictors"); nnfunc comes first."""
    found: list[Contestant] = []
    for name in available():
        module = import_module(f"{__name__}.{name}") if name in chosen else None
        maker: Callable[[Task], list[Contestant]] | None = getattr(module, kind, None)
        found += maker(task) if maker else []
    return found
