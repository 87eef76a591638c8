"""Interoperability with other libraries: one module per library, none of which `import nnfunc` imports.

`arrays` reads files of other libraries, `source` writes a model as a Python file, and `_weights` contains the shared
parts of the modules for PyTorch, Keras and Flax.
"""
