"""Banks that are not used (another teacher's, stale ones, older formats), and values that a bank cannot hold."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossdistill.bank.description import Description, differences
from crossdistill.bank.layout import Dtype, Layout
from crossdistill.bank.packed import Place
from crossdistill.encoders import Teacher
from crossdistill.encoders.encoder import weights_hash
from crossdistill.errors import RunFolderError, TrainingError
from crossdistill.item import Item

_FIRST_FORMAT = "bank.json"


def about_teacher(teacher: Teacher) -> dict[str, Any]:
    """What a bank tells of its teacher."""
    encoder = teacher.encoder
    return {
        "teacher": {**encoder.architecture.to_json(), "weights": weights_hash(encoder)},
        "origin": encoder.origin,
        "preprocessing": encoder.modality.model_dump(mode="json", by_alias=True, exclude={"augment_with"}),
    }


def refuse_other(place: Place, old: Description, key: str, about: dict[str, Any], dtype: Dtype) -> None:
    """Refuses a bank of another teacher, preprocessing or type.

    Raises:
        RunFolderError: it is one.
    """
    if old.key != key:
        told = {name: differences(old.about.get(name), about[name], name) for name in ("teacher", "preprocessing")}
        what = "preprocessing" if told["preprocessing"] and not told["teacher"] else "teacher"
        changed = "; ".join(told["teacher"] + told["preprocessing"])
        raise RunFolderError(
            f"The teacher bank is stale: it was made by another {what}.", where=place.folder,
            expected=f"fingerprint {old.key[:12]} ({old.about.get('origin')})",
            received=f"fingerprint {key[:12]} ({about['origin']}){': ' if changed else ''}{changed}",
            fix=f"put it back, choose another folder, or make the bank anew: {place.rebuild}",
        )  # fmt: skip
    if old.dtype != dtype:
        raise RunFolderError(
            "The teacher bank is of another type.", where=place.folder, expected=f"bank.dtype={old.dtype}",
            received=dtype, fix=f"choose another folder, or make the bank anew: {place.rebuild}",
        )  # fmt: skip


def refuse_first_format(folder: Path) -> None:
    """Refuses a bank that a version before 0.3 wrote.

    Raises:
        RunFolderError: it is one.
    """
    place = Place(folder, "embeddings")
    if (folder / _FIRST_FORMAT).is_file() and not place.description.is_file():
        raise RunFolderError(
            "The bank is in another format.", where=folder / _FIRST_FORMAT, expected="format 2", received="format 1",
            fix=f"make it anew: rm -r {shlex.quote(str(folder))} && {place.build}",
        )  # fmt: skip


def lacking_items(place: Place, count: int, of: int, first: Item) -> RunFolderError:
    """The error about a bank that has not all items asked for; ``first`` is one that is missing."""
    return RunFolderError(
        "The teacher bank is stale: it lacks items.", where=place.folder, expected=f"all of {of} items",
        received=f"{count} are missing, the first is {first}", fix=f"add them: {place.build}",
    )  # fmt: skip


def check_values(embedded: Tensor, layout: Layout, files: Sequence[Item], fix: str) -> None:
    """Refuses embeddings ``(n, d)`` that are not finite or not within the type, of ``files``.

    Raises:
        TrainingError: there are some.
    """
    infinite = ~torch.isfinite(embedded).all(dim=1)
    if bool(infinite.any()):
        raise TrainingError(
            "The teacher gives values that are not finite.", where=files[int(infinite.nonzero()[0])],
            fix=f"check the teacher's weights; {fix}",
        )  # fmt: skip
    large = layout.overflows(embedded)
    if bool(large.any()):
        row = int(large.nonzero()[0])
        raise TrainingError(
            f"The teacher gives values that {layout.dtype} cannot hold.", where=files[row],
            expected=f"at most {torch.finfo(getattr(torch, layout.dtype)).max:g}",
            received=f"{float(embedded[row].abs().max()):g}",
            fix="set bank.dtype to bfloat16 or float32",
        )  # fmt: skip
