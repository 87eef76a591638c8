"""The kernel: the mathematics of one layer on plain arrays.

    forward(params, x) -> (y, cache)
    backward(params, cache, dy, grads, need) -> dx

The arguments have the same order as in a user-defined layer (`nnfunc.core.custom`), which is a kernel too. `params` is
the tuple of the layer's arrays, in the order of its signature. x, y, dy and dx are arrays, or tuples for several inputs
or outputs. `grads` are arrays to write the gradients of the parameters into, None where one is not requested; `need`
is whether dx is requested, for each input. The dx of an integer input is None.

In a stack of K networks every array has a leading axis K.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from nnfunc.arrays import Array
from nnfunc.core.values import Shapes, Value, leaves, map_leaves
from nnfunc.layout import Shape

Kind: TypeAlias = Literal["floats", "integers", "any"]

Gather: TypeAlias = Callable[[Array], Array]
"""Gathers the vectors (n,) of all non-empty shards of a batch, in order: own vector -> (≤ S, n) of the S shards."""

Cache: TypeAlias = Any
"""The values a forward saves for its backward: a layer-specific type, opaque to everything else."""


class Initial(NamedTuple):
    """The shape of an initial array, and its initializer: a name or a function (key, shape, dtype) -> array."""

    shape: Shape
    initializer: Any  # a name or a function


class Signature(NamedTuple):
    """The shapes of a kernel's output, parameters and state for an example of some shape."""

    output: Shapes
    params: Mapping[str, Initial] = {}
    state: Mapping[str, Initial] = {}


def same_shape(input_shape: Shapes, **_: object) -> Signature:
    """The signature of an elementwise kernel: y has the shape of x.

    >>> same_shape((8, 8)).output
    (8, 8)
    """
    if input_shape and isinstance(input_shape[-1], tuple):
        raise TypeError(f"x is a tuple of {len(input_shape)} values, but the layer takes one array: nn.shared(layer)?")
    return Signature(input_shape)


class Kernel(NamedTuple):
    """The mathematics of one layer, and its properties needed by the rest of the package.

    Attributes:
        forward, backward: the two functions; see the module for their arguments and results.
        signature: `(input_shape, **settings) -> Signature`: the shapes of output, parameters and state. Raises an error
            for an input that the layer does not support.
        formula: y in terms of x, for display.
        uses: the names of the layer's settings that forward and backward take, as keywords.
        asks: the extra keyword arguments of forward: "key" (of this layer), "train", "lead" (the number of axes before
            those of one example: 1, in a stack 2), "state" (the tuple of its arrays; forward then returns
            (y, cache, new state)), "gather" (the `Gather` of this shard, for forward and backward, if the batch is
            split into shards that run in step; else None).
        takes: the kind of x: "floats" (integers are cast), "integers", or "any" (passed as is); for several inputs
            also a tuple with one word per input.
        below: `(input_shape, **settings) -> number`, or a tuple with one per input: the exclusive upper bound of
            integers (the vocabulary size for ids). None if x contains floats.
        by_rows: whether in prediction each row of y depends only on its own row of x.
        stacked: whether the functions handle the leading axis of a stack; if not, they are called once per member.
        named: params and state come as dicts, and backward returns (dx, dict of gradients): a layer of your own.
        init: `(key, input_shape, dtype, **settings) -> (params, state)` instead of the signature's initial arrays.
        limits: the values that a saturated output approaches: (0, 1) for a sigmoid.
        decision: the rule that turns outputs into classes: each is 1 above this threshold, or "largest".
        onnx: the prediction as an expression of ONNX operators: see `nnfunc.core.expressions`.
        step: `(params, x, memory, **uses) -> (y, memory)`: the prediction for the next positions of a sequence, after
            those stored in memory (None at the start). For layers in which a position depends on earlier ones.
    """

    forward: Callable[..., Any]  # (y, cache) or (y, cache, state)
    backward: Callable[..., Value]
    signature: Callable[..., Signature] = same_shape
    formula: str = ""
    uses: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    takes: Kind | tuple[Kind, ...] = "floats"
    below: Callable[..., Any] | None = None  # a number, or a tuple of numbers and None
    by_rows: bool = True
    stacked: bool = True
    named: bool = False
    init: Callable[..., tuple[Any, Any]] | None = None
    limits: tuple[float, float] | None = None
    decision: float | Literal["largest"] | None = None
    onnx: Callable[..., Any] | None = None
    step: Callable[..., tuple[Value, Any]] | None = None

    def kinds(self, x: Value) -> list[Kind]:
        """Returns the kind of each array of x.

        >>> Kernel(max, max, takes=("floats", "integers")).kinds((1, (2, 3)))
        ['floats', 'integers', 'integers']
        """
        if isinstance(self.takes, str):
            return [self.takes for _ in leaves(x)]
        if not isinstance(x, tuple) or len(x) != len(self.takes):
            came = f"a tuple of {len(x)} values" if isinstance(x, tuple) else "one array"
            raise TypeError(f"x is {came}, but the layer takes a tuple of {len(self.takes)}")
        return [kind for kind, part in zip(self.takes, x, strict=True) for _ in leaves(part)]


def view(value: Value, shape: Shape | None = None) -> Value:
    """Returns a read-only view, so that x cannot be modified through the output of a layer that passes it on."""

    if isinstance(value, tuple):
        return map_leaves(view, value)
    y = value.view() if shape is None else value.reshape(shape).view()
    y.setflags(write=False)
    return y
