"""Pairs of output activation and loss that are computed together, from the logits."""

from __future__ import annotations

from nnfunc import losses
from nnfunc.core.layer import Layer
from nnfunc.layers.activations import ACTIVATIONS
from nnfunc.layers.combinators import _branch, _parallel
from nnfunc.layers.structure import is_serial, last_layer
from nnfunc.losses.base import Loss


def fused(model: Layer, loss: Loss) -> tuple[Layer, Loss]:
    """Removes a model's output activation and returns the loss on logits, if they match; else returns both unchanged.

    For a model with several outputs (`branch` or `parallel` at its end), each is paired with its part of the loss.

    >>> model, loss = fused(nn.serial(nn.dense(1), nn.sigmoid()), nn.binary_cross_entropy)
    >>> [name for name, _ in model.layers], loss
    (['dense1'], binary_cross_entropy_with_logits)
    """
    if loss.parts and model.wire in (_branch, _parallel) and len(model.layers) == len(loss.parts):
        pairs = [fused(layer, part) for (_, layer), (_, part) in zip(model.layers, loss.parts, strict=True)]
        layers = tuple((name, layer) for (name, _), (layer, _) in zip(model.layers, pairs, strict=True))
        parts = tuple((weight, part) for (weight, _), (_, part) in zip(loss.parts, pairs, strict=True))
        return model._replace(layers=layers), loss._replace(parts=parts)
    if loss.parts and is_serial(model) and model.layers:
        *before, (name, last) = model.layers
        last, loss = fused(last, loss)
        return model._replace(layers=(*before, (name, last))), loss
    if loss.activation is not None and loss.logits is not None:
        body = without_last(model, loss.activation)
        if body is not None:
            on_logits: Loss = getattr(losses, loss.logits)
            return body, on_logits._replace(settings=loss.settings, options=loss.options)
    return model, loss


def without_last(model: Layer, activation: str) -> Layer | None:
    """Returns a (nested) series without its last layer if that is this activation, else None."""
    if not is_serial(model) or not model.layers:
        return None
    *before, (name, layer) = model.layers
    if is_activation(layer, activation):
        return model._replace(layers=tuple(before)) if before else None
    inner = without_last(layer, activation)
    return None if inner is None else model._replace(layers=(*before, (name, inner)))


def is_activation(layer: Layer, name: str) -> bool:
    """Whether a layer is the built-in activation of this name."""
    return name in ACTIVATIONS and bool(layer == ACTIVATIONS[name]())


def applies(loss: Loss) -> str | None:
    """Returns the activation that a loss on logits applies itself.

    >>> applies(losses.focal()), applies(losses.binary_cross_entropy)
    ('sigmoid', None)
    """
    found = {other.logits: other.activation for other in losses.built_in() if other.logits is not None}
    return (found | {"focal": "sigmoid", "ctc": "softmax"}).get(loss.name)


def check_output(model: Layer, loss: Loss) -> None:
    """Raises an error for an output activation that the loss applies too, or that does not match its decision."""
    last, applied = last_layer(model), applies(loss)
    if applied is not None and is_activation(last, applied):
        other = "".join(f"use {other!r}, or " for other in losses.built_in() if other.logits == loss.name)
        raise ValueError(
            f"the model ends with {last!r} and {loss!r} applies it again: {other}end the model with its logits"
        )
    if is_activation(last, "softmax") and loss.targets == "bits":
        raise ValueError(
            f"the model ends with softmax(), whose outputs are one joint decision, but {loss!r} takes each separately: "
            "use sigmoid(), or categorical_cross_entropy"
        )
    if is_activation(last, "sigmoid") and loss.activation == "softmax":
        raise ValueError(
            f"the model ends with sigmoid(), whose outputs are separate decisions, but {loss!r} treats them as one "
            "and would drive all of them to 1: use softmax(), or binary_cross_entropy"
        )
