"""check_layer and check_model: each layer alone on its actual inputs, then the loss, then the whole model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfunc._internal.validate import instance, numeric, positive_int
from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.checks.cache import misused
from nnfunc.checks.calls import (
    Call,
    WritesError,
    calls,
    checked_input,
    drawn_input,
    flat,
    functions_of,
    named,
    named_like,
    replaced,
    shaped,
)
from nnfunc.checks.compare import Comparison
from nnfunc.checks.constants import Hints
from nnfunc.checks.diagnosis import Diagnosis
from nnfunc.checks.function import Arrays, Claims, Function, UserError
from nnfunc.checks.gradients import examine
from nnfunc.checks.held import held, named_numbers
from nnfunc.checks.maps import Opened, explain, not_linear, open_maps
from nnfunc.checks.meant import Meant
from nnfunc.checks.report import Finding, Report, Row
from nnfunc.core.layer import Layer
from nnfunc.core.values import Shapes, Value, check_shapes, leaves, map_leaves
from nnfunc.keys import Key, fold_in, generator
from nnfunc.keys import key as new_key
from nnfunc.losses.base import Loss
from nnfunc.training.gradients import ValueAndGrad, value_and_grad

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator

PARTS = 1e-6
"""Relative errors of the whole up to this may come from its correct parts: an undetected kink, or few accurate digits.
The slope of a saturated tanh, 1 − y², has an absolute error of 1e-16."""
ROUNDED = 1e-12
"""The same for errors that change the value by less than this fraction when an array is moved by its own size."""


def check_layer(
    layer: Layer,
    input_shape: Shapes,
    *,
    params: ArrayDict | None = None,
    state: ArrayDict | None = None,
    x: Value | None = None,
    batch_size: int = 4,
    inputs: int = 2,
    tolerance: float = 0.0,
    expected: Mapping[str, str] | None = None,
    key: Key | None = None,
) -> Report:
    """Checks one layer alone: its input gradient "dx" and the gradient of every parameter.

    Args:
        layer: a layer, built-in or user-defined (`nn.layer`), or a composition of layers, each of which is checked.
        input_shape: the shape of one example, as in `layer.init`; for several inputs a tuple of shapes.
        params, state: the layer's; by default from its init, with parameters moved away from zeros and ones.
        x: inputs (examples, ...) to use instead of generated ones: positive values for a logarithm, integers for a
            user-defined layer that takes indices (which then has no dx).
        batch_size: the number of examples of the generated inputs.
        inputs: the number of generated inputs, each checked in training and in prediction mode.
        tolerance, expected: accepted differences, as in `check_gradients`: {"dx": "straight-through"}; for an inner
            layer {"dense2.W": ...}.
        key: for inputs, cotangents and dropout masks; nn.key(0) by default.
    Returns:
        a Report; findings have the layer's name as `where`, and "dx" (for several inputs "dx[0]", "dx[1]") or a
        parameter's name as `name`.

    >>> def forward(params, x):
    ...     return np.tanh(x * params["a"]), (x, np.tanh(x * params["a"]))
    >>> def backward(params, cache, dy):
    ...     x, y = cache
    ...     dz = dy * (1 - y * y)
    ...     return dz * params["a"], {"a": (dz * x).mean(axis=0)}  # should be a sum
    >>> bent = nn.layer(forward, backward, {"a": np.ones(3)}, name="bent")
    >>> for finding in nn.check_layer(bent, (3,)).findings:
    ...     print(finding.where, finding.name, finding.kind)
    bent a scale
    """
    began = time.perf_counter()
    if not isinstance(layer, Layer):
        raise TypeError(f"layer is {type(layer).__name__}, expected a Layer: make one with nn.layer(forward, backward)")
    shape = check_shapes(input_shape)
    batch_size = positive_int(batch_size, "batch_size")
    inputs = positive_int(inputs, "inputs")
    meant = Meant(tolerance, expected or {}, None)
    key = new_key(0) if key is None else key
    if params is None:
        params, own = layer.init(fold_in(key, 0), shape, np.float64)
        state = own if state is None else state
        moved = params.vector + 0.3 * generator(fold_in(key, 1)).normal(size=params.vector.shape)
        params = params.with_vector(moved)
    check, params, state = _Check(key), _double(params), _double(state)
    given = None if x is None else checked_input(x, shape)
    for i in range(inputs if given is None else 1):
        values = drawn_input(layer, params, shape, batch_size, fold_in(key, 2 + i)) if given is None else given
        for train in (True, False):
            check.model(Call(layer.name, layer, params, state, values, fold_in(key, 100 + i), train))
            if check.findings:
                return meant.settled(check.report(began))
    return meant.settled(check.report(began))


def check_model(
    model: Layer,
    params: ArrayDict,
    x: Value,
    *,
    target: Value | None = None,
    loss: Loss | str | None = None,
    state: ArrayDict | None = None,
    tolerance: float = 0.0,
    expected: Mapping[str, str] | None = None,
    key: Key | None = None,
    train: bool = True,
) -> Report:
    """Checks each layer of a model alone on its actual inputs, then the loss, then the whole model.

    The report therefore names the faulty layer, not the layers below it whose gradients are wrong as a consequence.

    Args:
        model: a layer or a composition, nested to any depth.
        params: its parameters.
        x: a batch of inputs (examples, ...); for several inputs a tuple.
        target, loss: a loss and its targets. Without them, the outputs themselves are the loss if they are a single
            number, and are weighted at random otherwise.
        state: running averages; by default those of model.init.
        tolerance, expected: accepted differences, as in `check_layer`.
        key: for dropout masks and random directions; nn.key(0) by default.
        train: whether the layers run in training mode.
    Returns:
        a Report; a finding's `where` is the path of the layer ("dense2", "residual1.dense1"), "loss" (name "dy"), or ""
        for mistakes that only the whole model shows: gradients that are added, shared or tied. For several inputs or
        outputs the gradients are named "dx[0]", "dx[1]", "dy[0]". Integers and frozen parameters have no gradient.
    Raises:
        TypeError, ValueError: the model does not accept these parameters or inputs.

    >>> model = nn.serial(nn.dense(4), nn.tanh(), nn.dense(3), nn.softmax())
    >>> params, state = model.init(nn.key(0), (2,))
    >>> x, labels = np.array([[0.5, -1.0], [2.0, 0.3]]), np.array([0, 2])
    >>> nn.check_model(model, params, x, target=labels, loss=nn.sparse_categorical_cross_entropy).ok
    True
    """
    began = time.perf_counter()
    instance(model, Layer, "model")
    meant = Meant(tolerance, expected or {}, None)
    if (loss is None) != (target is None):
        raise ValueError("loss and target go together: pass both, or none")
    function = None if loss is None else value_and_grad(model, loss)
    key = new_key(0) if key is None else key
    x = checked_input(x)
    if state is None:
        state = _initial_state(model, key, x)
    params = params if isinstance(params, ArrayDict) else ArrayDict(params)
    if params.stack_shape:
        raise ValueError("params is a stack of networks: check one of them, nn.unstack(params)[0]")
    check = _Check(key)
    path = model.name if model.wire is None else ""
    target = None if function is None else map_leaves(lambda a: numeric(a, "target"), target)
    check.model(Call(path, model, _double(params), _double(state), x, key, train), function, target)
    return meant.settled(check.report(began))


def _initial_state(model: Layer, key: Key, x: Value) -> ArrayDict:
    """The initial state of a model; empty if it cannot be initialised (custom layers with hand-made parameters)."""
    try:
        return model.init(key, map_leaves(lambda a: a.shape[1:], x), np.float64)[1]
    except Exception:  # any exception: a model that needs its state raises an error in forward
        return EMPTY


def _double(arrays: ArrayDict | None) -> ArrayDict:
    return EMPTY if not arrays else ArrayDict(arrays).astype(np.float64)


class _Check:
    """Runs the checks and collects their results."""

    def __init__(self, key: Key) -> None:
        self.rng: Generator = generator(fold_in(key, 99))
        self.rows: dict[tuple[str, str], Row] = {}
        self.findings: list[Finding] = []
        self.evaluations = 0

    def report(self, began: float) -> Report:
        return Report(tuple(self.findings), tuple(self.rows.values()), self.evaluations, time.perf_counter() - began)

    def add(self, function: Function, rows: list[Row], findings: list[Finding]) -> None:
        self.evaluations += function.evaluations
        self.findings += findings
        for row in rows:
            before = self.rows.get((row.where, row.name))
            if before is None or "WRONG" in row.verdict or not row.worst <= before.worst:
                self.rows[row.where, row.name] = row

    def refused(self, path: str, kind: str, text: str) -> None:
        """Records a layer that cannot be checked further."""
        self.rows[path, ""] = Row(path, "", (), np.nan, f"WRONG: {kind}")
        self.findings.append(Finding(path, "", kind, f"{path}: {text}."))

    def model(self, root: Call, function: ValueAndGrad | None = None, target: Value | None = None) -> None:
        """Checks each layer of a model alone, then the loss, then the whole model."""
        try:
            found, y = calls(root)
        except WritesError as error:
            self.refused(error.path, "mutation", f"forward writes into its arguments ({error}): work on a copy")
            return
        seen: set[str] = set()
        for call in found:
            spoiled = self.findings and not all(np.isfinite(a).all() for a in leaves(call.x))  # by a layer before it
            if call.arrays and not spoiled and not any(f.where == call.path for f in self.findings):
                self.layer(call, again=call.path in seen)
                seen.add(call.path)
        if function is not None:
            self.loss(function.loss, y, target)
        if not self.findings and (root.layer.wire is not None or function is not None):
            self.whole(root, function, target)

    def layer(self, call: Call, again: bool = False) -> None:
        """Checks one layer alone with a random cotangent; a repeated one by random directions only."""
        y = call.forward(call.arrays)[1]
        dy = map_leaves(lambda a: self.rng.normal(size=a.shape), y)
        weights = flat(dy)

        def backward(arrays: Arrays, dy: Value) -> dict[str, Any]:
            own, _, cache = call.forward(arrays)
            try:
                return call.gradients(own, cache, dy)
            except Exception as error:  # any exception of backward
                raise UserError("backward", error) from error

        arrays, sources = call.arrays, functions_of(call.layer)
        function = Function(lambda a: weights * call.output(a), lambda a: backward(a, dy), arrays)
        numbers = named_numbers(held(sources)) + call.lengths + _lengths(y)
        opened = Opened(call.output, lambda a, dy: backward(a, shaped(dy, y)), arrays)
        try:
            rows, findings = examine(
                function, sources, self.rng, Hints(numbers, call.batch), where=call.path, names=("forward", "backward"),
                explain=partial(explained, opened=opened, rng=self.rng), exhaustive=not again,
            )  # fmt: skip
        except UserError as error:
            self.refused(call.path, error.kind, str(error))
            return
        self.add(function, rows, findings)
        if not findings:
            self.cache(call, partial(backward, arrays, dy), dy)

    def cache(self, call: Call, result: Callable[[], Claims], dy: Value) -> None:
        """Checks that backward depends on its cache alone and does not modify it."""
        own, _, cache = call.forward(call.arrays)
        first = result()
        other = map_leaves(lambda a: 0.9 * a + 0.01 if a.dtype.kind == "f" else a, call.x)
        with suppress(Exception):  # another input may be outside the forward's domain
            call.layer.forward(own, call.state, other, key=call.key, train=call.train)

        found = misused(first, lambda: call.gradients(own, cache, dy))
        if found is not None:
            self.refused(call.path, *found)

    def loss(self, loss: Loss, y: Value, target: Value) -> None:
        """Checks the loss alone, at the model's outputs."""

        def outputs(arrays: Arrays) -> Value:
            return replaced("dy", y, arrays)

        function = Function(
            lambda a: np.asarray(loss.forward(outputs(a), target)[0]),
            lambda a: named_like("dy", y, loss.backward(loss.forward(outputs(a), target)[1])),
            named("dy", y),
        )
        hints = Hints(_lengths(y, 0), leaves(y)[0].shape[0] if leaves(y)[0].ndim else None)
        rows, findings = examine(
            function, _functions(loss), self.rng, hints, where="loss", names=("forward", "backward")
        )
        self.add(function, rows, findings)

    def whole(self, root: Call, function: ValueAndGrad | None, target: Value) -> None:
        """Checks the whole model, for mistakes that the parts alone do not show."""
        y = root.forward(root.arrays)[1]
        dy = map_leaves(lambda a: self.rng.normal(size=a.shape), y)
        weights = flat(dy)

        def evaluated(arrays: Arrays, claimed: bool) -> Any:
            assert function is not None
            own, x = root.at(arrays)
            return function(
                own, root.state, (x, target), key=root.key, train=root.train, need_dx=claimed, need_grads=claimed
            )

        def terms(arrays: Arrays) -> Array:
            # with a loss, the value from the logits, as in training: it is more accurate where a sigmoid saturates
            return weights * root.output(arrays) if function is None else np.asarray(evaluated(arrays, False).value)

        def claims(arrays: Arrays) -> Claims:
            if function is None:
                return root.backward(arrays, dy)
            result = evaluated(arrays, True)
            return {**named_like("dx", root.x, result.dx), **result.grads}

        of = Function(terms, claims, root.arrays)
        opened = Opened(root.output, lambda a, dy: root.backward(a, shaped(dy, y)), root.arrays)
        sources, hints = functions_of(root.layer), Hints((), root.batch)
        rows, findings = examine(
            of, sources, self.rng, hints, where=root.path, names=("forward", "backward"),
            exhaustive=False, any_kink=True, explain=partial(explained, opened=opened, rng=self.rng),
        )  # fmt: skip
        lost = self.lost(of, rows, findings)
        rows = [row._replace(verdict="right") if row.name in lost else row for row in rows]
        findings = [f for f in findings if f.name not in lost]
        self.add(of, [row._replace(where=row.where or "(whole)") for row in rows] if findings else [], findings)

    def lost(self, of: Function, rows: list[Row], findings: list[Finding]) -> set[str]:
        """The arrays whose errors are no mistakes: the correct parts are as inaccurate, or at kinks."""
        kinks = any("kink" in row.verdict for row in self.rows.values())
        worst = max((row.worst for row in self.rows.values() if row.worst >= 0), default=0.0)
        few = {row.name for row in rows if row.worst <= min(10 * worst, PARTS) or (kinks and row.worst <= PARTS)}
        value = float(np.abs(of.terms(of.start)).max(initial=0))
        scales = of.scales(of.start)
        scale = {place.name: float(scales[place.slice].max(initial=0)) for place in of.places}
        few |= {f.name for f in findings if abs(f.analytic - f.numeric) * scale.get(f.name, np.inf) <= ROUNDED * value}
        return {f.name for f in findings if f.name in few}


