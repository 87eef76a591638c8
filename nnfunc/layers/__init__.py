"""Layers: three pure functions each. One file a family; `combinators` is the only one that routes names."""

from nnfunc.layers.activations import (
    elu,
    gelu,
    identity,
    leaky_relu,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    swish,
    tanh,
)
from nnfunc.layers.base import Layer, layer, output_shape
from nnfunc.layers.combinators import map_layers, mlp, residual, serial
from nnfunc.layers.dense import dense
from nnfunc.layers.dropout import dropout
from nnfunc.layers.flatten import flatten
from nnfunc.layers.normalization import batch_norm, layer_norm
from nnfunc.layers.summary import summary

__all__ = [
    "Layer",
    "batch_norm",
    "dense",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "identity",
    "layer",
    "layer_norm",
    "leaky_relu",
    "map_layers",
    "mlp",
    "output_shape",
    "relu",
    "residual",
    "selu",
    "serial",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "summary",
    "swish",
    "tanh",
]
