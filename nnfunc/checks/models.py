"""check_layer and check_model: every layer alone, on the values it really sees, then the whole chain."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.checks.compare import Comparison
from nnfunc.checks.diagnosis import Diagnosis, Hints
from nnfunc.checks.function import Arrays, Claims, Function
from nnfunc.checks.gradients import examine
from nnfunc.checks.held import held, named_numbers
from nnfunc.checks.maps import Opened, explain, not_linear, open_maps
from nnfunc.checks.report import Finding, Report, Row
from nnfunc._internal.validate import first_bad, numeric, positive_int
from nnfunc.keys import Key, Keys, fold_in, generator
from nnfunc.keys import key as new_key
from nnfunc.layers import Layer
from nnfunc.layers.base import Cache, Shape, example_shape
from nnfunc.layers.combinators import with_layers
from nnfunc.losses import Loss
from nnfunc.training.step import fused

if TYPE_CHECKING:  # it costs a tenth of the import of NumPy
    from numpy.random import Generator


Forward: TypeAlias = Callable[[], tuple[ArrayDict, Array, Cache]]


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
    x: ArrayLike | None = None,
    batch_size: int = 4,
    inputs: int = 2,
    key: Key | None = None,
) -> Report:
    """Checks one layer alone: its input gradient "dx" and the gradient of every parameter.

    Args:
        layer: a layer, built-in, your own (`nn.layer`), or a composition of layers, each of which is checked.
        input_shape: the shape of one example, as in `layer.init`.
        params, state: of the layer; made by its init, then moved away from zeros and ones, if not given.
        x: inputs (examples, ...) to check it on instead of generated ones: positive ones for a logarithm, whole
            numbers for a layer that looks them up (which then has no dx).
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
        if params:
            moved = params.vector + 0.3 * generator(fold_in(key, 1)).normal(size=params.vector.shape)
            params = params.with_vector(moved)
    check = _Check(key)
    given = None if x is None else _input(x, shape)
    for i in range(inputs if given is None else 1):
        values = generator(fold_in(key, 2 + i)).normal(size=(batch_size, *shape)) if given is None else given
        for train in (True, False):
            call = Call(layer.name, layer, _double(params), _double(state), values, fold_in(key, 100 + i), train)
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
    array = _input(x)
    if state is None:
        state = _initial_state(model, key, array)
    params = params if isinstance(params, ArrayDict) else ArrayDict(params)
    if params.stack_shape:
        raise ValueError("params is a stack of networks: check one of them, nn.unstack(params)[0]")
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


