"""Whether masks can be used, found out before anything long begins."""

from __future__ import annotations

from crossdistill.evaluation.segmentation_config import SegmentationConfig
from crossdistill.modalities import Modality
from crossdistill.pairs import Pairs
from crossdistill.segmentation.classes import Classes, find_classes
from crossdistill.segmentation.heads import check_installed
from crossdistill.segmentation.masks import MaskReader, masked_rows, names_beside, numbers_in_masks


def check_masks(
    pairs: Pairs, modality: Modality, config: SegmentationConfig, *, workers: int = 0, patience: float = 300.0
) -> Classes:
    """Reads every mask once, beside its target, and says what the numbers in them mean.

    Args:
        pairs: with masks in the training and test splits.
        modality: of the target; its size may be open.
        config: the ``evaluate.segmentation`` section.
        workers: processes that read.
        patience: seconds after which reading one item is given up.

    Raises:
        PairsError: a mask cannot be read, has other proportions than its target, or a number that is no class; row and
            file are named.
        ConfigError: there are fewer than two classes.
        MissingDependencyError: the decoder needs a package that is not installed.
    """
    check_installed(config.head)
    rows = [row for split in ("train", "test") for row in masked_rows(pairs, split)]
    seen = numbers_in_masks(MaskReader(pairs, rows, modality, None, patience), workers)
    classes = find_classes(config, names_beside(pairs, rows), seen)
    for number, row in sorted(seen.items()):
        if number not in classes.numbers and number not in classes.ignore:
            raise classes.unknown(number, f"{pairs[row].where}, column mask: {pairs[row].mask}")
    return classes
