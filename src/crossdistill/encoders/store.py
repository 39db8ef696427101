"""Encoders on disk: ``model.safetensors`` beside ``encoder.json`` (architecture, preprocessing, provenance)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_bytes
from torch import nn

from crossdistill.encoders.backbone import build_backbone
from crossdistill.encoders.encoder import Architecture, Encoder, weights_hash
from crossdistill.encoders.head import build_head
from crossdistill.errors import EncoderError, RunFolderError
from crossdistill.files import read_json, write_bytes, write_json
from crossdistill.modalities import parse_modality

FORMAT = 1
_DESCRIPTION = "encoder.json"
_WEIGHTS = "model.safetensors"


def save_encoder(folder: Path, encoder: Encoder, provenance: dict[str, Any]) -> None:
    """Writes an encoder; ``encoder.json`` is written last, so a folder that has it is whole."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    write_bytes(folder / _WEIGHTS, save_bytes(state))
    write_json(
        folder / _DESCRIPTION,
        {
            "format": FORMAT,
            "architecture": encoder.architecture.to_json(),
            "preprocessing": encoder.modality.model_dump(mode="json", by_alias=True),
            "provenance": {"origin": encoder.origin, "weights_hash": weights_hash(encoder), **provenance},
        },
    )


def has_encoder(folder: Path) -> bool:
    """Whether a whole encoder lies in ``folder``."""
    return (folder / _DESCRIPTION).is_file()


def describe_encoder(folder: Path) -> dict[str, Any]:
    """The content of ``encoder.json``.

    Raises:
        RunFolderError: it is missing, damaged, or of a later format than this version reads.
    """
    description: dict[str, Any] = read_json(folder / _DESCRIPTION)
    if description.get("format") != FORMAT:
        raise RunFolderError(
            "The encoder was saved in another format.",
            where=folder / _DESCRIPTION,
            expected=f"format {FORMAT}",
            received=description.get("format"),
            fix="use the version of crossdistill that wrote it",
        )
    return description


def load_encoder(folder: Path, module: nn.Module | None = None, head: nn.Module | None = None) -> Encoder:
    """Reads an encoder back, in eval mode.

    Args:
        folder: where :func:`save_encoder` wrote it.
        module: backbone of the same architecture, for encoders made from a module of the user's own.
        head: likewise, where the encoder was made with a head of the user's own.

    Raises:
        RunFolderError: files are missing or damaged.
        EncoderError: the encoder needs ``module`` or ``head`` and has not been given it, or the weights do not fit.
    """
    description = describe_encoder(folder)
    architecture = Architecture(**description["architecture"])
    modality = parse_modality(description["preprocessing"])
    if module is None:
        if architecture.backbone.startswith("python:"):
            raise EncoderError(
                "The encoder was made from a Python module, which only you can build again.",
                where=folder,
                expected=f"an instance of {architecture.backbone.removeprefix('python:')}",
                fix="pass it as an argument when you load the run from Python",
            )
        module = build_backbone(architecture.backbone, modality.shape, patch_size=architecture.patch_size)
    if head is None:
        if architecture.head.startswith("python:"):
            raise EncoderError("The encoder has a head of your own.", where=folder, fix="pass it as an argument")
        head = build_head(architecture.head, architecture.features, architecture.width)  # type: ignore[arg-type]
    encoder = Encoder(module, head, modality, architecture, origin=str(description["provenance"]["origin"]))
    try:
        encoder.load_state_dict(load_file(folder / _WEIGHTS), strict=True)
    except FileNotFoundError as error:
        raise RunFolderError("A file of the run is missing.", where=folder / _WEIGHTS, fix=_mend(folder)) from error
    except (SafetensorError, RuntimeError) as error:
        raise EncoderError(
            "The encoder's weights cannot be loaded.", where=folder / _WEIGHTS, received=str(error).splitlines()[0],
            fix=_mend(folder),
        ) from error  # fmt: skip
    if weights_hash(encoder) != description["provenance"]["weights_hash"]:
        raise RunFolderError("The encoder's weights have been changed.", where=folder / _WEIGHTS, fix=_mend(folder))
    return encoder.eval()


def _mend(folder: Path) -> str:
    return f"delete {folder}, and run the same configuration again: it makes that encoder anew; or restore a copy"
