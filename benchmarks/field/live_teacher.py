"""What the plain loop and torchdistill share: pictures in memory, batched augmentation, teacher and student.

It is written to be as fast as crossdistill's own, so that what is measured is the live teacher and the package around
it: each picture is decoded once, and a batch is augmented at a time with the same kinds and ranges of change.
"""

from __future__ import annotations

import math
from pathlib import Path

import timm
import torch
from harness import Settings
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as T

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def decode(files: list[Path], size: int) -> Tensor:
    """All pictures as uint8 ``(N, 3, size, size)``: the smaller side resized to ``size``, the middle cut out."""
    found = []
    for path in files:
        with Image.open(path) as opened:
            picture = T.pil_to_tensor(opened.convert("RGB"))
        picture = T.resize(picture, [size], interpolation=T.InterpolationMode.BICUBIC, antialias=True)
        found.append(T.center_crop(picture, [size, size]))
    return torch.stack(found)


def normalise(images: Tensor) -> Tensor:
    """From 0..1 to what networks of ImageNet take."""
    return (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def augment(batch: Tensor) -> Tensor:
    """Random changes of uint8 pictures ``(B, 3, H, W)``, each in its own way, to floats in 0..1.

    Turned by up to 15 degrees, shifted by up to a tenth, zoomed by 0.85 to 1.15, flipped, and changed in brightness and
    contrast by up to a fifth.
    """
    count = len(batch)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count)

    images = batch.float() / 255
    angle, zoom = uniform(-15, 15) * (math.pi / 180), uniform(0.85, 1.15)
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    shift = [uniform(-0.2, 0.2), uniform(-0.2, 0.2)]
    rows = [torch.stack([cosine * flip, sine, shift[0]], -1), torch.stack([-sine * flip, cosine, shift[1]], -1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    ground = images[:, :, :1, :1]  # what comes in from outside has the colour of a corner
    images = F.grid_sample(images - ground, grid, align_corners=False) + ground
    bright, contrast = uniform(0.8, 1.2).view(-1, 1, 1, 1), uniform(0.8, 1.2).view(-1, 1, 1, 1)
    return (images * bright * contrast).clamp(0, 1)


class Unit(nn.Module):
    """Vectors to unit length."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, d)`` to ``(B, d)``."""
        return F.normalize(x, dim=-1)


def build(settings: Settings) -> tuple[nn.Module, nn.Module, int]:
    """Frozen teacher and student, both to unit vectors, and the width of their space."""
    options = {"img_size": settings.size} if settings.teacher.startswith("vit") else {}
    backbone = timm.create_model(settings.teacher, num_classes=0, **options)
    backbone.load_state_dict(torch.load(settings.teacher_weights, weights_only=True))
    teacher = nn.Sequential(backbone, Unit()).eval().requires_grad_(False)
    width = int(teacher(torch.zeros(1, 3, settings.size, settings.size)).shape[1])
    torch.manual_seed(settings.seed)
    small = timm.create_model(settings.student, num_classes=0)
    student = nn.Sequential(small, nn.Linear(small.num_features, width), Unit())
    return teacher, student, width
