"""`python -m nnfunc` prints what a bug report needs: versions, the BLAS library and its threads, extras."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import nnfunc

EXTRAS = (
    *("matplotlib", "tqdm", "safetensors", "scikit-learn", "scipy", "numba", "onnx", "hypothesis", "pandas"),
    *("mpi4py", "joblib", "dask", "torch", "jax", "flax", "keras"),
)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def info() -> dict[str, str]:
    """Returns versions and system facts by name.

    >>> from nnfunc.__main__ import info
    >>> info()["nnfunc"] == nn.__version__
    True
    """
    config: Any = np.show_config(mode="dicts")  # NumPy types it as None
    blas = config["Build Dependencies"]["blas"]
    found = {
        "nnfunc": nnfunc.__version__,
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "cores": str(os.cpu_count()),
        "NumPy": np.__version__,
        "BLAS": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "threads": ", ".join(f"{k}={os.environ[k]}" for k in THREADS if k in os.environ) or "not limited",
    }
    return found | {name: _installed(name) for name in EXTRAS}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    for name, value in info().items():
        print(f"{name:13} {value}")
