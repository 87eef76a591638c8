"""What goes on inside a network: one forward and one backward, each layer's activations and gradients, and what is
wrong with them, in words.

Units that are dead, outputs that are saturated, gradients that vanish or explode, signals that shrink, grow or become
constant, numbers that are not finite, parameters that no gradient reaches, inputs that are not scaled. The thresholds
stand as constants in `nnfunc.inspection.findings`, each with its reason; healthy networks, fresh or trained, have no
findings.
"""

from nnfunc.inspection.attention import attention_weights
from nnfunc.inspection.examine import inspect
from nnfunc.inspection.findings import KINDS
from nnfunc.inspection.report import Inspection, LayerInspection

__all__ = ["KINDS", "Inspection", "LayerInspection", "attention_weights", "inspect"]
