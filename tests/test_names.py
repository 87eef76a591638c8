"""The location of public names: each in the module of its topic, the common ones in `nnfunc` too."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

import nnfunc as nn

NAMESPACES = [
    "arrays",
    "checks",
    "errors",
    "files",
    "initializers",
    "inspection",
    "keys",
    "layers",
    "losses",
    "metrics",
]
NAMESPACES += ["models", "optimizers", "penalties", "schedules", "stacks", "training"]
FLAT = sorted(name for name in nn.__all__ if not isinstance(getattr(nn, name), ModuleType))


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_topic_is_a_module_that_says_what_it_has(name: str) -> None:
    module = importlib.import_module(f"nnfunc.{name}")
    assert module.__doc__
    assert getattr(nn, name) is module or name == "errors"
    for public in module.__all__:
        assert getattr(module, public).__doc__, f"{name}.{public}"


def test_a_flat_name_is_the_one_of_its_topic() -> None:
    modules = [importlib.import_module(f"nnfunc.{name}") for name in NAMESPACES]
    for name in FLAT:
        homes = [module for module in modules if name in module.__all__]
        assert homes, f"{name} is in no module of a topic"
        assert all(getattr(module, name) is getattr(nn, name) for module in homes), name


@pytest.mark.parametrize("name", sorted(nn._MOVED))
def test_a_name_that_has_moved_works_with_a_warning(name: str) -> None:
    home = importlib.import_module(nn._MOVED[name])
    assert name in home.__all__
    assert name not in nn.__all__
    with pytest.warns(DeprecationWarning, match=f"nnfunc.{name} is now {home.__name__}.{name};") as caught:
        assert getattr(nn, name) is getattr(home, name)
    assert caught[0].filename == __file__  # it points to the line that says the old name


def test_schedules_were_optimizers_once_and_other_names_are_nowhere() -> None:
    with pytest.warns(DeprecationWarning, match="is now nnfunc.schedules.cosine_decay"):
        assert nn.optimizers.cosine_decay is nn.schedules.cosine_decay  # type: ignore[attr-defined]  # it has moved
    for module in (nn, nn.optimizers):
        with pytest.raises(AttributeError, match="has no attribute 'adm'"):
            _ = module.adm
