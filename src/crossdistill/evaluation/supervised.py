"""Protocols that train a network on target labels: full fine-tuning, and the same from scratch as a control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossdistill import ranks
from crossdistill.encoders import Encoder, plain_backbone
from crossdistill.evaluation.embedding import EvaluationSet
from crossdistill.evaluation.intervals import Floats, Ints
from crossdistill.evaluation.recognition import Predictions, stacked
from crossdistill.evaluation.supervised_config import FineTuneConfig, SupervisedConfig
from crossdistill.pairs.items import Items
from crossdistill.training import TrainConfig, train_classifier
from crossdistill.training.classify import HeldOut

_BATCH = 128


@dataclass(frozen=True)
class LabelledItems:
    """Labelled target items and the numbers of their rows ``(N,)``."""

    items: Items
    rows: Ints

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, positions: Ints) -> LabelledItems:
        """Some of them."""
        return LabelledItems(self.items.subset(positions.tolist()), self.rows[positions])


@dataclass(frozen=True)
class LabelTraining:
    """Trains encoders on labels and tests them.

    Attributes:
        data: labels and groups of the rows.
        train: all labelled training items.
        held_out: those of the val split, which decide on the length; may be none.
        test: what is predicted.
        config: the recipe.
        common: seed, device and the other settings that all trainings of a run share.
        section: of the configuration that ``config`` stands in, for messages.
    """

    data: EvaluationSet
    train: LabelledItems
    held_out: LabelledItems
    test: LabelledItems
    config: SupervisedConfig
    common: TrainConfig
    section: str

    def on_all(self, encoder: Encoder, title: str) -> tuple[Predictions, str]:
        """Trains ``encoder`` in place on all labels; what it then says of the test items, and how it was trained.

        Where the val split has labels, the weights of its best epoch are taken; else the length is fixed.
        """
        held_out = HeldOut(self.held_out.items, self.data.labels(self.held_out.rows).tolist())
        measured = held_out if len(self.held_out) else None
        answer = self._answers(encoder, self.train, self.config.epochs, title, measured)
        if measured is None:
            note = f"{self.config.epochs} epochs: no label in a val split to choose the best one by"
        else:
            note = (
                f"epoch {measured.best} of {len(measured.accuracies)}, the best in accuracy on "
                f"{len(self.held_out)} labelled val items"
            )
        return self._predictions([answer]), note + self._layers_note(encoder)

    def on_few(self, encoder: Encoder, chosen: Ints, title: str) -> tuple[Ints, Floats]:
        """The same on the training items at positions ``chosen``: classes ``(T,)`` and their probabilities.

        The length is fixed: val labels to choose it by would outnumber the labels that are trained on.
        """
        return self._answers(encoder, self.train.subset(chosen), self._few_epochs(len(chosen)), title, None)

    def predictions(self, answers: list[tuple[Ints, Floats]], labels: int, encoder: Encoder) -> tuple[Predictions, str]:
        """The answers of several draws of ``labels`` labels together, and how they were come by."""
        note = f"fixed length of {self._few_epochs(labels)} epochs, {len(answers)} draw{'s' * (len(answers) > 1)}"
        return self._predictions(answers), note + self._layers_note(encoder)

    def _predictions(self, answers: list[tuple[Ints, Floats]]) -> Predictions:
        rows = self.test.rows
        return stacked(answers, self.data.labels(rows), self.data.groups(rows), len(self.data.pairs.classes))

    def _few_epochs(self, count: int) -> int:
        """Passes over ``count`` items: as many steps as are set, or as all labels would give."""

        def steps(items: int) -> int:
            return max(1, items // min(self.config.batch_size, items))

        wanted = min(self.config.few_shot_steps, self.config.epochs * steps(len(self.train)))
        return max(self.config.epochs, -(-wanted // steps(count)))

    def _decay(self, encoder: Encoder) -> float | None:
        wanted = self.config.layer_decay if isinstance(self.config, FineTuneConfig) else 1.0
        return wanted if wanted < 1 and hasattr(plain_backbone(encoder), "group_matcher") else None

    def _layers_note(self, encoder: Encoder) -> str:
        unknown = isinstance(self.config, FineTuneConfig) and self.config.layer_decay < 1 and not self._decay(encoder)
        return "; no layer-wise decay, as this backbone does not say what its layers are" if unknown else ""

    def _settings(self, encoder: Encoder, epochs: int, held_out: bool) -> TrainConfig:
        """What is set for the distillation alone does not hold for the classifier."""
        changed: dict[str, Any] = {
            "epochs": epochs, "batch_size": self.config.batch_size, "lr": self.config.lr,
            "warmup": self.config.warmup, "layer_decay": self._decay(encoder), "accumulate": 1, "monitor_every": 1,
            "early_stop": self.config.early_stop if held_out else None, "keep": "best" if held_out else "last",
            "freeze": (), "freeze_epochs": None, "resolution": (), "ema": None, "profile": False, "parallel": "ddp",
        }  # fmt: skip
        return self.common.model_copy(update=changed)

    def _answers(
        self, encoder: Encoder, train: LabelledItems, epochs: int, title: str, held_out: HeldOut | None
    ) -> tuple[Ints, Floats]:
        settings = self._settings(encoder, epochs, held_out is not None)

        def logits() -> Floats:
            """Trains, and answers for this rank's share of the test items."""
            classifier = train_classifier(
                encoder, train.items, self.data.labels(train.rows).tolist(), len(self.data.pairs.classes), settings,
                title=title, section=self.section, label_smoothing=self.config.label_smoothing,
                augment=self.config.augment, held_out=held_out,
            )  # fmt: skip
            found: list[Tensor] = [torch.empty(0, len(self.data.pairs.classes))]
            part = ranks.share(len(self.test))
            for start in range(part.start, part.stop, _BATCH):
                pixels = self.test.items.batch(range(start, min(start + _BATCH, part.stop)))
                with torch.no_grad():
                    found.append(classifier(encoder.modality.normalise(pixels)).float())
            return torch.cat(found).double().numpy()

        if min(settings.batch_size, len(train)) < ranks.world():  # a few labels are too few to share out
            alone = ranks.first_does(logits)
            every = ranks.gather_rows(np.empty((0, len(self.data.pairs.classes))) if alone is None else alone)
        else:
            every = ranks.gather_rows(logits())
        shares = np.exp(every - every.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return every.argmax(axis=1), shares.max(axis=1)
