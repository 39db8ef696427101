"""The example that lies beside an export of the weights alone: the encoder built by hand, with timm."""

from __future__ import annotations

from crossdistill.deploy.entry import is_built_in
from crossdistill.deploy.tensors import BACKBONE, HEAD, is_timm, timm_options
from crossdistill.encoders import Encoder
from crossdistill.modalities.image import Image
from crossdistill.modalities.sketch import Sketch
from crossdistill.modalities.video import Video

_TIMM = '''"""Finds the nearest decoded items with timm: python example.py QUERY.npy FILE.npy ...

Takes NPY files of decoded items {shape}, {kind}: what "outside" in export.json leads to.
"""

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


def read(path):
    if not path.endswith(".npy"):
        raise SystemExit(f"{{path}}: this takes NPY files of decoded items, see 'outside' in export.json")
    decoded = np.load(path)
    if decoded.shape != {shape} or not ({right}):
        raise SystemExit(f"{{path}}: this takes decoded items {shape}, {kind}, not {{decoded.dtype}} {{decoded.shape}}")
    return torch.from_numpy(decoded)


def embed(decoded):  # (B, *{shape})
    pictures = (decoded.float(){scale} - mean) / std
    features = {features}
{steps}
    return torch.nn.functional.normalize(found - head["offset"], dim=1)


with torch.no_grad():
    vectors = torch.cat([embed(read(path)[None]) for path in sys.argv[1:]]).numpy()
for score, path in sorted(zip(vectors[1:] @ vectors[0], sys.argv[2:]), reverse=True)[:10]:
    print(f"{{score:.3f}}  {{path}}")
'''

_OURS = '''"""Finds the nearest decoded items: python example.py QUERY.npy FILE.npy ...

Needs crossdistill{needs} (pip install crossdistill).
Takes NPY files of decoded items {shape}: what `modality.decode(item)` gives.
"""

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
    print(f"{{score:.3f}}  {{path}}")
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
    if not is_timm(encoder) or not is_built_in(modality):
        # What a modality of somebody's own does to decoded items, its scale among it, is known to its code alone.
        needs = "" if is_built_in(modality) else f", and the package of the modality {modality.modality}"
        return _OURS.format(needs=needs, shape=modality.shape)
    defaults = modality.as_defaults()
    compact = type(modality) in (Image, Sketch, Video)
    clips = len(modality.shape) == 4
    features = f"backbone(pictures.flatten(0, 1)).unflatten(0, (-1, {modality.shape[0]})).mean(dim=1)"
    return _TIMM.format(
        name=architecture.backbone, backbone=BACKBONE, head=HEAD,
        options=", ".join(f"{name}={value!r}" for name, value in timm_options(encoder).items()),
        mean=list(defaults.mean), std=list(defaults.std), shape=modality.shape, scale=" / 255" if compact else "",
        kind="of 8 bits" if compact else "floating-point numbers",
        right="decoded.dtype == np.uint8" if compact else 'decoded.dtype.kind == "f"',
        features=features if clips else "backbone(pictures)", steps=_HEADS[architecture.head],
    )  # fmt: skip
