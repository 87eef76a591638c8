"""The gradient laboratory: which backward is wrong, where, and what is wrong with it."""

from nnfunc.checks.gradients import check_gradients
from nnfunc.checks.models import check_layer, check_model
from nnfunc.checks.report import Finding, Report

__all__ = ["Finding", "Report", "check_gradients", "check_layer", "check_model"]
