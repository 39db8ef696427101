"""What is exported: entry, normalisation, backbone, head and offset as one module that ends in unit vectors."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from crossdistill.deploy.entry import Entry
from crossdistill.encoders import Encoder

OUTPUT = "embedding"


def at_rest(encoder: Encoder) -> Encoder:
    """A copy to compute with: in float32 on the CPU, whatever the original does meanwhile."""
    return copy.deepcopy(encoder).to("cpu").float().eval().requires_grad_(False)


class Deployed(nn.Module):
    """An encoder with the steps before and after it: the input of an entry to unit vectors ``(B, d)`` in float32."""

    def __init__(self, entry: Entry, encoder: Encoder) -> None:
        super().__init__()
        self.entry, self.encoder = entry, encoder
        self.eval()

    def forward(self, items: Tensor) -> Tensor:
        """``(B, ...)`` to ``(B, d)``, of length one."""
        encoder = self.encoder
        inputs = encoder.modality.normalise(self.entry(items))
        if inputs.ndim == 5 and not encoder.architecture.backbone.startswith("python:"):
            # As `backbone_features` does, with the frames of all clips at once: the graph holds the network once.
            frames: Tensor = encoder.backbone(inputs.flatten(0, 1))
            features = torch.unflatten(frames, 0, (-1, inputs.shape[1])).mean(dim=1)
        else:
            features = encoder.features(inputs)
        found = encoder.project(features).float()
        unit: Tensor = found / torch.linalg.vector_norm(found, dim=1, keepdim=True).clamp(min=1e-12)
        return unit
