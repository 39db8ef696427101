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
    section: str,
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
        section: of the configuration that ``config`` stands in, for messages.
    """
    # What is set for the distillation alone does not hold for the classifier.
    settings = common.model_copy(
        update={
            "epochs": config.epochs,
            "batch_size": config.batch_size,
            "lr": config.lr,
            "accumulate": 1,
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
    unseen, test_rows = test
    nothing = np.empty(0, dtype=np.int64)

    def predictions() -> Ints:
        """Trains, and predicts the classes of this rank's share of the test items."""
        labels = data.labels(rows).tolist()
        classifier = train_classifier(
            encoder, items, labels, len(data.pairs.classes), settings, title=title, section=section
        )
        predicted = []
        part = ranks.share(len(unseen))
        for start in range(part.start, part.stop, 128):
            pixels = unseen.batch(range(start, min(start + 128, part.stop)))
            with torch.no_grad():
                predicted.append(classifier(encoder.modality.normalise(pixels)).argmax(dim=1).numpy())
        return np.concatenate([nothing, *predicted])

    if min(config.batch_size, len(items)) < ranks.world():  # a few labels are too few to share out
        alone = ranks.first_does(predictions)
        found = ranks.gather_rows(nothing if alone is None else alone)
    else:
        found = ranks.gather_rows(predictions())
    return proportion((found == data.labels(test_rows)).astype(np.float64), data.groups(test_rows))
