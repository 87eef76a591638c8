"""Layers and combinators, one file per family: a layer's constructor, signature, forward and backward are together.

dense                                               dropout, reparametrize
batch_norm, layer_norm, rms_norm, group_norm, instance_norm
relu, leaky_relu, elu, selu, gelu, silu (swish), softplus, sigmoid, tanh, softmax, identity
mish, softsign, log_softmax, hard_sigmoid, hard_swish, hard_tanh, relu6
glu, swiglu, geglu, prelu
conv1d, conv2d, conv_transpose1d, conv_transpose2d  upsample1d, upsample2d, pad, crop
max_pool1d, max_pool2d, avg_pool1d, avg_pool2d, global_max_pool, global_avg_pool
rnn, gru, lstm, bidirectional                       attention, transformer_block
embedding, learned_positions, sinusoidal_positions, rotary_positions
flatten, reshape, take                              concatenate, add, subtract, multiply
serial, residual, parallel, branch, shared, scan, mlp       layer, wired: user-defined
freeze, unfreeze, tie, map_layers                   models from models
"""

from nnfunc.core.custom import layer, wired
from nnfunc.core.layer import Layer, Run
from nnfunc.core.values import InputShape, Shapes, Value
from nnfunc.core.wiring import Call
from nnfunc.layers.activations import (
    ActivationName,
    elu,
    gelu,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    identity,
    leaky_relu,
    log_softmax,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    swish,
    tanh,
)
from nnfunc.layers.affine import dense
from nnfunc.layers.attending import attention
from nnfunc.layers.cells import gru, rnn
from nnfunc.layers.combinators import branch, mlp, parallel, residual, scan, serial, shared
from nnfunc.layers.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from nnfunc.layers.directions import bidirectional
from nnfunc.layers.gates import geglu, glu, prelu, swiglu
from nnfunc.layers.joining import add, concatenate, multiply, subtract
from nnfunc.layers.lookup import embedding
from nnfunc.layers.memory_cells import lstm
from nnfunc.layers.normalization import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from nnfunc.layers.padding import crop, pad, upsample1d, upsample2d
from nnfunc.layers.parts import freeze, tie, unfreeze
from nnfunc.layers.pooling import avg_pool1d, avg_pool2d, global_avg_pool, global_max_pool, max_pool1d, max_pool2d
from nnfunc.layers.positions import learned_positions, rotary_positions, sinusoidal_positions
from nnfunc.layers.reshaping import flatten, reshape, take
from nnfunc.layers.stochastic import dropout, reparametrize
from nnfunc.layers.structure import map_layers
from nnfunc.layers.transformer import transformer_block
from nnfunc.layout import Shape

__all__ = [
    "ActivationName",
    "Call",
    "InputShape",
    "Layer",
    "Run",
    "Shape",
    "Shapes",
    "Value",
    "add",
    "attention",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "bidirectional",
    "branch",
    "concatenate",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "crop",
    "dense",
    "dropout",
    "elu",
    "embedding",
    "flatten",
    "freeze",
    "geglu",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "glu",
    "group_norm",
    "gru",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "instance_norm",
    "layer",
    "layer_norm",
    "leaky_relu",
    "learned_positions",
    "log_softmax",
    "lstm",
    "map_layers",
    "max_pool1d",
    "max_pool2d",
    "mish",
    "mlp",
    "multiply",
    "pad",
    "parallel",
    "prelu",
    "relu",
    "relu6",
    "reparametrize",
    "reshape",
    "residual",
    "rms_norm",
    "rnn",
    "rotary_positions",
    "scan",
    "selu",
    "serial",
    "shared",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "softmax",
    "softplus",
    "softsign",
    "subtract",
    "swiglu",
    "swish",
    "take",
    "tanh",
    "tie",
    "transformer_block",
    "unfreeze",
    "upsample1d",
    "upsample2d",
    "wired",
]
