"""Internals shared by the subpackages: argument checks, numerics, text."""
