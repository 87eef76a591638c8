"""Small wrong backwards as people write them, and right ones beside them, as a table: a function, its gradient with a
word for what is done wrong in it ("" is right), and what a check should say.

`FUNCTIONS` maps a name to (make, {word: (wrong arrays, right kinds)}), where make(word, seed) gives a loss, its
gradients and the point. The loss of a function of arrays is the sum of its outputs times fixed random weights, `dy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from nnfunc.arrays import Array

Params: TypeAlias = dict[str, Any]
Parts: TypeAlias = tuple[Callable[[Params], float], Callable[[Params], Params], Params]
Wrong: TypeAlias = dict[str, tuple[str, str]]
"""word -> (names of the wrong arrays, kinds that are right), both with spaces between."""


class Case(NamedTuple):
    """A loss, its gradients, a point, and what is right to say of them."""

    name: str
    loss: Callable[[Params], float]
    grads: Callable[[Params], Params]
    params: Params
    wrong: frozenset[str]
    kinds: frozenset[str]


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def sigmoid(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-z)))


# -- plain functions ---------------------------------------------------------------------------------------------------


def dense(word: str, seed: int) -> Parts:
    r = np.random.default_rng(seed)
    p, dy = {"x": r.normal(size=(6, 4)), "W": r.normal(size=(4, 4)), "b": r.normal(size=4)}, r.normal(size=(6, 4))

    def grads(p: Params) -> Params:
        g = {"x": dy @ p["W"].T, "W": p["x"].T @ dy, "b": dy.sum(axis=0)}
        if word in DENSE:
            name = DENSE[word][0]
            g[name] = {
                "mean": g[name] / 6, "not turned": dy @ p["W"], "turned": g["W"].T,
                "minus": -g["x"], "zero": 0 * g["W"], "bias mean": dy.mean(axis=0),
                "one example": dy[0], "penalty": g["W"] + 0.1 * p["W"],
                "reversed": g["b"][::-1],
                "one element": g["W"] + np.eye(16)[5].reshape(4, 4),
                "rolled": np.roll(g["W"], 1, axis=0),
                "rows by a count": g["W"] / np.array([[1.0], [2], [3], [4]]),
                "float32": np.float32(g["W"]),
                "doubled": 2 * g["b"], "row": g["W"] * np.array([[1.0], [0], [1], [1]]),
            }[word]  # fmt: skip
        return g

    return lambda p: float(np.sum((p["x"] @ p["W"] + p["b"]) * dy)), grads, p


DENSE: Wrong = {
    "mean": ("W", "scale"), "not turned": ("x", "transpose missing-term unknown"), "turned": ("W", "transpose"),
    "minus": ("x", "sign"),
    "zero": ("W", "zero"), "bias mean": ("b", "scale missing-sum"), "one example": ("b", "missing-sum missing-term"),
    "penalty": ("W", "penalty"), "reversed": ("b", "flip"), "one element": ("W", "sparse missing-term"),
    "rolled": ("W", "shift"),
    "rows by a count": ("W", "scale"), "float32": ("W", "precision"), "doubled": ("b", "scale"),
    "row": ("W", "zero mask"),
}  # fmt: skip


def elementwise(word: str, seed: int) -> Parts:
    """Σ f(x, s) dy: a wrong slope, a dropped dy, a factor of the parameter's own transform."""
    r = np.random.default_rng(seed)
    p, dy = {"x": r.normal(size=(5, 4)), "s": 0.5 * r.normal(size=(5, 4))}, r.normal(size=(5, 4))
    scale = r.uniform(0.5, 2, size=4)

    def grads(p: Params) -> Params:
        t, e = np.tanh(p["x"]), np.exp(p["s"])
        slope = {"output for input": 1 - p["x"] ** 2, "own slope": 1 - np.tanh(t) ** 2, "no slope": 1.0}.get(
            word, 1 - t * t
        )
        g = {"x": dy * e * scale * slope, "s": dy * scale * t * e}
        if word == "no dy":
            g = {k: v / dy for k, v in g.items()}
        elif word == "no exp":
            g["s"] = g["s"] / e
        elif word == "exp twice":
            g["x"] = g["x"] * e
        elif word == "no scale":
            g["x"] = g["x"] / scale
        elif word == "scale twice":
            g["s"] = g["s"] * scale
        return g

    return lambda p: float(np.sum(np.exp(p["s"]) * np.tanh(p["x"]) * scale * dy)), grads, p


