"""Inspection of a network: one forward and one backward pass, the activations and gradients of each layer, and a
description of what is wrong with them.

Findings are dead units, saturated outputs, vanishing or exploding gradients, signals that shrink, grow or become
constant, non-finite values, parameters that no gradient reaches, and unscaled inputs. The thresholds are constants in
`nnfunc.inspection.findings`, each with its rationale; healthy networks, fresh or trained, have no findings.
"""

from nnfunc.inspection.attention import attention_weights
from nnfunc.inspection.examine import inspect
from nnfunc.inspection.findings import KINDS
from nnfunc.inspection.report import Inspection, LayerInspection

__all__ = ["KINDS", "Inspection", "LayerInspection", "attention_weights", "inspect"]
