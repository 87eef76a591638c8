"""The engine, in the way data go.

    values, kernel, settings → layer → wiring → initial, build → program → forward, backward

`custom` makes layers of functions of your own; `signatures` says whether parameters fit, `expressions` what a kernel is
to other runtimes.
"""
