"""Prediction and evaluation: `predict` gives outputs, `metrics` holds them against what is true."""

from nnfunc.evaluation.generate import generate
from nnfunc.evaluation.metrics import Evaluation, accuracy, confusion_matrix, evaluate, predict_classes
from nnfunc.evaluation.predict import predict

__all__ = ["Evaluation", "accuracy", "confusion_matrix", "evaluate", "generate", "predict", "predict_classes"]
