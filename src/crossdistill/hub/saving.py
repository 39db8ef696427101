"""``save_pretrained``: a model as a folder in the layout of the Hugging Face Hub."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossdistill.console import warn
from crossdistill.encoders import Encoder, describe_encoder, has_encoder, save_encoder
from crossdistill.files import write_json, write_text
from crossdistill.hub.card import CARD, Subject, write_card
from crossdistill.hub.claiming import Claim
from crossdistill.hub.facts import facts_of
from crossdistill.hub.timm_form import write_timm_form
from crossdistill.pairs import Side
from crossdistill.pipeline import CrossModalModel
from crossdistill.pipeline.published import FORMAT, INDEX, SIDES


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
            since is kept, also where an earlier writing was killed.
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
    facts = facts_of(model.folder) if model.facts is None else model.facts
    encoders: dict[Side, Encoder] = {"target": model.encoder("target")}
    if teacher and model.has("source"):
        encoders["source"] = model.encoder("source")
    provenance = {side: _provenance(model, side) for side in encoders}
    claim = Claim(place, model.folder.root)
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
    if claim.keeps_card:
        warn(f"{place / CARD} was changed by hand, so it is kept; delete it to have it written anew")
        digest = claim.earlier_card
    else:
        text = write_card(subject)
        digest = claim.expect_card(text)
        write_text(place / CARD, text)
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
    claim.done()
    return place


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
