"""Training: one loop (loop.py), and the three things that are trained with it."""

from crossdistill.training.classify import Classifier, train_classifier
from crossdistill.training.config import PretrainConfig, TrainConfig, ViewsConfig
from crossdistill.training.distil import distil
from crossdistill.training.log import TrainLog, read_epochs
from crossdistill.training.pretrain import new_source_encoder, pretrain
from crossdistill.training.semi import SemiConfig, Unpaired

__all__ = [
    "Classifier", "PretrainConfig", "SemiConfig", "TrainConfig", "TrainLog", "Unpaired", "ViewsConfig", "distil",
    "new_source_encoder", "pretrain", "read_epochs", "train_classifier",
]  # fmt: skip
