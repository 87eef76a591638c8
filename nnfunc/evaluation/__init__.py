"""Prediction and evaluation: `predict` returns outputs, `metrics` and `scores` compare them with targets."""

from nnfunc.evaluation.generate import generate
from nnfunc.evaluation.metrics import Evaluation, Metric, accuracy, confusion_matrix, evaluate, predict_classes
from nnfunc.evaluation.predict import HasParams, predict
from nnfunc.evaluation.scores import Average, f1_score, perplexity, precision, r2_score, recall, roc_auc, top_k_accuracy

__all__ = [
    "Average",
    "Evaluation",
    "HasParams",
    "Metric",
    "accuracy",
    "confusion_matrix",
    "evaluate",
    "f1_score",
    "generate",
    "perplexity",
    "precision",
    "predict",
    "predict_classes",
    "r2_score",
    "recall",
    "roc_auc",
    "top_k_accuracy",
]