ELEMENTWISE: Wrong = {
    "output for input": ("x", "missing-term scale"), "own slope": ("x", "missing-term scale"),
    "no slope": ("x", "missing-term scale"),
    "no dy": ("x s", "missing-term"), "no exp": ("s", "scale missing-term"), "exp twice": ("x", "scale missing-term"),
    "no scale": ("x", "scale"), "scale twice": ("s", "scale"),
}  # fmt: skip


def softmax_layer(word: str, seed: int) -> Parts:
    r = np.random.default_rng(seed)
    p, dy = {"x": r.normal(size=(5, 4))}, r.normal(size=(5, 4))

    def grads(p: Params) -> Params:
        y = softmax(p["x"])
        inner = (dy * y).sum(axis=0 if word == "other axis" else 1, keepdims=True)
        g = {
            "elementwise": dy * y * (1 - y), "no inner": dy * y, "plus": y * (dy + inner), "minus": -y * (dy - inner),
            "no y": dy - inner, "mean": y * (dy - inner / 4),
        }.get(word, y * (dy - inner))  # fmt: skip
        return {"x": g}

    return lambda p: float(np.sum(softmax(p["x"]) * dy)), grads, p


SOFTMAX: Wrong = {
    "elementwise": ("x", "missing-term"), "no inner": ("x", "missing-term"), "plus": ("x", "missing-term"),
    "minus": ("x", "sign"),
    "no y": ("x", "missing-term scale"), "mean": ("x", "missing-term"), "other axis": ("x", "axis missing-term"),
}  # fmt: skip


def layer_norm(word: str, seed: int) -> Parts:
    r = np.random.default_rng(seed)
    p = {"x": r.normal(size=(5, 4)), "gamma": r.uniform(0.5, 2, 4), "beta": r.normal(size=4)}
    dy = r.normal(size=(5, 4))

    def forward(p: Params) -> tuple[Array, Array]:
        s = np.sqrt(p["x"].var(axis=1, keepdims=True) + 1e-5)
        return (p["x"] - p["x"].mean(axis=1, keepdims=True)) / s, s

    def grads(p: Params) -> Params:
        h, s = forward(p)
        d = dy * (1.0 if word == "no gamma" else p["gamma"])
        mean = 0 if word in ("constants", "no mean") else d.mean(axis=1, keepdims=True)
        var = 0 if word in ("constants", "no variance") else h * (d * h).mean(axis=1, keepdims=True)
        g = {"x": (d - mean - var) / s, "gamma": (dy * h).sum(axis=0), "beta": dy.sum(axis=0)}
        if word == "gamma of x":
            g["gamma"] = (dy * p["x"]).sum(axis=0)
        elif word == "no deviation":
            g["x"] = g["x"] * s
        elif word == "beta for gamma":
            g["gamma"] = g["beta"]
        elif word == "exchanged":
            g["gamma"], g["beta"] = g["beta"], g["gamma"]
        return g

    return lambda p: float(np.sum((forward(p)[0] * p["gamma"] + p["beta"]) * dy)), grads, p


LAYER_NORM: Wrong = {
    "constants": ("x", "missing-term"), "no mean": ("x", "missing-term"), "no variance": ("x", "missing-term"),
    "no gamma": ("x", "missing-term scale"), "gamma of x": ("gamma", "missing-term"), "no deviation": ("x", "scale"),
    "beta for gamma": ("gamma", "shift"), "exchanged": ("gamma beta", "shift"),
}  # fmt: skip


def lookup(word: str, seed: int) -> Parts:
    r = np.random.default_rng(seed)
    p, rows = {"E": r.normal(size=(6, 3)), "v": r.normal(size=3)}, np.array([1, 3, 1, 4, 0])
    dy = r.normal(size=5)

    def grads(p: Params) -> Params:
        g = np.zeros((6, 3))
        if word == "overwritten":
            g[rows] = np.outer(dy, p["v"])
        elif word == "next row":
            np.add.at(g, rows + 1, np.outer(dy, p["v"]))
        else:
            np.add.at(g, rows, np.outer(1 + 0 * dy if word == "no dy" else dy, p["v"]))
        return {"E": g, "v": p["E"][rows].sum(axis=0) if word == "no dy" else dy @ p["E"][rows]}

    return lambda p: float(p["E"][rows] @ p["v"] @ dy), grads, p


