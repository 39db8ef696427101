"""Distillation as a scikit-learn transformer."""

from crossdistill.estimator.embedder import CrossModalEmbedder

__all__ = ["CrossModalEmbedder"]
