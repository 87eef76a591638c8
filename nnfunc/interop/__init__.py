"""nnfunc and other libraries: a module for each, and nothing here is imported by `import nnfunc`.

`weights` is what the modules for PyTorch, Keras and Flax share.
"""
