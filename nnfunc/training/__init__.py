"""Training: the training step as a pure function, mini-batches, the loop as an iterator of epochs, early stopping."""

from nnfunc.training.averages import fresh_averages
from nnfunc.training.batches import minibatches
from nnfunc.training.gradients import Batch, Result, ValueAndGrad, value_and_grad
from nnfunc.training.loop import Data, Epoch, train
from nnfunc.training.progress import Counted
from nnfunc.training.state import TrainState, stack, train_state, unstack
from nnfunc.training.step import Metrics, TrainStep, train_step
from nnfunc.training.stopping import best_and_history, best_epoch, early_stopping, history

__all__ = [
    "Batch",
    "Counted",
    "Data",
    "Epoch",
    "Metrics",
    "Result",
    "TrainState",
    "TrainStep",
    "ValueAndGrad",
    "best_and_history",
    "best_epoch",
    "early_stopping",
    "fresh_averages",
    "history",
    "minibatches",
    "stack",
    "train",
    "train_state",
    "train_step",
    "unstack",
    "value_and_grad",
]
