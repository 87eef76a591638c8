"""Distributed training: data parallelism with the same bits on any number of processes.

sharded     all shards of a batch in this process, one after another
mpi         the shards distributed over MPI processes
divided     an optimizer whose state is distributed over the processes
save        one file, written by one process
sweep       many settings and seeds, as stacks, on joblib, Dask, executors or locally

Guarantees, and the tests that verify them (tests/test_distributed.py; for memory, tests/test_training.py):

    the update is that of the whole batch           test_the_update_is_that_of_the_whole_batch
        with penalty and clipping once, on the sum;
        shards without rows, rows of any weight
    the same bits on 1, 2 and 3 ranks               test_the_same_bits_on_any_number_of_ranks
    one shard equals the step without `reduce=`     test_one_shard_is_a_step_as_it_was
    a function that sums vectors is enough          test_a_function_of_a_vector_is_a_reduction
    dropout's keys belong to the shard              test_keys_belong_to_the_shard
    batch norm by shard: its state is their mean    test_the_averages_of_batch_norm_are_the_mean_of_the_shards
    batch norm over all rows: of the whole batch    test_batch_norm_over_all_rows_is_that_of_the_whole_batch
        on any number of ranks                      test_batch_norm_over_all_rows_on_any_number_of_ranks
    a rank reads its own rows only                  test_a_rank_reads_its_own_rows_alone
    a divided optimizer state gives the same bits   test_a_divided_state_gives_the_same_bits
    another number of ranks resumes from a file     test_another_number_of_ranks_goes_on
    an error on one rank is raised on all, with its test_an_error_of_one_rank_is_that_of_all
        number; also differing initial states
    an error in a shard ends all threads            test_an_error_in_step_ends_all_shards
    a rank that dies ends the job                   test_a_rank_that_dies_ends_the_job
    a stack, a foreign batch: rejected              test_what_does_not_fit_is_said
    a sweep is the same on every engine; a network  test_a_sweep_is_the_same_on_every_engine
        that fails does not affect its group            test_a_sweep_over_joblib, test_a_sweep_over_dask
    an interrupted sweep resumes                    test_a_sweep_that_was_stopped_goes_on
    Dask workers keep their memory in a sweep       test_a_worker_of_dask_keeps_its_memory
    memory use does not grow with data on disk
        test_the_memory_of_training_from_disk_does_not_grow_with_the_data
    memory use does not grow with an iterator of batches
        test_the_memory_of_training_on_an_iterator_does_not_grow_with_the_data
"""

from nnfunc.distributed.processes import mpi
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
