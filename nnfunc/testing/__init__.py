"""Hypothesis for networks: strategies, and the laws that a layer must hold (`pip install "nnfunc[testing]"`)."""

from nnfunc.testing.strategies import Network, activations, arrays, cotangents, layers, networks, shapes

__all__ = ["Network", "activations", "arrays", "cotangents", "layers", "networks", "shapes"]
