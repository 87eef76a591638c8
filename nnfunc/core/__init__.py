"""The engine: values, kernels, layers, and the program that the wiring of a model leaves.

values → kernel → layer → program        custom: layers from functions of your own
"""
