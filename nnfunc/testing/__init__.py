"""Hypothesis strategies for networks, and the laws that a layer must satisfy (`pip install "nnfunc[testing]"`)."""

try:
    import hypothesis as _  # noqa: F401  # the error below says what to install
except ImportError as error:
    raise ImportError('nnfunc.testing needs hypothesis: pip install "nnfunc[testing]"') from error

from nnfunc.testing.gradients import gradient_test
from nnfunc.testing.laws import assert_layer_laws, hold_laws
from nnfunc.testing.strategies import (
    Network,
    activations,
    arrays,
    cotangents,
    graph_layers,
    graphs,
    layers,
    networks,
    shapes,
)

__all__ = [
    "Network",
    "activations",
    "arrays",
    "assert_layer_laws",
    "cotangents",
    "gradient_test",
    "graph_layers",
    "graphs",
    "hold_laws",
    "layers",
    "networks",
    "shapes",
]