def _input(x: ArrayLike, shape: Shape | None = None) -> Array:
    """Inputs in float64, or whole numbers."""
    array = numeric(x, "x")
    if array.ndim < 1 or (shape is not None and array.shape[1:] != shape):
        expected = "(examples, ...)" if shape is None else f"(examples, {', '.join(map(str, shape))})"
        raise ValueError(f"x has shape {array.shape}, expected {expected}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"x contains {first_bad(array, ~np.isfinite(array))}: there is no derivative at such a point")
    return array.astype(np.float64) if array.dtype.kind == "f" else array


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
        try:
            y, _, _ = recording.forward(call.params, call.state, call.x, key=call.key, train=call.train)
        except _WritesError as error:
            self.refused(error.path, "mutation", f"forward writes into what it was given ({error}): work on a copy")
            return np.zeros(1)
        for inner in calls:  # inner ones come before the composition that they are in
            if not np.isfinite(inner.x).all() and self.findings:
                continue  # what a layer before it did
            guilty = any(f.where.startswith(f"{inner.path}.") for f in self.findings)
            is_root = root and inner.path == call.path
            if not guilty and not (is_root and inner.layer.layers and self.findings):
                if is_root and inner.layer.layers:
                    continue  # the chain as a whole
                self.layer(inner)
        if root and call.layer.layers and not self.findings:
            self.chain(call, None, None) if call.path else None
        return np.asarray(y)

    def refused(self, path: str, kind: str, text: str) -> None:
        """A layer that can't be checked further."""
        self.rows[path, ""] = Row(path, "", (), np.nan, f"WRONG: {kind}")
        self.findings.append(Finding(path, "", kind, f"{path}: {text}."))

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
            try:
                dx, grads = layer.backward(own, cache, dy)
            except Exception as error:  # whatever it is, it is backward's
                raise _RefusalError(error) from error
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
        try:
            rows, findings = examine(
                function, sources, self.rng, Hints(numbers, batch), where=call.path, names=("forward", "backward"),
                explain=partial(_explained, opened=opened, rng=self.rng),
            )  # fmt: skip
        except _RefusalError as error:
            self.refused(call.path, error.kind, str(error))
            return
        self.add(function, rows, findings)
        if not findings:
            self.cache(call, partial(forward, arrays), partial(backward, arrays, dy), dy)

    def cache(self, call: Call, forward: Forward, result: Callable[[], Claims], dy: Array) -> None:
        """Whether backward depends on its cache alone, and leaves it as it is."""
        own, _, cache = forward()
        first = result()
        if floating := call.x.dtype.kind == "f":
            with suppress(Exception):  # another input may be outside the forward's domain
                call.layer.forward(own, call.state, 0.9 * call.x + 0.01, key=call.key, train=call.train)

        def same() -> bool:
            dx, grads = call.layer.backward(own, cache, dy)
            gradients = {**({"dx": dx} if floating else {}), **grads}
            return all(
                np.array_equal(np.asarray(gradients[k]), np.asarray(v), equal_nan=True) for k, v in first.items()
            )

        if not same():
            text = (
                "backward gives another result after forward was called with another x: it uses what the last forward"
            )
            self.refused(call.path, "stale", f"{text} left in the layer; put all that backward needs into the cache")
        elif not same():
            text = "a second backward with the same cache gives another result: the first changed the cache"
            self.refused(call.path, "mutation", f"{text}; work on a copy")

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

        def forward(arrays: Arrays, model: Layer = model) -> tuple[ArrayDict, Array, Cache]:
            own = ArrayDict({k: v for k, v in arrays.items() if k != "dx"}) if call.params else call.params
            x = arrays["dx"] if floating else call.x
            y, cache, _ = model.forward(own, call.state, x, key=call.key, train=call.train)
            return own, np.asarray(y), cache

        # the value from the logits, as in training: it has more digits where a sigmoid or softmax saturates
        computed = None if loss is None else fused(model, loss)
        weights = self.rng.normal(size=forward(_arrays(call))[1].shape)

        def terms(arrays: Arrays) -> Array:
            if computed is None or target is None:
                return forward(arrays)[1] * weights
            y = forward(arrays, computed[0])[1]
            return np.asarray(computed[1].forward(y, target)[0])

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


def _explained(c: Comparison, found: Diagnosis, opened: Opened, rng: Generator) -> Diagnosis | None:
    nonlinear = not_linear(opened, c.name, rng)
    if nonlinear is None and found.kind not in ("unknown", "penalty"):  # what the numbers say is enough
        return None
    maps = open_maps(opened, c.name, rng)
    return nonlinear if maps is None else explain(maps, c.name, nonlinear)


class _RefusalError(Exception):
    """A backward that raises."""

    def __init__(self, error: Exception) -> None:
        self.kind = "mutation" if "read-only" in str(error) else "shape"
        cause = ": it writes into what it was given; work on a copy" if self.kind == "mutation" else ""
        super().__init__(f"backward raises {type(error).__name__}: {error}{cause}")


class _WritesError(Exception):
    """A forward that writes into a read-only array."""

    def __init__(self, path: str, error: Exception) -> None:
        self.path = path
        super().__init__(str(error))


def _recording(layer: Layer, path: str, calls: list[Call]) -> Layer:
    """The same layer, which notes each call of a forward in it, inner ones first."""
    prefix = f"{path}." if path and layer.layers else ""
    inner = layer
    if layer.layers:
        inner = with_layers(layer, tuple((name, _recording(part, prefix + name, calls)) for name, part in layer.layers))

    def forward(
        params: ArrayDict, state: ArrayDict, x: Array, *, key: Keys | None = None, train: bool = False
    ) -> tuple[Array, Cache, ArrayDict]:
        try:
            result = inner.forward(params, state, x, key=key, train=train)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise _WritesError(path, error) from error
        calls.append(Call(path, layer, params, state, np.array(x), key, train))
        return result

    return layer._replace(forward=forward)
