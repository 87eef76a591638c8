"""nnfunc and other libraries: a module for each, and nothing here is imported by `import nnfunc`.

`arrays` reads the files of others; `source` writes a model as a file of Python;
`weights` is what the modules for PyTorch, Keras and Flax share.
"""
