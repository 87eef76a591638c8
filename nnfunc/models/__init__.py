"""A model's program, its summary and listing, its description in files, and the origin of NaN."""

from nnfunc.core.build import output_shape, program
from nnfunc.models.summary import summary

__all__ = ["output_shape", "program", "summary"]
