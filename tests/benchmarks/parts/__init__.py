"""The parts of the benchmark: each has `run(options)`, which yields its tables as they are finished."""