def _lengths(y: Value, first: int = 1) -> list[tuple[str, float]]:
    """(name, length) of the axes of outputs."""
    several = isinstance(y, tuple)
    return [
        (f"the length of y{f'[{k}]' if several else ''}'s axis {i}", float(n))
        for k, a in enumerate(leaves(y))
        for i, n in enumerate(a.shape)
        if i >= first
    ]


def _functions(loss: Loss) -> list[Callable[..., Any]]:
    """The functions of a loss, to name the constants that they use."""
    if loss.own is not None:
        return list(loss.own)
    if loss.parts:
        return [f for _, part in loss.parts for f in _functions(part)]
    assert loss.values is not None
    assert loss.gradient is not None
    return [partial(loss.values, **loss.settings), partial(loss.gradient, **loss.settings)]


def explained(c: Comparison, found: Diagnosis, opened: Opened, rng: Generator) -> Diagnosis | None:
    """A diagnosis from the map dy → gradient, if it says more than the values of the array."""
    nonlinear = not_linear(opened, c.name, rng)
    if nonlinear is None and found.kind not in ("unknown", "penalty"):  # the values are diagnosed well enough
        return None
    maps = open_maps(opened, c.name, rng)
    return nonlinear if maps is None else explain(maps, c.name, nonlinear)