LOOKUP: Wrong = {
    "overwritten": ("E", "missing-sum"),
    "next row": ("E", "shift"),
    "no dy": ("E v", "missing-term scale"),
}


def convolution(word: str, seed: int) -> Parts:
    r = np.random.default_rng(seed)
    p, dy = {"x": r.normal(size=(2, 7)), "w": r.normal(size=3)}, r.normal(size=(2, 5))

    def grads(p: Params) -> Params:
        dx, dw = np.zeros((2, 7)), np.zeros(3)
        for i in range(3):
            k = 2 - i if word == "turned" else i
            part = dy * p["w"][k]
            dx[:, i : i + 5] = part if word == "overwritten" else dx[:, i : i + 5] + part
            dw[i] = np.sum(dy * p["x"][:, i : i + 5])
        dx = np.roll(dx, 1, axis=1) if word == "moved" else dx
        dw = {"reversed": dw[::-1], "mean": dw / 10, "first tap": dw * [0, 1, 1]}.get(word, dw)
        return {"x": dx, "w": dw}

    def loss(p: Params) -> float:
        return float(sum(np.sum(dy * p["x"][:, i : i + 5] * p["w"][i]) for i in range(3)))

    return loss, grads, p


CONVOLUTION: Wrong = {
    "turned": ("x", "flip missing-term unknown"), "overwritten": ("x", "missing-sum missing-term"),
    "moved": ("x", "shift"),
    "reversed": ("w", "flip shift"), "mean": ("w", "scale"), "first tap": ("w", "zero sparse mask missing-term"),
}  # fmt: skip


def twice_used(word: str, seed: int) -> Parts:
    """A matrix that is made symmetric, a residual path, a product with itself."""
    r = np.random.default_rng(seed)
    p, v, dy = {"A": r.normal(size=(4, 4)), "x": r.normal(size=(4, 4))}, r.normal(size=(4, 4)), r.normal(size=(4, 4))

    def grads(p: Params) -> Params:
        t, s = np.tanh(p["x"]), (p["A"] + p["A"].T) / 2
        ds = v @ dy.T if word == "one side" else (v @ dy.T + dy @ v.T) / 2
        through = (p["x"] @ dy.T + dy @ p["x"].T) if word != "once" else dy @ p["x"].T
        dx = {"no residual": 0, "no branch": 1}.get(word, 1) * dy
        dx = dx + (0 if word == "no branch" else dy * (1 - t * t)) + through.T @ np.eye(4) * 0
        return {"A": ds + 0 * s, "x": dx}

    return (
        lambda p: float(np.sum((p["A"] + p["A"].T) / 2 * (v @ dy.T)) + np.sum(dy * (p["x"] + np.tanh(p["x"])))),
        grads,
        p,
    )


TWICE: Wrong = {
    "one side": ("A", "missing-term transpose"), "no residual": ("x", "missing-term"),
    "no branch": ("x", "missing-term"),
}  # fmt: skip


def masked(word: str, seed: int) -> Parts:
    r = np.random.default_rng(seed)
    p, dy = {"x": r.normal(size=(6, 5))}, r.normal(size=(6, 5))
    mask, other = ((r.random((6, 5)) < 0.6) / 0.6 for _ in range(2))

    def grads(p: Params) -> Params:
        used: Params = {
            "no mask": 1.0,
            "other mask": other,
            "no scale": mask > 0,
            "twice": mask * mask,
            "turned": 1 / 0.6 - mask,
        }
        return {"x": dy * used.get(word, mask)}

    return lambda p: float(np.sum(p["x"] * mask * dy)), grads, p


MASKED: Wrong = {
    "no mask": ("x", "mask"), "other mask": ("x", "mask"), "no scale": ("x", "scale"), "twice": ("x", "scale"),
    "turned": ("x", "mask"),
}  # fmt: skip


