"""The protocol: every subject's backbone under the same decoder, on the same masks, measured on the same test items."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossdistill import ranks
from crossdistill.encoders import Encoder
from crossdistill.evaluation.intervals import Estimate, Ints
from crossdistill.evaluation.segmentation_config import SegmentationConfig
from crossdistill.modalities import Modality
from crossdistill.pairs import Pairs
from crossdistill.pairs.items import Items
from crossdistill.segmentation.classes import Classes
from crossdistill.segmentation.few import few_masks
from crossdistill.segmentation.masks import IGNORED, MaskReader, masked_rows, read_masks
from crossdistill.segmentation.measuring import Overlaps, class_iou, mean_iou, overlaps, pixel_accuracy, present
from crossdistill.segmentation.training import predict, train_segmenter
from crossdistill.training import TrainConfig
from crossdistill.training.loop import choose_device

_SHOWN = 41  # what a seed is for


@dataclass(frozen=True)
class MaskSet:
    """Labelled masks of target items.

    Attributes:
        classes: what they mean.
        train: rows of the training split that have one.
        test: likewise.
        train_masks: indices of classes, ``(n, H, W)`` in uint8, 255 where there is none.
        test_masks: likewise.
        groups: of the training rows, ``(n,)``.
        test_groups: of the test rows.
        there: classes that occur in the test masks, ``(C,)``.
        shown: positions of the test items that a report shows.
    """

    classes: Classes
    train: list[int]
    test: list[int]
    train_masks: Tensor
    test_masks: Tensor
    groups: Ints
    test_groups: Ints
    there: NDArray[np.bool_]
    shown: list[int]

    @classmethod
    def of(
        cls,
        pairs: Pairs,
        modality: Modality,
        classes: Classes,
        config: SegmentationConfig,
        common: TrainConfig,
    ) -> MaskSet:
        """Reads the masks of the training and test splits, as the target's modality brings items to size.

        Raises:
            PairsError: a mask cannot be read, or holds a number that is no class.
        """
        rows = {split: masked_rows(pairs, split) for split in ("train", "test")}
        masks = {
            split: read_masks(MaskReader(pairs, chosen, modality, classes, common.read_timeout), common.workers)
            for split, chosen in rows.items()
        }
        groups = np.array(pairs.group_ids, dtype=np.int64)
        return cls(
            classes=classes, train=rows["train"], test=rows["test"], train_masks=masks["train"],
            test_masks=masks["test"], groups=groups[rows["train"]], test_groups=groups[rows["test"]],
            there=present(masks["test"].numpy(), len(classes)),
            shown=_shown(masks["test"], groups[rows["test"]], config.pictures, common.seed),
        )  # fmt: skip


def _shown(masks: Tensor, groups: Ints, count: int, seed: int) -> list[int]:
    """Positions of some masks with two classes or more, drawn by the seed, of as many groups as can be."""
    flat = masks.flatten(1)
    known = flat != IGNORED
    several = (torch.where(known, flat, flat.new_zeros(())).amax(1)
               > torch.where(known, flat, flat.new_full((), IGNORED)).amin(1)).numpy()  # fmt: skip
    places = np.flatnonzero(several)
    chosen = few_masks(groups[places], min(count, len(places)), 0, seed + _SHOWN)
    return [int(place) for place in places[chosen]]


@dataclass
class Segmented:
    """What was measured on a subject.

    Attributes:
        metrics: ``miou_...`` and ``pixel_accuracy_...`` by name.
        by_class: for each ``miou_...`` the IoU of each class, None for one that no test mask has.
        pictures: predicted masks of the shown test items, ``(k, H, W)``, for ``miou_...`` of the most masks.
    """

    metrics: dict[str, Estimate] = field(default_factory=dict)
    by_class: dict[str, list[Estimate | None]] = field(default_factory=dict)
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


ItemsOf = Callable[[Sequence[int], Modality], Items]
"""Target items of some rows, decoded for a modality."""


def segment(
    encoder: Encoder,
    masks: MaskSet,
    items_of: ItemsOf,
    config: SegmentationConfig,
    common: TrainConfig,
    *,
    frozen: Sequence[bool],
    title: str,
) -> Segmented:
    """Trains decoders over an encoder's backbone, for each number of masks, and measures them on the test split.

    Args:
        encoder: stays as it is.
        masks: the labels.
        items_of: the items.
        config: the ``evaluate.segmentation`` section.
        common: the ``train`` section: seed, device, workers, precision.
        frozen: of ``config.frozen`` what makes sense for this subject.
        title: of the subject, for the progress bar.
    """
    found = Segmented()
    train, test = items_of(masks.train, encoder.modality), items_of(masks.test, encoder.modality)
    largest = _largest(config.masks)
    for still in [each for each in config.frozen if each in frozen]:
        for count in config.masks:
            name = config.metric("miou", still, count)
            draws: list[Overlaps] = []
            for draw in range(1 if count == "all" else config.draws):
                chosen = few_masks(masks.groups, count, draw, common.seed)
                words = f"{title}: {'frozen' if still else 'tuned'}, {len(chosen)} masks"
                predicted = _predictions(
                    encoder, train.subset(chosen.tolist()), masks.train_masks[torch.from_numpy(chosen)], test,
                    len(masks.classes), config, common, frozen=still, title=words,
                )  # fmt: skip
                draws.append(overlaps(predicted, masks.test_masks.numpy(), len(masks.classes)))
                if count == largest and draw == 0:
                    found.pictures[name] = predicted[masks.shown]
            found.metrics[name] = mean_iou(draws, masks.there, masks.test_groups)
            found.metrics[config.metric("pixel_accuracy", still, count)] = pixel_accuracy(draws, masks.test_groups)
            found.by_class[name] = [
                class_iou(draws, number, masks.test_groups) if there else None
                for number, there in enumerate(masks.there)
            ]
    return found


def _predictions(
    encoder: Encoder,
    items: Items,
    wanted: Tensor,
    test: Items,
    classes: int,
    config: SegmentationConfig,
    common: TrainConfig,
    *,
    frozen: bool,
    title: str,
) -> NDArray[np.uint8]:
    """Trains, and predicts all test items; ranks share both, unless there are fewer masks in a batch than ranks."""
    side = items.modality.shape[-2:]

    def of_share() -> NDArray[np.uint8]:
        model = train_segmenter(
            copy.deepcopy(encoder), items, wanted, classes, config, common, frozen=frozen, title=title
        )
        part = ranks.share(len(test))
        return predict(model, test.subset(list(part)), choose_device(common.device)).numpy()

    if min(config.batch_size, len(items)) < ranks.world():
        alone = ranks.first_does(of_share)
        return ranks.gather_rows(np.empty((0, *side), dtype=np.uint8) if alone is None else alone)
    return ranks.gather_rows(of_share())


def _largest(counts: Sequence[int | Literal["all"]]) -> int | Literal["all"]:
    return "all" if "all" in counts else max(count for count in counts if count != "all")
