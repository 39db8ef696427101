"""``encoder.json``, checked before anything is built of it: an encoder may come from anybody, or be damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from crossdistill.encoders.encoder import Architecture
from crossdistill.errors import ConfigError, RunFolderError
from crossdistill.modalities import Modality, parse_modality
from crossdistill.validation import validated

_WIDEST = 1 << 17  # of features and embeddings: far beyond any network's, and far below what fills a memory
_Width = Annotated[int, Field(ge=1, le=_WIDEST, strict=True)]


class _Architecture(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str = Field(min_length=1, max_length=500)
    features: _Width
    head: str = Field(pattern=r"^(none|linear|mlp|python:.{1,500})$")
    width: _Width
    patch_size: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = None
    detail_level: Annotated[int, Field(ge=0, le=4096, strict=True)] | None = None
    detail_grid: Annotated[int, Field(ge=1, le=16, strict=True)] | None = None
    detail_channels: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = None


class _Provenance(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    origin: str
    weights_hash: str


class _Description(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    architecture: _Architecture
    preprocessing: dict[str, Any]
    provenance: _Provenance


def check_description(content: dict[str, Any], where: Path, fix: str) -> None:
    """Refuses what cannot be the description of an encoder.

    Raises:
        RunFolderError: a part is missing, unknown, of another kind or beyond any bound.
    """
    try:
        validated(_Description, content)
    except ConfigError as error:
        raise _damaged(error, where, fix) from error


def parts_of(content: dict[str, Any], where: Path, fix: str) -> tuple[Architecture, Modality]:
    """Architecture and preprocessing of a checked description.

    Raises:
        RunFolderError: the preprocessing is wrong, or leaves its size open.
        ConfigError: it is of a modality that nobody here knows.
    """
    section = content["preprocessing"]
    try:
        modality = parse_modality(section, "preprocessing")
    except ConfigError as error:
        if error.problem.startswith("Unknown modality"):  # a package that is missing, and no damage
            raise
        raise _damaged(error, where, fix) from error
    try:
        modality.shape  # noqa: B018  # raises while the size is open
    except ValueError as error:
        raise RunFolderError(
            "The encoder's description is damaged.", where=f"{where}: preprocessing", received=error, fix=fix
        ) from error
    return Architecture(**content["architecture"]), modality


def _damaged(error: ConfigError, where: Path, fix: str) -> RunFolderError:
    details = error.details
    received = details.get("received")
    if error.problem == "Unknown key.":
        received = f"the unknown key {received}"
    return RunFolderError(
        "The encoder's description is damaged.", where=f"{where}: {details.get('where', '')}",
        expected=details.get("expected"), received=received, fix=fix,
    )  # fmt: skip
