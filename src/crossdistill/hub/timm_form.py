"""The student's backbone in timm's own layout, so that ``timm.create_model("hf-hub:NAME/MODEL")`` takes it.

timm reads ``config.json`` and ``model.safetensors`` at the root of a repository; our own files lie beside them.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save as save_bytes

from crossdistill.console import warn
from crossdistill.encoders import Encoder, plain_backbone
from crossdistill.encoders.vector_backbone import takes_vectors
from crossdistill.files import write_bytes, write_json
from crossdistill.modalities import Modality

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# timm's fields of the weights that it publishes under the same name; these are others.
_OF_OTHERS = ("tag", "license", "origin_url", "paper_ids", "paper_name", "notes", "description")
_CROP_MODES = {"crop": "center", "pad": "border", "squash": "squash"}


def has_timm_form(encoder: Encoder) -> bool:
    """Whether the encoder's backbone is one of timm's."""
    name = encoder.architecture.backbone
    return not name.startswith("python:") and not takes_vectors(name)


def write_timm_form(folder: Path, encoder: Encoder) -> bool:
    """Writes ``config.json`` and ``model.safetensors``, and reads them back with timm; False where timm cannot.

    A backbone that is not timm's gets a ``config.json`` that says so, as the Hub counts downloads by that file.
    """
    if not has_timm_form(encoder):
        (folder / WEIGHTS).unlink(missing_ok=True)
        name, width = encoder.architecture.backbone, encoder.architecture.features
        write_json(folder / CONFIG, {"library_name": "crossdistill", "architecture": name, "num_features": width})
        return False
    with tempfile.TemporaryDirectory() as name:
        trial = Path(name)
        (trial / CONFIG).write_text(json.dumps(_config(encoder, trial)), encoding="utf-8")
        plain = plain_backbone(encoder)
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in plain.state_dict().items()}
        (trial / WEIGHTS).write_bytes(save_bytes(state))
        problem = _disagreement(trial, encoder)
        if problem is not None:
            warn(f"timm cannot load the student by itself, so its form for timm is left out: {problem}")
            (folder / WEIGHTS).unlink(missing_ok=True)
            (folder / CONFIG).unlink(missing_ok=True)
            return False
        write_json(folder / CONFIG, json.loads((trial / CONFIG).read_text(encoding="utf-8")))
        write_bytes(folder / WEIGHTS, (trial / WEIGHTS).read_bytes())
    return True


def _config(encoder: Encoder, trial: Path) -> dict[str, Any]:
    """timm's description of the backbone, with our preprocessing instead of that of its published weights."""
    from timm.models._hub import save_config_for_hf

    shape = encoder.modality.shape[-3:]
    arguments: dict[str, Any] = {"in_chans": shape[0]}
    if getattr(plain_backbone(encoder), "pretrained_cfg", {}).get("fixed_input_size"):
        arguments["img_size"] = list(shape[1:])
    if encoder.architecture.patch_size is not None:
        arguments["patch_size"] = encoder.architecture.patch_size
    save_config_for_hf(
        plain_backbone(encoder), str(trial / CONFIG), model_args=arguments,
        model_config={"pretrained_cfg": {"input_size": shape, **_preprocessing(encoder.modality, shape[0])}},
    )  # fmt: skip
    written: dict[str, Any] = json.loads((trial / CONFIG).read_text(encoding="utf-8"))
    described = written["pretrained_cfg"]
    for key in [*_OF_OTHERS, *(key for key in described if key.startswith("test_"))]:
        described.pop(key, None)
    return written


def _preprocessing(modality: Modality, channels: int) -> dict[str, Any]:
    """What timm's own transforms need; only for pictures does it say everything."""
    try:
        known = modality.as_defaults()
    except ValueError:  # this modality normalises in a way of its own
        return {"crop_pct": 1.0}
    mean, std = known.statistics(channels)
    fit = _CROP_MODES.get(str(getattr(modality, "fit", "")), "squash")
    return {"mean": mean, "std": std, "interpolation": known.interpolation, "crop_pct": 1.0, "crop_mode": fit}


def _disagreement(trial: Path, encoder: Encoder) -> str | None:
    """Why timm's own loader does not give the same features from these files, or None where it does."""
    # Another layout in memory, as training leaves it, or another device rounds differently.
    backbone = copy.deepcopy(plain_backbone(encoder)).cpu().to(memory_format=torch.contiguous_format).eval()
    items = torch.randn(2, *encoder.modality.shape[-3:], generator=torch.Generator().manual_seed(0))
    try:
        loaded = timm.create_model(f"local-dir:{trial}", pretrained=True).eval()
        with torch.no_grad():
            same = torch.equal(loaded(items), backbone(items))
    except Exception as error:  # timm raises many kinds, and earlier versions know no folders
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None if same else "the features differ"
