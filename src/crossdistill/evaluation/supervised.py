"""Protocols that train a network on target labels: full fine-tuning, and the same from scratch as a control."""

from __future__ import annotations

import numpy as np
import torch

from crossdistill import ranks
from crossdistill.encoders import Encoder
from crossdistill.evaluation.config import SupervisedConfig
from crossdistill.evaluation.embedding import EvaluationSet
from crossdistill.evaluation.intervals import Estimate, Ints, proportion
from crossdistill.pairs.items import Items
from crossdistill.training import TrainConfig, train_classifier


def supervised_accuracy(
    encoder: Encoder,
    train: tuple[Items, Ints],
    test: tuple[Items, Ints],
    data: EvaluationSet,
    config: SupervisedConfig,
    common: TrainConfig,
    title: str,
) -> Estimate:
    """Accuracy on the test split after all of ``encoder`` was trained in place on labelled target items.

    Args:
        encoder: what to start from.
        train: target items and their row numbers.
        test: likewise.
        data: labels and groups of the rows.
        config: of this training.
        common: seed, device and the other settings that all trainings of a run share.
        title: for the progress bar.
    """
    # What is set for the distillation alone does not hold for the classifier.
    settings = common.model_copy(
        update={
            "epochs": config.epochs,
            "batch_size": config.batch_size,
            "lr": config.lr,
            "monitor_every": 10**9,
            "freeze": (),
            "freeze_epochs": None,
            "resolution": (),
            "layer_decay": None,
            "early_stop": None,
            "keep": "last",
            "ema": None,
            "profile": False,
            "parallel": "ddp",
        }
    )
    items, rows = train
    labels = data.labels(rows).tolist()
    classifier = train_classifier(encoder, items, labels, len(data.pairs.classes), settings, title=title)
    unseen, test_rows = test
    predicted = []
    part = ranks.share(len(unseen))
    for start in range(part.start, part.stop, 128):
        pixels = unseen.batch(range(start, min(start + 128, part.stop)))
        with torch.no_grad():
            predicted.append(classifier(encoder.modality.normalise(pixels)).argmax(dim=1).numpy())
    right = ranks.gather_rows(np.concatenate([np.empty(0, dtype=np.int64), *predicted])) == data.labels(test_rows)
    return proportion(right.astype(np.float64), data.groups(test_rows))
