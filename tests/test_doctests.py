"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import nnfunc as nn

MODULES = ["nnfunc", *(m.name for m in pkgutil.walk_packages(nn.__path__, "nnfunc."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    if name == "nnfunc.plots":
        pytest.importorskip("matplotlib")
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np, "nn": nn}, optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert result.failed == 0
