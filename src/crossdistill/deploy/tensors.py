"""The weights alone, as safetensors: whole for crossdistill, and in parts for timm and for anything else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from crossdistill.encoders import Encoder, save_encoder
from crossdistill.encoders.vector_backbone import takes_vectors
from crossdistill.files import write_bytes

BACKBONE, HEAD = "backbone.safetensors", "head.safetensors"


def save_tensors(folder: Path, encoder: Encoder, provenance: dict[str, Any]) -> None:
    """Writes an encoder's folder (``encoder.json``, ``model.safetensors``) and its parts beside it.

    ``backbone.safetensors`` has the backbone's own names, which are timm's where it is one of timm's;
    ``head.safetensors`` the head's and ``offset``, which is subtracted after it.
    """
    save_encoder(folder, encoder, provenance)
    write_bytes(folder / BACKBONE, save_bytes(_state(encoder.backbone)))
    write_bytes(folder / HEAD, save_bytes({**_state(encoder.head), "offset": encoder.offset.detach().cpu()}))


def from_parts(folder: Path, encoder: Encoder) -> Encoder:
    """An encoder of the same architecture with the weights of the written parts: what anybody else would build."""
    head = load_file(folder / HEAD)
    offset = head.pop("offset")
    projection = _emptied(encoder.head)
    projection.load_state_dict(head, strict=True)
    built = Encoder(_backbone_from(folder, encoder), projection, encoder.modality, encoder.architecture, encoder.origin)
    built.offset.copy_(offset)
    return built.eval()


def is_timm(encoder: Encoder) -> bool:
    """Whether timm alone can build the backbone: it knows nothing of detail."""
    name = encoder.architecture.backbone
    return not name.startswith("python:") and not takes_vectors(name) and encoder.architecture.detail_level is None


def timm_options(encoder: Encoder) -> dict[str, Any]:
    """What ``timm.create_model`` has to be told beside the name for the weights to fit."""
    import timm

    shape = encoder.modality.shape
    config = timm.get_pretrained_cfg(encoder.architecture.backbone)
    options: dict[str, Any] = {"num_classes": 0, "in_chans": shape[-3]}
    if config is not None and config.fixed_input_size:
        options["img_size"] = shape[-1] if shape[-1] == shape[-2] else list(shape[-2:])
    if encoder.architecture.patch_size is not None:
        options["patch_size"] = encoder.architecture.patch_size
    return options


def _backbone_from(folder: Path, encoder: Encoder) -> nn.Module:
    if is_timm(encoder):
        import timm

        made: nn.Module = timm.create_model(
            encoder.architecture.backbone, pretrained=False, checkpoint_path=str(folder / BACKBONE),
            **timm_options(encoder),
        )  # fmt: skip
        return made
    backbone = _emptied(encoder.backbone)
    backbone.load_state_dict(load_file(folder / BACKBONE), strict=True)
    return backbone


def _emptied(module: nn.Module) -> nn.Module:
    """A copy without its weights, so that what is not loaded shows."""
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            tensor.zero_()
    return twin


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