def stepped(word: str, seed: int) -> Parts:
    """A step has derivative 0, whatever is handed back."""
    r = np.random.default_rng(seed)
    p, dy = {"x": 3 * r.normal(size=7) + 0.1, "y": r.normal(size=7)}, r.normal(size=7)

    def grads(p: Params) -> Params:
        g = {"through": dy, "inside": dy * (np.abs(p["x"]) < 1.5), "smooth": dy * (1 - np.tanh(p["x"]) ** 2)}
        return {"x": g.get(word, 0 * dy), "y": dy}

    return lambda p: float(np.sum(dy * (np.sign(p["x"]) + p["y"]))), grads, p


STEPPED: Wrong = {"through": ("x", "mask"), "inside": ("x", "mask"), "smooth": ("x", "mask")}


# -- networks ----------------------------------------------------------------------------------------------------------


def network(word: str, seed: int) -> Parts:
    """Two layers, a softmax, the mean cross-entropy."""
    r = np.random.default_rng(seed)
    X, T = r.normal(size=(7, 4)), np.eye(3)[r.integers(0, 3, 7)]
    p = {"W1": r.normal(size=(4, 5)), "b1": r.normal(size=5), "W2": r.normal(size=(5, 3)), "b2": r.normal(size=3)}

    def forward(p: Params) -> tuple[Array, Array, Array]:
        z = X @ p["W1"] + p["b1"]
        return z, np.tanh(z), softmax(np.tanh(z) @ p["W2"] + p["b2"])

    def grads(p: Params) -> Params:
        z, a, y = forward(p)
        d2 = (y - T) / 7
        d2 = {
            "sum": 7 * d2,
            "minus": -d2,
            "elementwise": -T / 7 * (1 - y),
            "again": d2 * y * (1 - y),
            "1/m twice": d2 / 7,
        }.get(word, d2)
        slope = {
            "of the output": 1 - np.tanh(a) ** 2,
            "of the input": 1 - z * z,
            "no slope": 1 + 0 * a,
            "square": 1 - a,
        }.get(word, 1 - a * a)
        d1 = d2 @ p["W2"].T * slope
        g = {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a.T @ d2, "b2": d2.sum(axis=0)}
        if word == "of z":
            g["W2"] = z.T @ d2
        elif word == "penalty":
            g["W2"] = g["W2"] + 0.02 * p["W2"]
        elif word == "penalised bias":
            g["b1"] = g["b1"] + 0.02 * p["b1"]
        elif word == "clipped":
            g = {k: np.clip(v, -0.05, 0.05) for k, v in g.items()}
        elif word == "normed":
            norm = np.sqrt(sum(np.sum(v * v) for v in g.values()))
            g = {k: v / norm for k, v in g.items()}
        elif word == "mean of the bias":
            g["b1"] = d1.mean(axis=0)
        elif word == "cut off":
            g["W1"], g["b1"] = 0 * g["W1"], 0 * g["b1"]
        elif word == "updated":
            d1 = d2 @ (p["W2"] - 0.5 * g["W2"]).T * slope
            g["W1"], g["b1"] = X.T @ d1, d1.sum(axis=0)
        elif word == "rounded":
            g["W1"] = np.float16(g["W1"]).astype(float)
        return g

    return lambda p: float(-np.mean(np.sum(T * np.log(forward(p)[2]), axis=1))), grads, p


ALL = "W1 b1 W2 b2"
NETWORK: Wrong = {
    "sum": (ALL, "scale"), "minus": (ALL, "sign"), "elementwise": (ALL, "missing-term"),
    "again": (ALL, "missing-term"),
    "1/m twice": (ALL, "scale"), "of the output": ("W1 b1", "missing-term"),
    "of the input": ("W1 b1", "missing-term"),
    "no slope": ("W1 b1", "missing-term"), "square": ("W1 b1", "missing-term"), "of z": ("W2", "missing-term"),
    "penalty": ("W2", "penalty"), "penalised bias": ("b1", "penalty"), "clipped": (ALL, "scale"),
    "normed": (ALL, "scale"),
    "mean of the bias": ("b1", "scale missing-sum"), "cut off": ("W1 b1", "zero"),
    "updated": ("W1 b1", "stale missing-term"),
    "rounded": ("W1", "precision"),
}  # fmt: skip


