"""A program as straight-line Python: its calls in order, and those of its backward."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np

from nnfunc.core import custom
from nnfunc.core.program import Gradient, Op, Program, planned
from nnfunc.core.values import Value, leaves
from nnfunc.interop._extract import Extract, call, line, quoted
from nnfunc.interop._forms import FORMS, Form, Said
from nnfunc.keys import fold_in

RESERVED = {
    "PARAMS", "STATE", "begin", "params", "state", "slots", "x", "target", "lr", "key", "new_key", "predict",
    "train_step", "grads", "new", "moved", "name", "w", "g", "m", "v", "t", "c", "y", "T", "values", "residual",
    "value", "rows", "step", "share",
}  # fmt: skip
"""Names that the file defines itself."""


class Written:
    """A program as the source of a file.

    Args:
        program: the program of a single network.
        dtype: the dtype of its parameters.
        extract: collects the functions used.
        train: whether the layers run in training mode and keep what backward needs.
        arrays: the names of the parameters, followed by those of the state.
    """

    def __init__(
        self, program: Program, dtype: np.dtype[Any], extract: Extract, train: bool, arrays: tuple[str, ...]
    ) -> None:
        self.program, self.dtype, self.extract, self.train, self.arrays = program, dtype, extract, train, arrays
        self.integers = integers(program)
        self.names: dict[int, str] = {}
        self.labels: list[str] = []
        for n, name in zip(leaves(program.inputs), input_names(program.inputs), strict=True):
            self.names[n] = name
        for op in program.ops:
            label = identifier(op.path or op.layer.name)
            again = (f"{label}_{i}" for i in count(2))
            self.labels.append(label if label not in self.labels else next(n for n in again if n not in self.labels))
            self.names.update(_indexed(op.y, self.labels[-1]))
        extract.taken.update(self.labels)

    # -- names ---------------------------------------------------------------------------------------------------------

    def array(self, op: Op, i: int) -> str:
        """The i-th parameter of a call, in the form that its layer uses."""
        at = op.params[i]
        where = "params" if at < self.program.arrays else "state"
        return f"{where}[{quoted(self.arrays[at])}]" + (".mT" if op.turned[i] else "")

    def grad(self, position: int) -> str:
        """The gradient of a parameter."""
        return f"grads[{quoted(self.arrays[position])}]"

    def state(self, op: Op) -> list[str]:
        """The state of a call."""
        return [f"state[{quoted(self.arrays[self.program.arrays + i])}]" for i in op.state]

    def value(self, numbers: Value, casts: Iterator[bool] | None = None) -> str:
        """A value; integers are cast where floats are required."""
        if isinstance(numbers, tuple):
            parts = [self.value(n, casts) for n in numbers]
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        name = self.names[numbers]
        return f"{name}.astype(np.{self.dtype})" if casts and next(casts) and self.integers[numbers] else name

    def gradient(self, n: int) -> str:
        """The name of the gradient of a value."""
        return f"d_{identifier(self.names[n])}"

    def said(self, op: Op) -> Said:
        casts = iter(op.casts)
        after = self.program.shapes[op.y] if isinstance(op.y, int) else ()
        return Said(
            x=[self.value(n, casts) for n in leaves(op.x)],
            y=self.value(op.y),
            dy=self.gradient(op.y) if isinstance(op.y, int) else "",
            arrays={k: self.array(op, i) for i, k in enumerate(op.names)}
            | dict(zip(op.state_names, self.state(op), strict=True)),
            settings=op.layer.settings,
            shapes=[self.program.shapes[n] for n in leaves(op.x)],
            after=after,
            train=self.trains(op),
            use=self.extract.use,
        )

    def trains(self, op: Op) -> bool:
        return self.train and not op.predicts

    def form(self, op: Op) -> tuple[Form, Said, str] | None:
        """The one-line form of a call; None if it is called as a function."""
        form = FORMS.get(op.kernel.forward)
        if form is None or not isinstance(op.y, int):
            return None
        said = self.said(op)
        y = form.y(said)
        if y is None or (self.train and not self.trains(op) and op.kernel.asks):
            return None
        return form, said, y

    def shape(self, n: int) -> str:
        return f"({', '.join(map(str, ('rows', *self.program.shapes[n])))})"

    # -- forward -------------------------------------------------------------------------------------------------------

    def inputs(self) -> list[str]:
        """Lines that extract the arrays from x."""
        lines = []
        if isinstance(self.program.inputs, tuple):
            lines.append(f"{self.value(self.program.inputs)[1:-1]} = x")
        for n in leaves(self.program.inputs):
            dtype = "" if self.integers[n] else f", np.{self.dtype}"
            lines.append(f"{self.names[n]} = np.asarray({self.names[n]}{dtype})  # {self.shape(n)}")
        return lines

    def forward(self) -> list[str]:
        """The lines of the calls, in order."""
        lines = []
        for op, label in zip(self.program.ops, self.labels, strict=True):
            form = self.form(op)
            if form is not None:
                lines += line(label, form[2], self.shape(op.y))
                continue
            shapes = ", ".join(self.shape(n) for n in leaves(op.y)[:3]) + (", …" if len(leaves(op.y)) > 3 else "")
            lines.append(f"# {op.kernel.formula}: {shapes}")
            lines += self.named(op, label) if op.kernel.named else self.call(op, label)
        return lines

    def call(self, op: Op, label: str) -> list[str]:
        """A call of a kernel's function."""
        asks = {"train": self.trains(op), "lead": 1, "gather": None} | ({} if self.train else {"key": None})
        values = {k: op.layer.settings[k] for k in op.kernel.uses} | {k: asks[k] for k in op.kernel.asks if k in asks}
        function, gone = self.extract.use_with(op.kernel.forward, values)
        given = keywords(values, gone)
        state = self.state(op)
        if "state" in op.kernel.asks:
            given.append(f"state=({', '.join(state)}{',' if len(state) == 1 else ''})")
        if self.train and "key" in op.kernel.asks:
            given.append(f"key={self.key(op)}")
        arrays = [self.array(op, i) for i in range(len(op.params))]
        own = f"({', '.join(arrays)}{',' if len(arrays) == 1 else ''})"
        arguments = [own, self.value(op.x, iter(op.casts)), *given]
        if not self.train:
            return call(f"{label} = ", function, arguments, "[0]")
        moved = f", ({', '.join(state)}{',' if len(state) == 1 else ''})" if "state" in op.kernel.asks else ""
        return call(f"{label}, {label}_cache{moved} = ", function, arguments)

    def key(self, op: Op) -> str:
        """The key of a call, from the step's."""
        said = "key"
        for number in op.key:
            said = f"{self.extract.use(fold_in)}({said}, {number})"
        return said

    def named(self, op: Op, label: str) -> list[str]:
        """A call of a user-defined layer, whose functions take dicts."""
        settings = op.layer.settings
        asks = settings.get("asks", ())
        if op.kernel.forward is not custom._forward or isinstance(op.y, tuple):
            raise ValueError(f"{op.path or op.layer.name} is a layer of three functions: create it with nn.layer")
        names = [f"{quoted(k)}: {s}" for k, s in zip(op.state_names, self.state(op), strict=True)]
        asked = {
            "train": repr(self.trains(op)),
            "key": self.key(op) if self.train and "key" in asks else "None",
            "state": f"{{{', '.join(names)}}}",
        }
        arguments = [self.own(op), self.value(op.x, iter(op.casts)), *(f"{k}={asked[k]}" for k in op.kernel.asks)]
        function = self.extract.use(settings["forward"])
        if not self.train:
            return call(f"{label} = ", function, arguments, "[0]") + self.cast(label)
        moved = f", {label}_state" if "state" in asks else ""
        lines = call(f"{label}, {label}_cache{moved} = ", function, arguments)
        for k, s in zip(op.state_names, self.state(op), strict=True):
            lines.append(f"{s} = np.asarray({label}_state[{quoted(k)}], {s}.dtype)")
        return lines + self.cast(label)

    def own(self, op: Op) -> str:
        """The arrays of a user-defined layer, as a dict."""
        items = [f"{quoted(k)}: {self.array(op, i)}" for i, k in enumerate(op.names)]
        return f"{{{', '.join(items)}}}"

    def cast(self, label: str) -> list[str]:
        return [f"{label} = np.asarray({label}, np.{self.dtype})"]

    # -- backward ------------------------------------------------------------------------------------------------------

    def backward(self) -> list[str]:
        """The lines of the calls in reverse, from the gradients of the outputs to those of the parameters, `grads`."""
        plan, lines = planned(self.program, False, True), []
        known = set(leaves(self.program.output))
        for step in plan.calls:
            op, label = self.program.ops[step.at], self.labels[step.at]
            lines += self.back(step, op, label, known)
        lines += [f"{self.grad(p)}[...] = 0" for p in plan.unused]
        return lines

    def back(self, step: Gradient, op: Op, label: str, known: set[int]) -> list[str]:
        places = step.special or tuple((p, True, False) if p < self.program.arrays else None for p in op.params)
        needs = leaves(step.need)
        form = self.form(op)
        if form is not None:
            rule, said, _ = form
            lines, found = [], rule.grads(said)
            for k, place in zip(op.names, places, strict=True):
                if place is not None:
                    position, first, turned = place
                    text = f"({found[k]}).mT" if turned else found[k]
                    lines += line(self.grad(position), text, sign="=" if first else "+=")
            dxs = rule.dx(said)
            for n, need, dx in zip(leaves(op.x), needs, dxs, strict=True):
                lines += self.add(n, dx, known) if need else []
            return lines
        lines, targets = [], []
        for i, place in enumerate(places):
            if place is None:
                targets.append("None")
                continue
            position, first, turned = place
            if first and not turned:
                targets.append(self.grad(position))
            else:
                targets.append(f"d_{label}_{identifier(op.names[i])}")
                lines.append(f"{targets[-1]} = np.empty_like({self.array(op, i)})")
        dy = self.dy(op.y, known)
        if op.kernel.named:
            function = self.extract.use(op.layer.settings["backward"])
            result = f"d_{label}_x, d_{label}_own"
            lines += call(f"{result} = ", function, [self.own(op), f"{label}_cache", dy])
            lines += [
                f"{t}[...] = d_{label}_own[{quoted(k)}]" for t, k in zip(targets, op.names, strict=True) if t != "None"
            ]
            dx = f"d_{label}_x"
        else:
            grads = f"({', '.join(targets)}{',' if len(targets) == 1 else ''})"
            arrays = [self.array(op, i) for i in range(len(op.params))]
            own = f"({', '.join(arrays)}{',' if len(arrays) == 1 else ''})"
            values = {k: op.layer.settings[k] for k in op.kernel.uses}
            function, gone = self.extract.use_with(op.kernel.backward, values)
            given = keywords(values, gone)
            arguments = [own, f"{label}_cache", dy, grads, repr(step.need), *given]
            only = op.x if isinstance(op.x, int) else None
            single = only is not None and any(needs) and only not in known
            dx = self.gradient(only) if single and only is not None else f"d_{label}_x"
            lines += call(f"{dx} = " if any(needs) else "", function, arguments)
            if single and only is not None:
                known.add(only)
                needs = [False]
        for i, place in enumerate(places):
            if place is not None and not (place[1] and not place[2]):
                text = targets[i] + (".mT" if place[2] else "")
                lines.append(f"{self.grad(place[0])} {'=' if place[1] else '+='} {text}")
        for n, need, part in zip(leaves(op.x), needs, _indexed_parts(op.x, dx), strict=True):
            lines += (
                self.add(n, f"np.asarray({part}, np.{self.dtype})" if op.kernel.named else part, known) if need else []
            )
        return lines

    def add(self, n: int, dx: str, known: set[int]) -> list[str]:
        """Adds to the gradient of a value."""
        name = self.gradient(n)
        found = line(name, f"{name} + {dx}" if n in known else dx)
        known.add(n)
        return found

    def dy(self, numbers: Value, known: set[int]) -> str:
        """The gradient of a call's output; 0 if nothing depends on it."""
        if isinstance(numbers, tuple):
            return f"({', '.join(self.dy(n, known) for n in numbers)},)"
        return self.gradient(numbers) if numbers in known else f"np.zeros_like({self.names[numbers]})"


