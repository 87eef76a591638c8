"""The engine, in the order of data flow.

    values, kernel, settings → layer → wiring → initial, build → program → forward, backward

`custom` builds layers from user-defined functions, `signatures` checks parameters against layers, and `expressions`
describes kernels to other runtimes.
"""