def recurrent(word: str, seed: int) -> Parts:
    r = np.random.default_rng(seed)
    p = {
        "x": r.normal(size=(4, 3, 2)),
        "W": r.normal(size=(2, 3)),
        "U": 0.6 * r.normal(size=(3, 3)),
        "b": r.normal(size=3),
    }
    dy = r.normal(size=(4, 3, 3))

    def forward(p: Params) -> list[Array]:
        h: list[Array] = [np.zeros((3, 3))]
        for x in p["x"]:
            h.append(np.tanh(x @ p["W"] + h[-1] @ p["U"] + p["b"]))
        return h

    def grads(p: Params) -> Params:
        h, g, dh = forward(p), {k: np.zeros_like(v) for k, v in p.items()}, np.zeros((3, 3))
        for t in reversed(range(4)):
            da = (dy[t] + dh) * (1 - h[t + 1] ** 2)
            g["x"][t], dh = da @ p["W"].T, da @ p["U"].T
            dh = {"not handed back": 0 * dh, "minus": -dh}.get(word, dh)
            g["W"] += p["x"][t].T @ da
            g["U"] += h[t + 1 if word == "state after" else t].T @ da
            g["b"] = da.sum(axis=0) if word == "bias overwritten" else g["b"] + da.sum(axis=0)
        g["x"] = g["x"][::-1] if word == "not turned" else g["x"]
        return g

    return lambda p: float(sum(np.sum(a * b) for a, b in zip(forward(p)[1:], dy, strict=True))), grads, p


RECURRENT: Wrong = {
    "not handed back": ("x W U b", "missing-term"), "minus": ("x W U b", "missing-term sign"),
    "state after": ("U", "missing-term"),
    "bias overwritten": ("b", "missing-sum missing-term"), "not turned": ("x", "flip"),
}  # fmt: skip


def attention(word: str, seed: int) -> Parts:
    r = np.random.default_rng(seed)
    p, dy = {k: r.normal(size=(4, 3)) for k in "qkv"}, r.normal(size=(4, 3))

    def weights(p: Params) -> Array:
        return softmax(p["q"] @ p["k"].T / np.sqrt(3))

    def grads(p: Params) -> Params:
        a, da = weights(p), dy @ p["v"].T
        inner = (da * a).sum(axis=1, keepdims=True)
        ds = a * (1 - a) * da if word == "elementwise" else a * (da - inner)
        root = 1.0 if word == "no root" else 3**-0.5
        g = {"q": ds @ p["k"] * root, "k": ds.T @ p["q"] * root, "v": a.T @ dy}
        if word == "values turned":
            g["v"] = a @ dy
        elif word == "keys turned":
            g["k"] = ds @ p["q"] * root
        elif word == "cut":
            g["q"] = 0 * g["q"]
        return g

    return lambda p: float(np.sum(weights(p) @ p["v"] * dy)), grads, p


ATTENTION: Wrong = {
    "elementwise": ("q k", "missing-term"), "no root": ("q k", "scale"),
    "values turned": ("v", "transpose missing-term unknown"),
    "keys turned": ("k", "transpose missing-term unknown"), "cut": ("q", "zero"),
}  # fmt: skip


def regression(word: str, seed: int) -> Parts:
    """A Gaussian's negative log-likelihood with log σ, weights of examples and a ridge."""
    r = np.random.default_rng(seed)
    X, y, c = r.normal(size=(8, 4)), r.normal(size=8), r.uniform(0.5, 2, size=8)
    p = {"w": r.normal(size=4), "b": np.array(0.3), "log_s": np.array(-0.2)}

    def loss(p: Params) -> float:
        e = X @ p["w"] + p["b"] - y
        return float(np.sum(c * (e * e / 2 * np.exp(-2 * p["log_s"]) + p["log_s"])) / 8 + 0.05 * np.sum(p["w"] ** 2))

    def grads(p: Params) -> Params:
        k = 1.0 if word == "no weights" else c
        e, q = X @ p["w"] + p["b"] - y, np.exp(-2 * p["log_s"])
        ridge = {"no ridge": 0.0, "half a ridge": 0.05, "ridge per m": 0.1 / 8, "minus ridge": -0.1}.get(word, 0.1)
        g = {
            "w": X.T @ (k * e) * q / 8 + ridge * p["w"],
            "b": np.sum(k * e) * q / 8,
            "log_s": np.sum(c * (1 - e * e * q)) / 8,
        }
        if word == "of sigma":
            g["log_s"] = g["log_s"] / np.exp(p["log_s"])
        elif word == "bias too":
            g["b"] = g["b"] + 0.1 * p["b"]
        elif word == "data twice":
            g["w"] = 2 * (g["w"] - ridge * p["w"]) + ridge * p["w"]
        elif word == "residual":
            g["b"] = -g["b"]
        elif word == "columns":
            g["w"] = g["w"][[1, 0, 2, 3]]
        return g

    return loss, grads, p


