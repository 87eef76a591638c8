"""Checks parameters and inputs of a layer against its signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nnfunc.arrays import ArrayDict
from nnfunc.core.kernel import Signature
from nnfunc.core.layer import Layer
from nnfunc.core.values import Shapes, is_shape, map_shapes
from nnfunc.keys import key as new_key
from nnfunc.layout import Shape

BEFORE = ((), (64,), (64, 64), (1,))
"""Axes of an example before its features, tried if they are unknown."""


def signature(layer: Layer, input_shape: Shapes) -> Signature:
    """Returns the signature of a layer that has a kernel, for examples of this shape."""
    assert layer.kernel is not None
    return layer.kernel.signature(input_shape, **layer.settings)


def fitted(layer: Layer, shapes: Mapping[str, Shape], input_shape: Shapes, rows: Shape, first: bool) -> Signature:
    """Returns the signature for an input if the parameters match it; otherwise raises an error that says why not.

    Args:
        shapes: the shapes of the parameters.
        input_shape: the shape of one example.
        rows: the leading axes of the input, for messages.
        first: whether the input is the model's, which the caller can transpose.
    """
    refused: Exception | None = None
    try:
        said = signature(layer, input_shape)
        if layer.kernel is not None and layer.kernel.named:  # a user-defined layer checks its own inputs
            return said
        if {k: a.shape for k, a in said.params.items()} == dict(shapes):
            return said
    except ValueError as error:
        refused = error
    meant = next(_candidates(layer, shapes), None)
    if meant is not None and shapes and is_shape(input_shape) and (not input_shape or meant[-1] != input_shape[-1]):
        raise ValueError(_wrong_features((*rows, *input_shape), meant[-1], first))
    several = not is_shape(input_shape)  # inputs: no candidates are known
    if refused is not None and (meant is not None or not shapes or several):
        raise refused
    raise ValueError(_wrong_parameters(layer, shapes))


def check_parameters(layer: Layer, shapes: Mapping[str, Shape]) -> None:
    """Raises an error if no input matches these parameters of a layer. User-defined layers are not checked."""
    if layer.kernel is None or layer.kernel.named:
        return
    try:
        said = signature(layer, (64,))
        if not shapes and not said.params:
            return
    except TypeError:  # a layer of several inputs
        return
    except ValueError:  # of another rank
        if not shapes:
            return
    if next(_candidates(layer, shapes), None) is None:
        raise ValueError(_wrong_parameters(layer, shapes))


def said_for(layer: Layer, shapes: Mapping[str, Shape]) -> Signature | None:
    """Returns the signature of a layer for some input that matches these parameters, None if there is none."""
    shape = next(_candidates(layer, shapes), None)
    return None if shape is None else signature(layer, shape)


def _candidates(layer: Layer, shapes: Mapping[str, Shape]) -> Iterator[Shape]:
    """Yields shapes of an example for which a layer has these parameters."""
    lengths = dict.fromkeys(n for shape in shapes.values() for n in shape)
    groups = layer.settings.get("groups", 1)  # of a convolution, whose arrays have the channels of one group
    for before in BEFORE:
        for length in [*lengths, *(n * groups for n in lengths if groups != 1)]:
            try:
                said = signature(layer, (*before, length))
            except (ValueError, TypeError, IndexError):
                continue
            if {k: a.shape for k, a in said.params.items()} == dict(shapes):
                yield (*before, length)


def _wrong_features(shape: Shape, features: int, first: bool) -> str:
    if len(shape) < 2:
        return f"x has shape {shape}, expected (examples, {features}): rows are examples, so pass x[None] for one"
    cause = ", so pass x.T" if first and len(shape) == 2 and shape[0] == features else ""
    return f"x has shape {shape} but the model takes {features} features on the last axis: rows are examples{cause}"


def _wrong_parameters(layer: Layer, shapes: Mapping[str, Shape]) -> str:
    """The message with a layer's expected parameters, where lengths that depend on the input are called "inputs"."""
    expected: dict[str, tuple[Any, ...]] = {}
    fixed, groups = [v for v in layer.settings.values() if type(v) is int], layer.settings.get("groups", 1)
    for before in BEFORE:
        found = []
        for length in (1009 * groups, 2003 * groups, *fixed):
            try:
                found.append(signature(layer, (*before, length)).params)
            except (ValueError, TypeError, IndexError):
                continue
        if found:
            a, b = found[0], found[1] if len(found) > 1 else found[0]
            expected = {
                k: tuple(m if m == n else "inputs" for m, n in zip(a[k].shape, b[k].shape, strict=True)) for k in a
            }
            break
    missing, extra = [k for k in expected if k not in shapes], [k for k in shapes if k not in expected]
    if missing:
        there = ", ".join(shapes) or "no arrays"
        return f"the parameters do not match the model: {', '.join(missing)} missing (there: {there})"
    if extra:
        wanted = ", ".join(expected) or "none"
        return f"the parameters do not match the model: {', '.join(extra)} unexpected (expected: {wanted})"
    came = ", ".join(f"{k} {shape}" for k, shape in shapes.items())
    wanted = " and ".join(f"{k} ({', '.join(map(str, s))}{',' if len(s) == 1 else ''})" for k, s in expected.items())
    return (
        f"the parameters do not match the model: {came}, expected {wanted}, or a stack of them (nn.stack, or "
        "nn.ArrayDict(..., stacked=True))"
    )


def probed(layer: Layer, params: ArrayDict, state: ArrayDict, input_shape: Shapes) -> Shape:
    """Determines the undeclared output shape of a user-defined layer.

    Its forward is called on an empty batch, which contains no values to reject. If that fails, the output is assumed to
    have the shape of the input.
    """
    kernel, dtype = layer.kernel, params.dtype if params.size else np.dtype(np.float32)
    assert kernel is not None
    asked = {"key": new_key(0), "train": False, "lead": 1, "state": state, "gather": None}
    given = {k: layer.settings[k] for k in kernel.uses} | {k: asked[k] for k in kernel.asks}
    for kind in (dtype, np.dtype(np.int64)):
        x = map_shapes(lambda s, kind=kind: np.zeros((0, *s), kind), input_shape)
        try:
            with np.errstate(all="ignore"):
                y = kernel.forward(params, x, **given)[0]
        except Exception:  # of any kind: an empty batch need not be supported
            continue
        if isinstance(y, tuple):
            raise TypeError(
                f"forward returned a tuple of {len(y)} outputs: declare their shapes, nn.layer(..., shape=...)"
            )
        return tuple(np.shape(y)[1:])
    first = input_shape
    while not is_shape(first):
        first = first[0]
    return tuple(first)
