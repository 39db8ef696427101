"""Whether the pairs can bear what a configuration asks of them, found out before anything long begins."""

from __future__ import annotations

from crossdistill.errors import PairsError
from crossdistill.evaluation.config import LABELLED, EvaluateConfig
from crossdistill.pairs import Pairs, Split
from crossdistill.pairs.table import smallest_classes

_NAMES = f"{', '.join(LABELLED[:-1])} and {LABELLED[-1]}"


def applicable(pairs: Pairs, config: EvaluateConfig) -> tuple[EvaluateConfig, dict[str, str]]:
    """The configuration without what needs labels when there are none, and the reason for each protocol left out.

    Raises:
        PairsError: there are labels, but a class is too small for the shots, or is in the test split alone, or there
            is only one; or retrieval has no test pairs; or there are masks, but fewer than are asked for.
    """
    if "segmentation" in config.protocols and not any(pair.mask is not None for pair in pairs):
        protocols = [protocol for protocol in config.protocols if protocol != "segmentation"]
        kept, left_out = applicable(pairs, config.model_copy(update={"protocols": protocols}))
        return kept, {"segmentation": "the pairs have no masks", **left_out}
    if "segmentation" in config.protocols:
        _check_mask_counts(pairs, config)
    if "retrieval" in config.protocols:
        pairs.require("test", ("source", "target"), "retrieval")
    if not pairs.classes:
        reason = "the pairs have no labels"
        left_out = {protocol: reason for protocol in config.protocols if protocol in LABELLED}
        kept_protocols = [protocol for protocol in config.protocols if protocol not in LABELLED]
        # Without labels there is nothing to train or probe on, so two controls have nothing to show; masks are labels.
        idle = {"teacher_on_source"} if "segmentation" in kept_protocols else {"supervised", "teacher_on_source"}
        controls = [control for control in config.controls if control not in idle]
        return config.model_copy(update={"protocols": kept_protocols, "controls": controls}), left_out
    if not set(config.protocols) & set(LABELLED):
        return config, {}
    if len(pairs.classes) < 2:
        raise PairsError(
            "There is only one class.",
            where=pairs.name,
            received=pairs.classes[0],
            fix=f"label at least two classes, or leave {_NAMES} out of evaluate.protocols",
        )
    _check_classes(pairs, config)
    return config, {}


def _check_mask_counts(pairs: Pairs, config: EvaluateConfig) -> None:
    counts = [count for count in config.segmentation.masks if count != "all"]
    wanted: tuple[tuple[Split, int], ...] = (("train", max(counts, default=2)), ("test", 1))
    for split, least in wanted:
        found = sum(pairs[row].mask is not None for row in pairs.where(split, has=("target",)))
        if found < least:
            raise PairsError(
                f"The split '{split}' has too few masks.", where=pairs.name,
                expected=f"{least} target items with a mask or more", received=found,
                fix="add masks, lower evaluate.segmentation.masks, or leave segmentation out of evaluate.protocols",
            )  # fmt: skip


def _all_shots(config: EvaluateConfig) -> list[int]:
    """Labels a class of everything that is trained on few."""
    few = bool({"linear", "both"} & set(config.protocols))
    scratch = "supervised" in config.controls and config.supervised_shots
    fine_tune = config.fine_tune.shots if "fine_tune" in config.protocols else []
    return [*(config.shots if few or scratch else []), *fine_tune]


def _check_classes(pairs: Pairs, config: EvaluateConfig) -> None:
    for split in ("train", "test"):
        if not pairs.where(split, has=("target",), labelled=True):
            raise PairsError(
                f"The split '{split}' has no labelled target item.",
                where=pairs.name,
                fix=f"label some of its rows, or leave {_NAMES} out of evaluate.protocols",
            )
    across = [name for name in ("zero_shot", "both") if name in config.protocols]
    if across and not pairs.where("train", has=("source",), labelled=True):
        raise PairsError(
            f"{' and '.join(across)} need labelled source items in the training split.",
            where=pairs.name,
            fix=f"label some, or leave {' and '.join(across)} out of evaluate.protocols",
        )
    train = pairs.where("train", has=("target",), labelled=True)
    shots = max(_all_shots(config), default=1)
    small = [(name, size) for name, size in smallest_classes(pairs, train, count=len(pairs.classes)) if size < shots]
    if small:
        shown = ", ".join(f"{name} ({size})" for name, size in small[:5]) + (", ..." if len(small) > 5 else "")
        raise PairsError(
            "A class is too small for the shots." if shots > 1 else "A class has no labelled training item.",
            where=f"{pairs.name}, training split",
            expected=f"at least {shots} labelled target items of each class",
            received=f"{len(small)} of {len(pairs.classes)} classes have fewer: {shown}",
            fix="lower evaluate.shots (and evaluate.fine_tune.shots), or drop the labels of these classes"
            if shots > 1
            else "drop its labels",
        )
