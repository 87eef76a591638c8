# What this project uses of SciPy's statistics.
class _Distribution:
    def ppf(self, q: float, df: float) -> float: ...

t: _Distribution
