"""Readers of a model's program: its table, its listing, its description in files, and where NaN began."""
