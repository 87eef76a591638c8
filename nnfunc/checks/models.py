"""check_layer and check_model: every layer alone, on the values it really sees, then the whole chain."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.checks.compare import Comparison
from nnfunc.checks.diagnosis import Diagnosis, Hints
from nnfunc.checks.function import Arrays, Claims, Function
from nnfunc.checks.gradients import examine
from nnfunc.checks.held import held, named_numbers
from nnfunc.checks.maps import Opened, explain, open_maps
from nnfunc.checks.report import Finding, Report, Row
from nnfunc.errors import numeric, positive_int
from nnfunc.keys import Key, Keys, fold_in, generator
from nnfunc.keys import key as new_key
from nnfunc.layers import Layer
from nnfunc.layers.base import Cache, Shape, example_shape
from nnfunc.layers.combinators import with_layers
from nnfunc.losses import Loss

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator


class Call(NamedTuple):
    """One call of a layer's forward inside a model: the layer and what it was given."""

    path: str
    layer: Layer
    params: ArrayDict
    state: ArrayDict
    x: Array
    key: Keys | None
    train: bool


def check_layer(
    layer: Layer,
    input_shape: Shape,
    *,
    params: ArrayDict | None = None,
    state: ArrayDict | None = None,
    batch_size: int = 4,
    inputs: int = 2,
    key: Key | None = None,
) -> Report:
    """Checks one layer alone: its input gradient "dx" and the gradient of every parameter.

    Args:
        layer: a layer, built-in, your own (`nn.layer`), or a composition of layers, each of which is checked.
        input_shape: the shape of one example, as in `layer.init`.
        params, state: of the layer; made by its init, then moved away from zeros and ones, if not given.
        batch_size: how many examples the generated inputs have.
        inputs: how many inputs are generated, each checked in training and in prediction mode.
        key: of inputs, cotangents, dropout masks; nn.key(0) if not given.
    Returns:
        a Report; findings have the layer's name as `where`, and "dx" or a parameter's name as `name`.

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
    shape = example_shape(input_shape)
    positive_int(batch_size, "batch_size")
    positive_int(inputs, "inputs")
    key = new_key(0) if key is None else key
    if params is None:
        params, own = layer.init(fold_in(key, 0), shape, np.float64)
        state = own if state is None else state
        values = params.vector + 0.3 * generator(fold_in(key, 1)).normal(size=params.vector.shape) if params else None
        params = params.with_vector(values) if values is not None else params
    check = _Check(key)
    for i in range(inputs):
        x = generator(fold_in(key, 2 + i)).normal(size=(batch_size, *shape))
        for train in (True, False):
            call = Call(layer.name, layer, _double(params), _double(state), x, fold_in(key, 100 + i), train)
            check.tree(call, root=True)
            if check.findings:
                return check.report(began)
    return check.report(began)


def check_model(
    model: Layer,
    params: ArrayDict,
    x: ArrayLike,
    *,
    target: ArrayLike | None = None,
    loss: Loss | None = None,
    state: ArrayDict | None = None,
    key: Key | None = None,
    train: bool = True,
) -> Report:
    """Checks every layer of a model alone, on the values it sees in it, then the loss, then the whole chain.

    The report so names the guilty layer, not the layers below it whose gradients come out wrong because of it.

    Args:
        model: a layer or a composition, nested as you like.
        params: its parameters.
        x: a batch of inputs (examples, ...).
        target, loss: a loss value and what it takes beside the outputs; without them the output itself is the loss if
            it is one number, and is weighted at random if not.
        state: running averages; those of model.init if not given.
        key: of dropout masks and of the random directions; nn.key(0) if not given.
        train: whether the layers work as in training.
    Returns:
        a Report; a finding's `where` is the path of the layer ("dense2", "residual1.dense1"), "loss" (name "dy"), or ""
        for mistakes that only the chain as a whole shows.
    Raises:
        TypeError, ValueError: the model does not take these parameters or inputs.

    >>> model = nn.serial(nn.dense(4), nn.tanh(), nn.dense(3), nn.softmax())
    >>> params, state = model.init(nn.key(0), (2,))
    >>> x, labels = np.array([[0.5, -1.0], [2.0, 0.3]]), np.array([0, 2])
    >>> nn.check_model(model, params, x, target=labels, loss=nn.sparse_categorical_cross_entropy).ok
    True
    """
    began = time.perf_counter()
    if not isinstance(model, Layer):
        raise TypeError(f"model is {type(model).__name__}, expected a Layer, as nn.serial makes one")
    if (loss is None) != (target is None):
        raise ValueError("loss and target go together: pass both, or none")
    if loss is not None and not isinstance(loss, Loss):
        raise TypeError(f"loss is {type(loss).__name__}, expected a Loss, like nn.mean_squared_error")
    key = new_key(0) if key is None else key
    array = numeric(x, "x")
    if state is None:
        state = _initial_state(model, key, array)
    params = params if isinstance(params, ArrayDict) else ArrayDict(params)
    if params.stack_shape:
        raise ValueError("params is a stack of networks: check one of them, nn.unstack(params)[0]")
    array = array.astype(np.float64) if array.dtype.kind == "f" else array
    check = _Check(key)
    root = Call("", model, _double(params), _double(state), array, key, train)
    if not model.layers:
        root = root._replace(path=model.name)
    output = check.tree(root, root=True)
    if loss is not None and target is not None:
        check.loss(loss, output, target)
    if not check.findings and (model.layers or loss is not None):
        check.chain(root, loss, target)
    return check.report(began)


def _initial_state(model: Layer, key: Key, x: Array) -> ArrayDict:
    """The state that a model begins with; none if it can't be initialised (own layers with parameters made by hand)."""
    try:
        return model.init(key, x.shape[1:], np.float64)[1]
    except Exception:  # whatever it is: a model that needs its state will say so in forward
        return EMPTY


