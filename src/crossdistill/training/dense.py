"""Dense distillation: the student's feature map brought to the teacher's, place by place, beside one vector an item.

Each cell of the student's grid is a row of an objective, as an item is in the global one: its own partner is what the
teacher says of the same place of the scene, and the other cells of the batch, of the same item or of others, are what
it has to be told from (for contrastive objectives, as DenseCL does between two views, arXiv 2011.09157).

The pairs have to be registered: source and target show the same scene from the same place. Augmentation may move the
target all the same: where a cell of the moved target lies in the source is known, and the teacher's map is read there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossdistill import draws, ranks
from crossdistill.bank.maps import TeacherMaps
from crossdistill.encoders import Encoder, Level, feature_maps, features_and_map
from crossdistill.modalities.geometry import draw_placements
from crossdistill.objectives import Objective


@dataclass(frozen=True)
class Cells:
    """Some cells of each item of a batch, and what the teacher says of them.

    Attributes:
        numbers: of the cells in the student's grid, row by row, ``(B, k)``.
        teacher: ``(B, k, c)``.
        ids: of rows that show the same place of the same source item, ``(B, k)``; these are no negatives of each other.
        inside: whether the place is in the source at all, ``(B, k)``; rows that are not take no part.
    """

    numbers: Tensor
    teacher: Tensor
    ids: Tensor
    inside: Tensor

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """Its parts on a device, in their order."""
        return tuple(each.to(device) for each in (self.numbers, self.teacher, self.ids, self.inside))


class DenseTerm(nn.Module):
    """The dense part of a distillation's loss, with a 1x1 convolution from the student's channels to the teacher's.

    Args:
        student: has a map at ``level``; it is not kept here.
        maps: the teacher's, of the training pairs' sources.
        level: of the student's map.
        objective: takes rows; it is not told of any bank, so that negatives come from the batch.
        weight: of this part beside the global one.
        count: cells of each item in a step, at most; drawn anew in each.
    """

    def __init__(
        self, student: Encoder, maps: TeacherMaps, level: Level, objective: Objective, weight: float, count: int
    ) -> None:
        super().__init__()
        self.maps, self.level, self.weight = maps, level, weight
        self.grid = _grid_of(student, level)
        self.count = min(count, self.grid[0] * self.grid[1])
        self.objective = objective
        self.project = nn.Linear(level.channels, maps.width)

    def placed(self, student: Encoder, count: int) -> Tensor | None:
        """Placements ``(count, 2, 3)`` of targets that the views do not place, as augmentation would draw them."""
        geometry = student.modality.geometry
        return draw_placements(geometry, count) if geometry is not None and geometry.changes else None

    def draw(self, pairs: Tensor, ids: Tensor, placement: Tensor | None) -> Cells:
        """Draws cells of each target of a batch, those in the source before others.

        Args:
            pairs: numbers of the training pairs, ``(B,)``.
            ids: identities of their source items, ``(B,)``.
            placement: where things are in the targets, ``(B, 2, 3)``; None: as they are in the sources.
        """
        places = source_places(self.grid, len(pairs), placement)
        inside = (places.abs() <= 1).all(dim=2)
        order = draws.rand(*inside.shape).masked_fill(~inside, 2.0)
        numbers = order.argsort(dim=1, stable=True)[:, : self.count]
        chosen = places.gather(1, numbers[:, :, None].expand(-1, -1, 2))
        cells = self.maps.cells.shape[1] * self.maps.cells.shape[2]
        return Cells(
            numbers=numbers,
            teacher=self.maps.at(pairs, chosen),
            ids=ids[:, None] * cells + self.maps.nearest(chosen),
            inside=inside.gather(1, numbers),
        )

    def loss(self, student_map: Tensor, cells: Cells) -> Tensor:
        """The weighted loss of the drawn cells of a map ``(B, c, h, w)``."""
        flat = student_map.flatten(2).transpose(1, 2)
        picked = flat.gather(1, cells.numbers[:, :, None].expand(-1, -1, flat.shape[2]))
        rows: Tensor = self.project(picked[cells.inside])
        if not ranks.add_up([float(len(rows))])[0]:  # all of the batch shows what is beside the sources
            return 0 * rows.sum()
        found: Tensor = self.objective(rows, cells.teacher[cells.inside], cells.ids[cells.inside])
        weighted: Tensor = self.weight * found
        return weighted


def embedded_and_map(student: Encoder, images: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """Normalised targets ``(B, C, H, W)`` to embeddings ``(B, d)`` and a map ``(B, c, h, w)``, in one pass."""
    features, found = features_and_map(student.backbone, images, level)
    return student.project(features), found


def source_places(grid: tuple[int, int], count: int, placement: Tensor | None) -> Tensor:
    """Where in the sources the centres of the targets' cells lie, x and y from -1 to 1, ``(count, h * w, 2)``.

    Args:
        grid: height and width of the targets' maps.
        count: items.
        placement: affine maps from places in the targets to places in the sources, ``(count, 2, 3)``.
    """
    height, width = grid
    y, x = torch.meshgrid(
        (2 * torch.arange(height) + 1) / height - 1, (2 * torch.arange(width) + 1) / width - 1, indexing="ij"
    )
    centres = torch.stack([x, y], dim=-1).view(-1, 2)
    if placement is None:
        return centres.expand(count, -1, -1)
    there = placement.cpu().float()
    return centres @ there[:, :, :2].transpose(1, 2) + there[:, None, :, 2]


def _grid_of(student: Encoder, level: Level) -> tuple[int, int]:
    device = next(student.parameters()).device
    training = student.training
    with torch.no_grad():
        zeros = torch.zeros(1, *student.modality.shape, device=device)
        found = feature_maps(student.backbone.eval(), student.modality.normalise(zeros), [level])[0]
    student.train(training)
    return int(found.shape[2]), int(found.shape[3])