def keywords(values: Mapping[str, Any], gone: set[str]) -> list[str]:
    """Keyword arguments, without those in `gone`.

    >>> keywords({"eps": 1e-5, "mode": "same"}, {"eps"})
    ['mode="same"']
    """
    return [f"{k}={v!r}".replace("'", '"') for k, v in values.items() if k not in gone]


def identifier(name: str) -> str:
    """A name converted to a valid Python identifier.

    >>> identifier("residual1.dense1"), identifier("lambda"), identifier("x")
    ('residual1_dense1', 'lambda_', 'x_')
    """
    found = re.sub(r"\W+", "_", name).strip("_") or "layer"
    found = f"_{found}" if found[0].isdigit() else found
    taken = keyword.iskeyword(found) or found in RESERVED or re.fullmatch(r"x\d+|np|d_.*", found)
    return f"{found}_" if taken else found


def input_names(numbers: Value) -> list[str]:
    """x, or x0, x1, ... for several inputs.

    >>> input_names(0), input_names((0, (1, 2)))
    (['x'], ['x0', 'x1', 'x2'])
    """
    return [f"x{i}" for i, _ in enumerate(leaves(numbers))] if isinstance(numbers, tuple) else ["x"]


def integers(program: Program) -> list[bool]:
    """Flags of the integer values, including inputs of layers that accept any dtype and pass it on."""
    found = list(program.integers)
    for op in reversed(program.ops):
        if op.kernel.takes == "any" and not op.kernel.named and all(found[n] for n in leaves(op.y)):
            for n in leaves(op.x):
                found[n] = True
    return found


def _indexed(numbers: Value, name: str) -> dict[int, str]:
    """The names of a call's outputs: its own name, or name[0], name[1], ... for several."""
    if not isinstance(numbers, tuple):
        return {numbers: name}
    return {n: said for i, part in enumerate(numbers) for n, said in _indexed(part, f"{name}[{i}]").items()}


def _indexed_parts(numbers: Value, name: str) -> list[str]:
    if not isinstance(numbers, tuple):
        return [name]
    return [said for i, part in enumerate(numbers) for said in _indexed_parts(part, f"{name}[{i}]")]
