"""A training step as generated source: loss, penalty and update around the calls of forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nnfunc import keys
from nnfunc.core.layer import Layer
from nnfunc.core.program import Program
from nnfunc.interop._extract import Extract, call, called, quoted
from nnfunc.interop._written import Written, keywords
from nnfunc.layout import matching
from nnfunc.losses import Loss, LossName
from nnfunc.optimizers import Optimizer, OptimizerName
from nnfunc.optimizers.names import named_optimizer
from nnfunc.penalties import Penalty
from nnfunc.training.gradients import value_and_grad


class Training(NamedTuple):
    """The parts of a training step: model and loss as they are computed together, the optimizer, the penalty."""

    model: Layer
    loss: Loss
    optimizer: Optimizer
    penalty: Penalty | None

    def said(self) -> str:
        """Its description in the file."""
        over = "" if self.penalty is None else f", {self.penalty!r}"
        return f"train_step makes one update by {self.optimizer!r} for {self.loss!r}{over}."


def training_of(
    model: Layer, loss: Loss | LossName | None, optimizer: Optimizer | OptimizerName | None, penalty: Penalty | None
) -> Training | None:
    """The parts of a training step, checked to be supported; None if no step is requested."""
    if loss is None and optimizer is None and penalty is None:
        return None
    if loss is None or optimizer is None:
        raise ValueError(f"a training step needs both, got loss={loss!r} and optimizer={optimizer!r}")
    optimizer = named_optimizer(optimizer)
    model, loss = value_and_grad(model, loss, penalty).computed
    if loss.values is None or loss.gradient is None:
        raise ValueError(f"{loss!r} is a combination or user-defined, which cannot be written: use a built-in loss")
    if loss.outputs > 1 or loss.axes > 1 or loss.targets not in ("outputs", "bits", "one-hot", "classes"):
        raise ValueError(f"{loss!r} is for several outputs or whole sequences, which cannot be written")
    if loss.options:
        raise ValueError(f"{loss!r} has options, which cannot be written: omit {', '.join(loss.options)}")
    own = optimizer.rule is None or optimizer.inner is not None or not optimizer.elementwise or optimizer.shaped
    if own or optimizer.constants is None:
        raise ValueError(f"{optimizer!r} cannot be written: use a built-in elementwise rule, like nn.adam, unwrapped")
    bent = [k for k, v in optimizer.settings.items() if k != "learning_rate" and not isinstance(v, float)]
    if bent:
        raise ValueError(f"{optimizer!r} has {', '.join(bent)} by name or as a schedule, expected a number")
    if penalty is not None and (penalty.value is None or np.ndim(penalty.settings["strength"])):
        raise ValueError(f"{penalty!r} cannot be written: use nn.l2 or nn.l1 with a number")
    return Training(model, loss, optimizer, penalty)


def training(
    wanted: Training, made: Program, dtype: np.dtype[Any], extract: Extract, names: tuple[str, ...]
) -> tuple[str, list[str]]:
    """The functions `begin` and `train_step`, and the lines that show how to use them."""
    written = Written(made, dtype, extract, True, names)
    _, loss, optimizer, penalty = wanted
    if not isinstance(made.output, int):
        raise ValueError(f"the model has several outputs, but {loss!r} takes one")
    moves = any("state" in op.kernel.asks for op in made.ops)
    has_state = len(names) > made.arrays
    rate = optimizer.settings["learning_rate"]
    arguments = ["params", "slots", "x", "target", f"lr={rate!r}" if isinstance(rate, float) else "lr"]
    arguments += ["state=STATE"] if has_state else []
    arguments += ["key=None"] if made.asks_key else []
    gives = ["params", "slots", "value"] + ["state"] * moves
    body = [f'"""One update; returns {", ".join(gives)} after it. value is the loss before it."""', *written.inputs()]
    if made.asks_key:
        extract.use(keys.key, "new_key")
        body.append(f'key = {extract.use(keys.fold_in)}(key, slots["t"])  # of new_key(seed)')
    if moves:
        body.append("state = dict(state)")
    body += ["# forward", *written.forward(), "# loss", *_loss(loss, written, extract)]
    body += ["# backward", "grads = {name: np.empty_like(w) for name, w in params.items()}", *written.backward()]
    if penalty is not None:
        body += ["# penalty", *_penalty(penalty, names[: made.arrays], dtype)]
    body += ["# update", *_update(optimizer, extract), f"return {', '.join(['new', 'moved', *gives[2:]])}"]
    slots = [f'        "{slot}": {{name: np.zeros_like(w) for name, w in params.items()}},' for slot in optimizer.slots]
    begin = "\n".join(['    return {\n        "t": 0,', *slots, "    }"])
    head = called("", "def train_step", arguments, 0, ":")
    lines = ["def begin(params):", f'    """The initial state of {optimizer.name}."""', begin, "", "", head]
    rate_given = [] if isinstance(rate, float) else ["lr"]
    passed = ["params", "slots", "x", "target", *rate_given]
    passed += ["state=state"] * moves + ["key=key"] * made.asks_key
    first = [("params", "PARAMS"), ("slots", "begin(PARAMS)")]
    first += [("state", "STATE")] * moves + [("key", "new_key(0)")] * made.asks_key
    use = [
        f"{', '.join(name for name, _ in first)} = {', '.join(said for _, said in first)}",
        f"{', '.join(gives)} = train_step({', '.join(passed)})",
    ]
    return "\n".join([*lines, *(f"    {line}" for line in body)]), use


def _loss(loss: Loss, written: Written, extract: Extract) -> list[str]:
    """The lines that compute the loss and its gradient."""
    n = written.program.output
    y, d, dtype = written.names[n], written.gradient(n), f"np.{written.dtype}"
    values, gone = extract.use_with(_of(loss.values), loss.settings)
    gradient, gone_too = extract.use_with(_of(loss.gradient), loss.settings)
    lines = [f"y = {y}.reshape(-1, {written.program.shapes[n][-1]})"] if len(written.program.shapes[n]) > 1 else []
    y = "y" if lines else y
    if loss.targets == "classes":
        lines.append(f"T = np.eye({y}.shape[-1], dtype={dtype})[np.reshape(target, -1)]")
    else:
        lines.append(f"T = np.asarray(target, {dtype}).reshape({y}.shape)")
    lines.append(f"values, residual = {values}({', '.join([y, 'T', *keywords(loss.settings, gone)])})")
    if loss.over is not None:
        each = "values / values.shape[-1]" if loss.over == "mean" else "values"
        lines.append(f"values = ({each}).dot(np.ones(values.shape[-1], {dtype}))".replace("(values)", "values"))
    lines += ["rows = len(values)", "value = float(np.add.reduce(values) / rows)"]
    lines.append(f"{d} = {gradient}({', '.join(['residual', *keywords(loss.settings, gone_too)])})")
    if loss.over == "mean":
        lines.append(f"{d} = {d} / {d}.shape[-1]")
    back = f".reshape({written.names[n]}.shape)" if y == "y" else ""
    share = f"{d} * ({dtype}(1) / {dtype}(rows))"
    lines.append(f"{d} = ({share}){back}" if back else f"{d} = {share}")
    return lines


def _of(function: Callable[..., Any] | None) -> Callable[..., Any]:
    assert function is not None
    return function


def _penalty(penalty: Penalty, names: tuple[str, ...], dtype: np.dtype[Any]) -> list[str]:
    """The lines that add a penalty to the value and to the gradients."""
    where = matching(names, penalty.settings["where"])
    chosen = [quoted(name) for name in where]
    strength = penalty.settings["strength"]
    value, slope = {"l2": ("np.sum(w * w) / 2", "w"), "l1": ("np.sum(np.abs(w))", "np.sign(w)")}[penalty.name]
    return [
        f"share = np.{dtype}({float(strength)!r} / rows)",
        *call("for name in ", "", chosen if len(chosen) > 1 else [f"{chosen[0]},"], ":"),
        "    w = params[name]",
        f"    value += float(share * ({value}))",
        f"    grads[name] = grads[name] + share * {slope}",
    ]


# -- updates -----------------------------------------------------------------------------------------------------------


def _update(optimizer: Optimizer, extract: Extract) -> list[str]:
    """The lines of the update from w to new[name]."""
    given = {k: v for k, v in optimizer.settings.items() if k != "learning_rate"}
    lines = ['t = slots["t"] + 1']
    moved = ", ".join(['"t": t', *(f'"{slot}": {{}}' for slot in optimizer.slots)])
    lines.append(f"new, moved = {{}}, {{{moved}}}")
    straight = STRAIGHT.get(optimizer.name)
    if straight is not None:
        before, each = straight(**given)
        extract.imports.update(["import math"] if any("math." in line for line in before) else [])
        lines += before
    else:
        slots = "".join(f', moved["{slot}"][name]' for slot in optimizer.slots)
        old = [f'slots["{slot}"][name]' for slot in optimizer.slots]
        settings = [f"{k}={v!r}" for k, v in given.items()]
        function, numbers = extract.use(_of(optimizer.rule)), extract.use(_of(optimizer.constants))
        lines += call("numbers = ", numbers, ["t", "learning_rate=lr", *settings])
        results = f"new[name]{slots}" if optimizer.slots else "[new[name]]"
        each = call(f"{results} = ", function, ["w", "grads[name]", *old, "*numbers"])
    return [*lines, "for name, w in params.items():", *(f"    {line}" for line in each)]


def _gd() -> tuple[list[str], list[str]]:
    return [], ["new[name] = w - lr * grads[name]"]


def _momentum(beta1: float, dampening: float) -> tuple[list[str], list[str]]:
    return [], [
        f'm = moved["m"][name] = {beta1!r} * slots["m"][name] + {1 - dampening!r} * grads[name]',
        "new[name] = w - lr * m",
    ]


def _adam(beta1: float, beta2: float, eps: float, eps_root: float) -> tuple[list[str], list[str]]:
    inside = f"np.sqrt(v + {eps_root!r} * c)" if eps_root else "np.sqrt(v)"
    root = f"({inside} + {eps!r} * math.sqrt(c))" if eps else inside
    before = [f"c = 1 - {beta2!r} ** t", f"step = lr * (math.sqrt(c) / (1 - {beta1!r} ** t))  # with both corrections"]
    return before, [
        "g = grads[name]",
        f'v = moved["v"][name] = {beta2!r} * slots["v"][name] + {1 - beta2!r} * (g * g)',
        f'm = moved["m"][name] = {beta1!r} * slots["m"][name] + {1 - beta1!r} * g',
        f"new[name] = w - step * (m / {root})",
    ]


def _adamw(weight_decay: float, **settings: float) -> tuple[list[str], list[str]]:
    before, each = _adam(**settings)
    *first, last = each
    return before, [*first, last.replace("w - step", f"w * (1 - lr * {weight_decay!r}) - step")]


STRAIGHT: dict[str, Callable[..., tuple[list[str], list[str]]]] = {
    "adam": _adam,
    "adamw": _adamw,
    "gd": _gd,
    "momentum": _momentum,
}
"""The most common rules as lines, with the same bits; others are called."""
