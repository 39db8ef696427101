"""Embeddings to compare estimators on: of real pictures, and as many more of the same kind as are wanted.

There are not hundreds of thousands of real pairs here. The columns are a smoothed bootstrap of the teacher's centred
embeddings of the emoji set: each is a blend of two pictures' embeddings (weights uniform in 0.5 to 1) plus the
difference of two augmented views of a third, so that the spectrum and the scale of views are the teacher's own. The
same estimators on the real embeddings alone, at their size, tell whether that matters.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

VIEWS = 4


def real_embeddings(views: int = VIEWS) -> Tensor:
    """Embeddings ``(n, 1 + views, d)`` of the emoji set's colour drawings and of augmented views of them, centred."""
    from crossdistill.encoders import Teacher, TeacherConfig, build_teacher
    from crossdistill.modalities.image import Image
    from crossdistill.pairs import open_pairs
    from crossdistill.pairs.items import Items

    teacher = Teacher(
        build_teacher(TeacherConfig(backbone="tf_efficientnet_lite0", weights="efficientnet-lite0"), Image(size=96))
    )
    pairs = open_pairs("emoji")
    items = Items.of(pairs, pairs.where(has=("source",)), "source", teacher.modality)
    torch.manual_seed(0)
    found = []
    for start in range(0, len(items), 64):
        decoded = items.batch(range(start, min(start + 64, len(items))))
        seen = [decoded, *(teacher.modality.augment(decoded) for _ in range(views))]
        found.append(torch.stack([teacher.embed(each) for each in seen], dim=1))
    embedded = torch.cat(found)
    return embedded - embedded[:, 0].mean(dim=0)


def made_embeddings(count: int, views: int, width: int, seed: int) -> Tensor:
    """Stand-ins ``(count, 1 + views, width)``: Gaussian with a spectrum that falls as 1/k, and views around them."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, width + 1).rsqrt()
    items = torch.randn(count, 1, width, generator=generator)
    return (items + 0.5 * torch.randn(count, 1 + views, width, generator=generator)) * scale


def many(real: Tensor, count: int, seed: int) -> Tensor:
    """Unit columns ``(count, d)`` like those of ``real`` ``(n, 1 + views, d)``; see the module."""
    generator = torch.Generator().manual_seed(seed)
    items, views = real.shape[:2]
    result = torch.empty(count, real.shape[2])
    for start in range(0, count, 8192):
        size = min(8192, count - start)
        first, second, third = torch.randint(items, (3, size), generator=generator)
        one, other = torch.randint(views, (2, size), generator=generator)
        weight = 0.5 + 0.5 * torch.rand(size, 1, generator=generator)
        blend = weight * real[first, 0] + (1 - weight) * real[second, 0]
        result[start : start + size] = blend + (real[third, one] - real[third, other]) / 2**0.5
    return F.normalize(result, dim=1)


def student_rows(columns: Tensor, own: Tensor, agreement: float, seed: int) -> Tensor:
    """Unit rows ``(B, d)`` of a student whose cosine with its own column is about ``agreement``.

    What it gets wrong lies along other columns, as it does in a student that confuses items.
    """
    generator = torch.Generator().manual_seed(seed)
    other = columns[torch.randint(len(columns), (len(own), 2), generator=generator)].sum(dim=1)
    paired = columns[own]
    astray = F.normalize(other - paired * (other * paired).sum(dim=1, keepdim=True), dim=1)
    return F.normalize(agreement * paired + (1 - agreement**2) ** 0.5 * astray, dim=1)
