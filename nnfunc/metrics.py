"""Prediction and metrics: of a model on data, and of predictions compared with targets."""

from nnfunc.evaluation import (
    Evaluation,
    accuracy,
    confusion_matrix,
    evaluate,
    f1_score,
    generate,
    perplexity,
    precision,
    predict,
    predict_classes,
    r2_score,
    recall,
    roc_auc,
    top_k_accuracy,
)

__all__ = [
    "Evaluation",
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
