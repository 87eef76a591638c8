"""A model's program, and its readers: its table, its listing, its description in files, and where NaN began."""

from nnfunc.core.build import output_shape, program
from nnfunc.core.program import Op, Program
from nnfunc.models.table import summary

__all__ = ["Op", "Program", "output_shape", "program", "summary"]
