"""Training: a step as a pure function, batches, the loop as an iterator of epochs, and when to stop."""

from nnfunc.training.batches import minibatches
from nnfunc.training.loop import Epoch, train
from nnfunc.training.stacks import stack, unstack
from nnfunc.training.step import Metrics, TrainState, TrainStep, train_state, train_step
from nnfunc.training.stopping import best_epoch, early_stopping, history

__all__ = [
    "Epoch",
    "Metrics",
    "TrainState",
    "TrainStep",
    "best_epoch",
    "early_stopping",
    "history",
    "minibatches",
    "stack",
    "train",
    "train_state",
    "train_step",
    "unstack",
]
