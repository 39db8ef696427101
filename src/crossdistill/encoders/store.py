"""Encoders on disk: ``model.safetensors`` beside ``encoder.json`` (architecture, preprocessing, provenance)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_bytes
from torch import nn

from crossdistill.encoders.description import check_description, parts_of
from crossdistill.encoders.detail import around, build_network
from crossdistill.encoders.encoder import Architecture, Encoder, backbone_features, weights_hash
from crossdistill.encoders.head import build_head
from crossdistill.errors import EncoderError, RunFolderError
from crossdistill.files import read_json, write_bytes, write_json
from crossdistill.modalities import Modality

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


def forget_encoder(folder: Path) -> None:
    """Makes ``folder`` one without an encoder, before another is written there."""
    (folder / _DESCRIPTION).unlink(missing_ok=True)


def describe_encoder(folder: Path) -> dict[str, Any]:
    """The content of ``encoder.json``.

    Raises:
        RunFolderError: it is missing, damaged, or of a later format than this version reads.
    """
    found = read_json(folder / _DESCRIPTION)
    description: dict[str, Any] = found if isinstance(found, dict) else {}
    if description.get("format") != FORMAT:
        raise RunFolderError(
            "The encoder was saved in another format.",
            where=folder / _DESCRIPTION,
            expected=f"format {FORMAT}",
            received=description.get("format") if isinstance(found, dict) else f"a {type(found).__name__}",
            fix="use the version of crossdistill that wrote it",
        )
    check_description(description, folder / _DESCRIPTION, _mend(folder))
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
    architecture, modality = parts_of(description, folder / _DESCRIPTION, _mend(folder))
    _refuse_own(folder, architecture, module, head)
    try:
        _check_shapes(folder / _WEIGHTS, architecture, modality, module, head)
        if module is None:
            module = build_network(architecture, modality.shape)
        module = around(module, architecture)
        if head is None:
            head = build_head(architecture.head, architecture.features, architecture.width)  # type: ignore[arg-type]
        encoder = Encoder(module, head, modality, architecture, origin=str(description["provenance"]["origin"]))
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


def _refuse_own(folder: Path, architecture: Architecture, module: nn.Module | None, head: nn.Module | None) -> None:
    """Refuses to go on where only the user can build a part."""
    if module is None and architecture.backbone.startswith("python:"):
        raise EncoderError(
            "The encoder was made from a Python module, which only you can build again.",
            where=folder,
            expected=f"an instance of {architecture.backbone.removeprefix('python:')}",
            fix="pass it as an argument when you load the run from Python",
        )
    if head is None and architecture.head.startswith("python:"):
        raise EncoderError("The encoder has a head of your own.", where=folder, fix="pass it as an argument")


def _check_shapes(
    weights: Path, architecture: Architecture, modality: Modality, module: nn.Module | None, head: nn.Module | None
) -> None:
    """Compares what the description promises with what the file of weights says of itself, before memory is taken.

    Raises:
        EncoderError: they differ.
    """
    with safe_open(weights, framework="pt") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # no mapping
    wanted: dict[str, tuple[int, ...]] = {"offset": (architecture.width,)}
    with torch.device("meta"):
        if head is None:
            made = build_head(architecture.head, architecture.features, architecture.width)  # type: ignore[arg-type]
            wanted |= _shapes("head", made)
        features = architecture.features
        if module is None:
            try:
                backbone = build_network(architecture, modality.shape)
                wanted |= _shapes("backbone", backbone)
                with torch.no_grad():
                    items = torch.empty(2, *modality.shape)
                    features = backbone_features(backbone.eval(), items, architecture.backbone).shape[1]
            except Exception:  # a network that needs memory to be built, or has a fault that its building will tell
                features = architecture.features
    for name, shape in wanted.items():
        if stored.get(name) != shape:
            raise _unfit(weights, f"{name} of shape {shape}", f"shape {stored[name]}" if name in stored else "none")
    if features != architecture.features:
        raise _unfit(weights, f"a backbone of {architecture.features} features", f"one of {features}")


def _unfit(weights: Path, expected: str, received: str) -> EncoderError:
    return EncoderError(
        "The encoder's weights do not fit its description.", where=weights, expected=expected, received=received,
        fix=_mend(weights.parent),
    )  # fmt: skip


def _shapes(prefix: str, module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{name}": tuple(value.shape) for name, value in module.state_dict().items()}


def _mend(folder: Path) -> str:
    return f"delete {folder}, and run the same configuration again: it makes that encoder anew; or restore a copy"