def _double(arrays: ArrayDict | None) -> ArrayDict:
    return EMPTY if not arrays else ArrayDict(arrays).astype(np.float64)


class _Check:
    """Collects what is found."""

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

    def tree(self, call: Call, root: bool = False) -> Array:
        """Checks the layers inside a layer, then the layer itself; returns its output."""
        calls: list[Call] = []
        recording = _recording(call.layer, call.path, calls)
        y, _, _ = recording.forward(call.params, call.state, call.x, key=call.key, train=call.train)
        for inner in calls:  # inner ones come before the composition that they are in
            guilty = any(f.where.startswith(f"{inner.path}.") for f in self.findings)
            is_root = root and inner.path == call.path
            if not guilty and not (is_root and inner.layer.layers and self.findings):
                if is_root and inner.layer.layers:
                    continue  # the chain as a whole
                self.layer(inner)
        if root and call.layer.layers and not self.findings:
            self.chain(call, None, None) if call.path else None
        return np.asarray(y)

    def layer(self, call: Call) -> None:
        """One layer alone, under a random cotangent."""
        layer, state, key, train = call.layer, call.state, call.key, call.train
        floating = call.x.dtype.kind == "f"

        def forward(arrays: Arrays) -> tuple[ArrayDict, Array, Cache]:
            own = ArrayDict({k: v for k, v in arrays.items() if k != "dx"}) if call.params else call.params
            x = arrays["dx"] if floating else call.x
            y, cache, _ = layer.forward(own, state, x, key=key, train=train)
            return own, np.asarray(y), cache

        shape = forward(_arrays(call))[1].shape
        dy = self.rng.normal(size=shape)

        def terms(arrays: Arrays) -> Array:
            return dy * forward(arrays)[1]

        def backward(arrays: Arrays, dy: Array) -> dict[str, Any]:
            own, _, cache = forward(arrays)
            dx, grads = layer.backward(own, cache, dy)
            return {**({"dx": dx} if floating else {}), **grads}

        arrays = _arrays(call)
        function = Function(terms, lambda arrays: backward(arrays, dy), arrays)
        sources: list[Callable[..., Any]] = [layer.forward, layer.backward]
        values = held(sources)
        batch = call.x.shape[0] if call.x.ndim > 1 else None
        numbers = named_numbers({k: v for k, v in values.items() if k not in ("layers",)})
        numbers += [(f"the length of {_axis_name(i, call.x.ndim)}", float(n)) for i, n in enumerate(call.x.shape) if i]
        numbers += [(f"the length of y's axis {i}", float(n)) for i, n in enumerate(shape) if i]
        opened = Opened(lambda a: forward(a)[1], backward, arrays)
        if malformed := _form_error(function, call.path):
            self.add(function, [Row(call.path, f.name, (), np.nan, f"WRONG: {f.kind}") for f in malformed], malformed)
            return
        rows, findings = examine(
            function, sources, self.rng, Hints(numbers, batch), where=call.path, names=("forward", "backward"),
            explain=partial(_explained, opened=opened, rng=self.rng),
        )  # fmt: skip
        self.add(function, rows, findings)

    def loss(self, loss: Loss, y: Array, target: ArrayLike) -> None:
        """The loss alone, at the model's output."""
        function = Function(
            lambda a: np.asarray(loss.forward(a["dy"], target)[0]),
            lambda a: {"dy": loss.backward(loss.forward(a["dy"], target)[1])},
            {"dy": y},
        )
        numbers = [(f"the length of y's axis {i}", float(n)) for i, n in enumerate(y.shape)]
        rows, findings = examine(
            function, [loss.forward, loss.backward], self.rng, Hints(numbers, y.shape[0] if y.ndim else None),
            where="loss", names=("forward", "backward"),
        )  # fmt: skip
        self.add(function, rows, findings)

    def chain(self, call: Call, loss: Loss | None, target: ArrayLike | None) -> None:
        """All of it: only what the parts alone do not show can be wrong here."""
        model, floating = call.layer, call.x.dtype.kind == "f"

        def forward(arrays: Arrays) -> tuple[ArrayDict, Array, Cache]:
            own = ArrayDict({k: v for k, v in arrays.items() if k != "dx"}) if call.params else call.params
            x = arrays["dx"] if floating else call.x
            y, cache, _ = model.forward(own, call.state, x, key=call.key, train=call.train)
            return own, np.asarray(y), cache

        weights = self.rng.normal(size=forward(_arrays(call))[1].shape)

        def terms(arrays: Arrays) -> Array:
            y = forward(arrays)[1]
            return y * weights if loss is None else np.asarray(loss.forward(y, target)[0])

        def claims(arrays: Arrays) -> Claims:
            own, y, cache = forward(arrays)
            dy = weights if loss is None else loss.backward(loss.forward(y, target)[1])
            dx, grads = model.backward(own, cache, dy)
            return {**({"dx": dx} if floating and dx is not None else {}), **grads}

        def backward(arrays: Arrays, dy: Array) -> Arrays:
            own, _, cache = forward(arrays)
            dx, grads = model.backward(own, cache, dy)
            return {**({} if dx is None else {"dx": dx}), **grads}

        function = Function(terms, claims, _arrays(call))
        opened = Opened(lambda a: forward(a)[1], backward, _arrays(call))
        hints = Hints((), call.x.shape[0] if call.x.ndim > 1 else None)
        rows, findings = examine(
            function, [model.forward, model.backward], self.rng, hints, where=call.path, names=("forward", "backward"),
            exhaustive=False, any_kink=True, explain=partial(_explained, opened=opened, rng=self.rng),
        )  # fmt: skip
        self.add(function, [row._replace(where=row.where or "(whole)") for row in rows] if findings else [], findings)


