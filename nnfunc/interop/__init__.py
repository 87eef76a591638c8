"""nnfunc inside other libraries: each module needs the library that it is named after, and nothing here is imported by
`import nnfunc`.
"""
