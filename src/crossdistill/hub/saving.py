"""``save_pretrained``: a model as a folder in the layout of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossdistill.console import warn
from crossdistill.encoders import Encoder, describe_encoder, has_encoder, save_encoder
from crossdistill.errors import RunFolderError
from crossdistill.files import storage_errors, write_json, write_text
from crossdistill.hub.card import CARD, Subject, write_card
from crossdistill.hub.facts import facts_of
from crossdistill.hub.timm_form import write_timm_form
from crossdistill.pairs import Side
from crossdistill.pipeline import CrossModalModel
from crossdistill.pipeline.published import FORMAT, INDEX, SIDES, is_published, read_index


def save_pretrained(
    model: CrossModalModel,
    folder: str | Path,
    *,
    licence: str | None = None,
    repository: str | None = None,
    teacher: bool = True,
) -> Path:
    """Writes encoders and model card; :func:`crossdistill.from_pretrained` and timm read them back.

    Args:
        model: of a run, or one that was published before.
        folder: a new or empty one, or an earlier published model, which is replaced. A card that was changed by hand
            since is kept.
        licence: of the weights, such as ``apache-2.0``; for the card.
        repository: ``NAME/MODEL`` that it is meant for; for the card's examples.
        teacher: whether the teacher goes along, so that source items can be embedded too.

    Returns:
        The folder.

    Raises:
        RunFolderError: the folder holds something else.
        StorageError: it cannot be written.
    """
    place = Path(folder).expanduser()
    facts = facts_of(model.folder)
    kept_card = _claim(place, model)
    encoders: dict[Side, Encoder] = {"target": model.encoder("target")}
    if teacher and model.has("source"):
        encoders["source"] = model.encoder("source")
    provenance = {side: _provenance(model, side) for side in encoders}
    # Last of all comes the index, so that a folder that has one is whole; an earlier one goes first.
    (place / INDEX).unlink(missing_ok=True)
    for side, name in SIDES.items():
        if side in encoders:
            save_encoder(place / name, encoders[side], provenance[side])
        else:
            _forget(place / name)
    in_timm = write_timm_form(place, encoders["target"])
    if licence is None:
        warn(f"no licence is given, so {CARD} says that it is unknown, and nobody may use the weights (--licence)")
    subject = Subject(encoders, facts, licence, repository, place.resolve().name, in_timm)
    if kept_card is None:
        text = write_card(subject)
        write_text(place / CARD, text)
        digest = _digest(text)
    else:
        warn(f"{place / CARD} was changed by hand, so it is kept; delete it to have it written anew")
        digest = kept_card
    index: dict[str, Any] = {
        "format": FORMAT,
        "crossdistill": version("crossdistill"),
        "encoders": {side: SIDES[side] for side in encoders},
        "width": encoders["target"].width,
        "licence": licence,
        "timm": in_timm,
        "card": digest,
        **facts.to_json(),
    }
    write_json(place / INDEX, index)
    return place


def _claim(place: Path, model: CrossModalModel) -> str | None:
    """Makes the folder; the recorded hash of its card, where that was changed by hand since.

    Raises:
        RunFolderError: the folder holds something else, or the model itself.
    """
    if is_published(place):
        if place.resolve() == model.folder.root.resolve():
            raise RunFolderError("A model cannot be published over itself.", where=place, fix="choose another folder")
        recorded = read_index(place).get("card")
        card = place / CARD
        if recorded is not None and card.is_file() and _digest(card.read_text(encoding="utf-8")) != recorded:
            return str(recorded)
        return None
    if place.exists() and (not place.is_dir() or any(map(_is_foreign, place.iterdir()))):
        raise RunFolderError(
            "The output folder holds something else.", where=place,
            expected="a new or empty folder, or an earlier published model", fix="choose another folder",
        )  # fmt: skip
    with storage_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    return None


def _is_foreign(path: Path) -> bool:
    """Whether something in a folder without an index is more than what a killed writing left."""
    ours = {CARD, "config.json", "model.safetensors", *SIDES.values()}
    return path.name not in ours and not path.match(".*.part")


def _provenance(model: CrossModalModel, side: Side) -> dict[str, Any]:
    """What the encoder's folder says of how it was made; nothing for one that was made in memory."""
    kept = model.folder.root / SIDES[side]
    if not has_encoder(kept):
        return {}
    found: dict[str, Any] = describe_encoder(kept)["provenance"]
    return {key: value for key, value in found.items() if key not in ("origin", "weights_hash")}


def _forget(place: Path) -> None:
    """Removes the encoder of an earlier model."""
    for name in ("encoder.json", "model.safetensors"):
        (place / name).unlink(missing_ok=True)
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
