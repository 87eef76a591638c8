"""What a kernel is: the mathematics of one layer on plain arrays.

    forward(params, x) -> (y, cache)
    backward(params, cache, dy, grads, need) -> dx

The same order of arguments as in a layer of your own (`nnfunc.core.custom`), which is a kernel too. `params` is the
tuple of the layer's arrays, in the order in which its signature names them. x, y, dy and dx are arrays, or tuples for
several inputs or outputs. `grads` are arrays to write the gradients of the parameters into, None where one is not
asked for; `need` says whether dx is, for each input. What is an integer has no dx: None.

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
"""What one of the S shards of a batch hears: its vector (n,) -> those of all that have rows, in order, (≤ S, n)."""

Cache: TypeAlias = Any
"""What a forward leaves for its own backward: a type of each layer's own, opaque to everyone else."""


class Initial(NamedTuple):
    """An array to begin with: its shape, and the name of an initializer or a function (key, shape, dtype) -> array."""

    shape: Shape
    initializer: Any  # a name or a function


class Signature(NamedTuple):
    """What a kernel makes of an example of some shape: the shape of its output, its parameters and its state."""

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
    """The mathematics of one layer, and what the rest of the package must know of it.

    Attributes:
        forward, backward: the two functions; the module says what they take and return.
        signature: `(input_shape, **settings) -> Signature`: the shapes of output, parameters and state. Raises an error
            for an input that the layer does not take.
        formula: y in terms of x, for a reader.
        uses: the names of the layer's settings that forward and backward take, as keywords.
        asks: what else forward takes, as keywords: "key" (of this layer), "train", "lead" (how many axes stand before
            those of one example: 1, in a stack 2), "state" (the tuple of its arrays; forward then returns
            (y, cache, new state)), "gather" (where a batch is in shards that run in step, the `Gather` of this one, for
            forward and backward; else None).
        takes: what x is made of: "floats" (integers are cast), "integers", or "any" (as they come); for several inputs
            also a tuple with a word for each.
        below: `(input_shape, **settings) -> number`, or a tuple with one for each input: what integers are less than
            (ids than the number of words). None where x is made of floats.
        by_rows: whether in prediction each row of y depends on its own row of x alone.
        stacked: whether the functions handle the leading axis of a stack; if not, they are called for each member.
        named: params and state come as dicts, and backward returns (dx, dict of gradients): a layer of your own.
        init: `(key, input_shape, dtype, **settings) -> (params, state)` instead of the signature's initial arrays.
        limits: the values that a saturated output approaches: (0, 1) for a sigmoid.
        decision: how outputs become classes: each is 1 above this number, or "largest".
        onnx: the prediction as an expression of ONNX operators: see `nnfunc.core.expressions`.
        step: `(params, x, memory, **uses) -> (y, memory)`: the prediction for the next positions of a sequence, after
            those that memory remembers (None: there are none). For layers in which a position depends on earlier ones.
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
        """What each array of x is made of.

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
    """A read-only view: what a layer that changes nothing hands on, so that no one can change x through it."""

    if isinstance(value, tuple):
        return map_leaves(view, value)
    y = value.view() if shape is None else value.reshape(shape).view()
    y.setflags(write=False)
    return y