def _arrays(call: Call) -> Arrays:
    x = {"dx": np.asarray(call.x, np.float64)} if call.x.dtype.kind == "f" else {}
    return {**x, **call.params.to_dict()}


def _axis_name(axis: int, ndim: int) -> str:
    return "the features" if axis == ndim - 1 else f"x's axis {axis}"


def _explained(c: Comparison, opened: Opened, rng: Generator) -> Diagnosis | None:
    maps = open_maps(opened, c.name, rng)
    return None if maps is None else explain(maps, c.name)


def _form_error(function: Function, where: str) -> list[Finding]:
    """A backward that raises because what it gives does not fit."""
    try:
        function.claims(function.arrays(function.start))
    except (ValueError, TypeError) as error:
        kind = "mutation" if "read-only" in str(error) else "shape"
        cause = ": it writes into what it was given; work on a copy" if kind == "mutation" else ""
        return [Finding(where, "", kind, f"{where}: backward raises {type(error).__name__}: {error}{cause}.")]
    return []


def _recording(layer: Layer, path: str, calls: list[Call]) -> Layer:
    """The same layer, which notes each call of a forward in it, inner ones first."""
    prefix = f"{path}." if path and layer.layers else ""
    inner = layer
    if layer.layers:
        inner = with_layers(layer, tuple((name, _recording(part, prefix + name, calls)) for name, part in layer.layers))

    def forward(
        params: ArrayDict, state: ArrayDict, x: Array, *, key: Keys | None = None, train: bool = False
    ) -> tuple[Array, Cache, ArrayDict]:
        result = inner.forward(params, state, x, key=key, train=train)
        calls.append(Call(path, layer, params, state, np.array(x), key, train))
        return result

    return layer._replace(forward=forward)