REGRESSION: Wrong = {
    "no ridge": ("w", "penalty"), "half a ridge": ("w", "penalty"), "ridge per m": ("w", "penalty"),
    "minus ridge": ("w", "penalty"),
    "of sigma": ("log_s", "scale missing-term"), "bias too": ("b", "penalty missing-term"),
    "data twice": ("w", "scale"),
    "residual": ("b", "sign"), "columns": ("w", "shift"), "no weights": ("w b", "missing-term scale"),
}  # fmt: skip


# -- mistakes that any gradient can have -------------------------------------------------------------------------------


def spoiled(make: Callable[[str, int], Parts], target: str) -> Callable[[str, int], Parts]:
    def one(word: str, seed: int) -> Parts:
        loss, right, p = make("", seed)

        def grads(p: Params) -> Params:
            g = {k: np.array(v, float) for k, v in right(p).items()}
            v = g[target]
            g[target] = {
                "0.9": 0.9 * v, "minus": -v, "three times": 3 * v, "zero": 0 * v,
                "off by a constant": v + 0.3, "flipped": np.flip(v, 0),
                "epsilon": v * (1 + 1e-5),
                "rolled": np.roll(v, 1, axis=-1),
                "last one": np.where(np.arange(v.size) == v.size - 1, 2, 1).reshape(v.shape) * v,
                "float16": np.float16(v).astype(float), "unit": v / np.linalg.norm(v),
            }.get(word, v)  # fmt: skip
            return g

        return loss, grads, p

    return one


def generic(target: str) -> Wrong:
    return {
        "0.9": (target, "scale"), "minus": (target, "sign"), "three times": (target, "scale"),
        "zero": (target, "zero"),
        "off by a constant": (target, "missing-term"), "flipped": (target, "flip shift"),
        "epsilon": (target, "scale small"),
        "rolled": (target, "shift"), "last one": (target, "sparse scale missing-term"),
        "float16": (target, "precision"), "unit": (target, "scale"),
    }  # fmt: skip


FUNCTIONS: dict[str, tuple[Callable[[str, int], Parts], Wrong]] = {
    "dense": (dense, DENSE), "elementwise": (elementwise, ELEMENTWISE), "softmax": (softmax_layer, SOFTMAX),
    "layer norm": (layer_norm, LAYER_NORM), "lookup": (lookup, LOOKUP), "convolution": (convolution, CONVOLUTION),
    "twice used": (twice_used, TWICE), "masked": (masked, MASKED), "stepped": (stepped, STEPPED),
    "network": (network, NETWORK),
    "recurrent": (recurrent, RECURRENT), "attention": (attention, ATTENTION), "regression": (regression, REGRESSION),
    "network, W1": (spoiled(network, "W1"), generic("W1")),
    "recurrent, U": (spoiled(recurrent, "U"), generic("U")),
    "layer norm, x": (spoiled(layer_norm, "x"), generic("x")),
}  # fmt: skip


def wrong_cases() -> Iterator[Case]:
    """Every wrong gradient of the table."""
    for i, (name, (make, table)) in enumerate(FUNCTIONS.items()):
        for word, (arrays, kinds) in table.items():
            yield Case(f"{name}: {word}", *make(word, i), frozenset(arrays.split()), frozenset(kinds.split()))


def right_cases() -> Iterator[Case]:
    """As many right ones: each function at several points."""
    for i, (name, (make, table)) in enumerate(FUNCTIONS.items()):
        for seed in range(len(table)):
            yield Case(f"{name}, seed {100 * seed + i}", *make("", 100 * seed + i), frozenset(), frozenset())
