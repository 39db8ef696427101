"""The example that lies beside an export of the weights alone: the encoder built by hand, with timm."""

from __future__ import annotations

from crossdistill.deploy.tensors import BACKBONE, HEAD, is_timm, timm_options
from crossdistill.encoders import Encoder

_TIMM = '''"""Finds the nearest decoded items with timm: python example.py QUERY.npy FILE.npy ..."""

import sys
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file

folder = Path(__file__).parent
backbone = timm.create_model("{name}", checkpoint_path=str(folder / "{backbone}"), {options}).eval()
head = load_file(folder / "{head}")
mean, std = (torch.tensor(each).view(-1, 1, 1) for each in ({mean}, {std}))


def embed(decoded):  # (B, {shape}), what "outside" in export.json leads to
    pictures = (decoded.float(){scale} - mean) / std
    features = {features}
{steps}
    return torch.nn.functional.normalize(found - head["offset"], dim=1)


with torch.no_grad():
    vectors = torch.cat([embed(torch.from_numpy(np.load(path))[None]) for path in sys.argv[1:]]).numpy()
for score, path in sorted(zip(vectors[1:] @ vectors[0], sys.argv[2:]), reverse=True)[:10]:
    print(f"{{score:.3f}}  {{path}}")
'''

_OURS = '''"""Finds the nearest decoded items: python example.py QUERY.npy FILE.npy ...   (pip install crossdistill)"""

import sys
from pathlib import Path

import numpy as np
import torch

from crossdistill.encoders import load_encoder

encoder = load_encoder(Path(__file__).parent)
with torch.no_grad():
    items = [torch.from_numpy(np.load(path))[None] for path in sys.argv[1:]]
    found = torch.cat([encoder(encoder.modality.normalise(item)) for item in items])
vectors = torch.nn.functional.normalize(found, dim=1).numpy()
for score, path in sorted(zip(vectors[1:] @ vectors[0], sys.argv[2:]), reverse=True)[:10]:
    print(f"{score:.3f}  {path}")
'''

_HEADS = {
    "none": "    found = features",
    "linear": '    found = features @ head["weight"].T + head["bias"]',
    "mlp": '    hidden = features @ head["0.weight"].T\n'
    '    hidden = (hidden - head["1.running_mean"]) / (head["1.running_var"] + 1e-5).sqrt()\n'
    '    hidden = (hidden * head["1.weight"] + head["1.bias"]).relu()\n'
    '    found = hidden @ head["3.weight"].T + head["3.bias"]',
}


def tensors_example(encoder: Encoder) -> str | None:
    """The program; None for a module of the user's own, which only the user can build."""
    architecture, modality = encoder.architecture, encoder.modality
    if architecture.backbone.startswith("python:") or architecture.head not in _HEADS:
        return None
    if not is_timm(encoder):
        return _OURS
    defaults = modality.as_defaults()
    clips = len(modality.shape) == 4
    features = f"backbone(pictures.flatten(0, 1)).unflatten(0, (-1, {modality.shape[0]})).mean(dim=1)"
    return _TIMM.format(
        name=architecture.backbone, backbone=BACKBONE, head=HEAD,
        options=", ".join(f"{name}={value!r}" for name, value in timm_options(encoder).items()),
        mean=list(defaults.mean), std=list(defaults.std), shape=", ".join(map(str, modality.shape)),
        scale=" / 255" if modality.modality in ("image", "sketch", "video") else "",
        features=features if clips else "backbone(pictures)", steps=_HEADS[architecture.head],
    )  # fmt: skip
