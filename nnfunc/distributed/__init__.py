"""Beyond one process: data parallel training with the same bits on any number of processes.

sharded     all shards of a batch in this process, one after another
mpi         the shards shared among the processes of MPI
divided     an optimizer whose state is divided among the processes
save        one file, written by one process
sweep       many settings and seeds, as stacks, over joblib, Dask, executors or here
"""

from nnfunc.distributed.mpi import mpi
from nnfunc.distributed.states import divided, gathered, save, scattered
from nnfunc.distributed.sweeps import Trial, sweep
from nnfunc.training.shards import Reduction, Shards, digest, sharded

__all__ = [
    "Reduction",
    "Shards",
    "Trial",
    "digest",
    "divided",
    "gathered",
    "mpi",
    "save",
    "scattered",
    "sharded",
    "sweep",
]
