"""A published folder: a run's encoders alone, in the layout of the Hugging Face Hub (docs/hub.md), to be read here.

It may come from anybody. So its names are checked before a file is opened, and only safetensors and JSON are read.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from crossdistill.encoders import has_encoder
from crossdistill.errors import EncoderError, RunFolderError
from crossdistill.files import read_json
from crossdistill.pairs import Side

INDEX = "crossdistill.json"
FORMAT = 1
SIDES: dict[Side, str] = {"target": "student", "source": "teacher"}
"""Where the encoder of each side lies: the same names as in a run folder."""


def is_published(folder: Path) -> bool:
    """Whether a whole published folder lies there."""
    return (folder / INDEX).is_file()


def read_index(folder: Path) -> dict[str, Any]:
    """The content of ``crossdistill.json``: the encoders, and what is known of the run they come from.

    Raises:
        RunFolderError: it is missing, damaged, of another format, or names anything outside of the folder.
        EncoderError: an encoder is missing, or is kept in another form than safetensors.
    """
    index = read_json(folder / INDEX)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise RunFolderError(
            "The published model is of another format.", where=folder / INDEX, expected=f"format {FORMAT}",
            received=index.get("format") if isinstance(index, dict) else type(index).__name__,
            fix="use the version of crossdistill that wrote it",
        )  # fmt: skip
    named = index.get("encoders")
    if not isinstance(named, dict) or "target" not in named:
        raise RunFolderError("The published model names no student.", where=folder / INDEX, expected="encoders.target")
    for side, name in named.items():
        _check_name(folder, side, name)
        _check_encoder(folder / name)
    return index


def _check_name(folder: Path, side: Any, name: Any) -> None:
    """Refuses whatever is not the one name that this side may have, so that no name can lead out of the folder."""
    if side not in SIDES or name != SIDES[side]:
        parts = PurePosixPath(name).parts if isinstance(name, str) else ()
        outside = ".." in parts or (isinstance(name, str) and (name.startswith(("/", "\\")) or ":" in name))
        raise RunFolderError(
            "The published model names a place outside of its folder." if outside
            else "The published model names an unknown encoder.",
            where=folder / INDEX, expected=", ".join(f"{key}: {value}" for key, value in SIDES.items()),
            received=f"{side}: {name}",
            fix="do not use this model: crossdistill writes no such name" if outside else None,
        )  # fmt: skip


def _check_encoder(place: Path) -> None:
    if has_encoder(place) and (place / "model.safetensors").is_file():
        return
    others = sorted(path.name for path in place.iterdir() if path.suffix != ".json") if place.is_dir() else []
    raise EncoderError(
        "The published model lacks an encoder, or keeps its weights in a form that is not read.",
        where=place, expected="encoder.json and model.safetensors",
        received=f"other files: {', '.join(others[:5])}" if others else "neither",
        fix="fetch it again; weights in pickled files (.bin, .pt, .pth) are not read, as they may hold code",
    )  # fmt: skip
