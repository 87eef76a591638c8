"""A model's program, its summary and listing, its description in files, and the origin of NaN."""

from nnfunc.core.build import output_shape, program
from nnfunc.core.program import Op, Program
from nnfunc.models.table import summary

__all__ = ["Op", "Program", "output_shape", "program", "summary"]
