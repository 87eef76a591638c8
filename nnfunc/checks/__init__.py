"""The gradient laboratory: finds which backward is wrong, where, and why."""

from nnfunc.checks.functions import check_function
from nnfunc.checks.gradients import check_gradients
from nnfunc.checks.jacobians import check_hessian, check_jacobian
from nnfunc.checks.models import check_layer, check_model
from nnfunc.checks.objects import check_object
from nnfunc.checks.report import KINDS, Finding, Report
from nnfunc.checks.taylor import TaylorTest, taylor_test

__all__ = [
    "KINDS",
    "Finding",
    "Report",
    "TaylorTest",
    "check_function",
    "check_gradients",
    "check_hessian",
    "check_jacobian",
    "check_layer",
    "check_model",
    "check_object",
    "taylor_test",
]
