"""Prediction and metrics: of a model on data, and of predictions compared with targets."""

from nnfunc.evaluation import (
    Average,
    Evaluation,
    HasParams,
    Metric,
    accuracy,
    confusion_matrix,
    evaluate,
    f1_score,
    perplexity,
    precision,
    predict_classes,
    r2_score,
    recall,
    roc_auc,
    top_k_accuracy,
)
from nnfunc.evaluation.generate import generate
from nnfunc.evaluation.predict import predict

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
