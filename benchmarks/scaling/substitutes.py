"""How wrong is what replaces the exact whole bank? Losses and gradients against the exact ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.scaling.columns import Case, Estimate, exact, nearest, subset, tangent
from benchmarks.scaling.embeddings import many, student_rows
from benchmarks.scaling.processes import spawned
from crossdistill.objectives import CMC, TeacherColumns

TEMPERATURES = (0.05, 0.1, 0.2)
AGREEMENTS = {"early": 0.3, "late": 0.8}  # cosine of a student's row with its own column
FEATURES = 128


class Against:
    """Compares estimates of a case with the exact loss and gradient.

    The gradient of the rows is taken along the unit sphere. That of a linear head, ``sum_i f_i g_i^T / B`` with
    features f of the rows, is what a network's weights see, where the rows' errors may add up or cancel.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.exact = exact(case)
        self.gradient = tangent(case.rows, self.exact.gradients)
        generator = torch.Generator().manual_seed(0)
        projection = torch.randn(case.rows.shape[1], FEATURES, generator=generator)
        self.features = (case.rows @ projection).relu()
        self.head = self.features.T @ self.gradient / len(case.rows)

    def batch_noise(self) -> float:
        """Deviation of the head's gradient by the choice of the batch, over its length: the noise of any SGD step."""
        count = len(self.case.rows)
        squares = (self.features.square().sum(dim=1) * self.gradient.square().sum(dim=1)).mean()
        length = self.head.square().sum()
        own = (squares - length).clamp(min=0) / max(count - 1, 1)
        return float((own / (length - own).clamp(min=1e-30)).sqrt())

    def errors(self, estimates: Sequence[Estimate]) -> dict[str, float]:
        """Mean errors of independent draws; those of gradients are relative to the exact one's length."""
        draws = len(estimates)
        losses = torch.stack([each.losses.mean() for each in estimates]).double()
        rows = torch.stack([tangent(self.case.rows, each.gradients) for each in estimates])
        heads = torch.stack([self.features.T @ each / len(each) for each in rows])
        found = {
            "exact_loss": float(self.exact.losses.mean()),
            "loss_bias": float(losses.mean() - self.exact.losses.double().mean()),
            "loss_deviation": float(losses.std()) if draws > 1 else 0.0,
        }
        for name, drawn, true in (("row", rows, self.gradient), ("head", heads, self.head)):
            flat, wanted = drawn.flatten(1).double(), true.flatten().double()
            length = wanted.norm()
            mean = flat.mean(dim=0)
            spread = (flat - mean).square().sum(dim=1).sum() / max(draws - 1, 1)
            bias = ((mean - wanted).square().sum() - spread / draws).clamp(min=0).sqrt()
            found |= {
                f"{name}_cosine": float(F.cosine_similarity(flat, wanted[None], dim=1).mean()),
                f"{name}_norm": float((flat.norm(dim=1) / length).mean()),
                f"{name}_error": float(((flat - wanted).norm(dim=1) / length).mean()),
                f"{name}_bias": float(bias / length),
                f"{name}_deviation": float(spread.sqrt() / length),
            }
        return found


def _subsets(
    against: Against, sizes: Sequence[int], draws: int, generator: torch.Generator
) -> Iterator[dict[str, Any]]:
    case, count = against.case, len(against.case.columns)
    for size in sizes:
        chosen = [torch.randperm(count, generator=generator)[:size] for _ in range(draws)]
        for corrected in (True, False):
            estimates = [subset(case, each, corrected=corrected) for each in chosen]
            name = "subset, corrected" if corrected else "subset"
            yield {"estimator": name, "columns": size, **against.errors(estimates)}


def _neighbours(
    against: Against, sizes: Sequence[int], remainder: int, draws: int, generator: torch.Generator
) -> Iterator[dict[str, Any]]:
    """Of the student's row, which has to be searched anew in each step; and of its pair, which never changes."""
    case, count = against.case, len(against.case.columns)
    started = time.perf_counter()
    by_student = case.logits.topk(max(sizes), dim=1).indices
    searched = time.perf_counter() - started
    paired = case.columns[case.own] @ case.columns.T
    by_teacher = paired.scatter_(1, case.own[:, None], float("-inf")).topk(max(sizes), dim=1).indices
    del paired
    weights = (case.logits - against.exact.log_total[:, None]).exp()
    for kind, found in (("student's neighbours", by_student), ("pair's neighbours", by_teacher)):
        for size in sizes:
            chosen = found[:, :size]
            hit = torch.zeros_like(case.logits, dtype=torch.bool).scatter_(1, by_student[:, :size], True)
            about = {
                "columns": size,
                "mass": float(weights.gather(1, chosen).sum(dim=1).mean()),
                "recall": float(hit.gather(1, chosen).float().mean()),
                "search_seconds": searched if kind.startswith("student") else 0.0,
            }
            del hit
            yield {"estimator": kind, **about, **against.errors([nearest(case, chosen)])}
            rest = [torch.randperm(count, generator=generator)[:remainder] for _ in range(draws)]
            estimates = [nearest(case, chosen, each) for each in rest]
            name = f"{kind} and {remainder} at random"
            yield {"estimator": name, **about, **against.errors(estimates)}


def compare(
    real: Tensor, count: int, *, rows: int, subsets: Sequence[int], neighbours: Sequence[int], draws: int,
    temperatures: Sequence[float] = TEMPERATURES, made: bool = True,
) -> list[dict[str, Any]]:  # fmt: skip
    """All estimators on ``count`` columns, made from ``real`` ``(n, 1 + views, d)`` or taken from it as they are.

    Returns:
        One record for each estimator, size, temperature and stage of the student.
    """
    columns = many(real, count, seed=1) if made else F.normalize(real.flatten(0, 1)[:count], dim=1)
    generator = torch.Generator().manual_seed(2)
    own = torch.randperm(count, generator=generator)[:rows]
    found = []
    for stage, agreement in AGREEMENTS.items():
        students = student_rows(columns, own, agreement, seed=3)
        for temperature in temperatures:
            against = Against(Case.of(students, columns, own, temperature))
            case = against.case
            about = {
                "columns_in_all": count,
                "made": made,
                "stage": stage,
                "temperature": temperature,
                "recall_at_1": float((case.own_logits > case.logits.amax(dim=1)).float().mean()),
                "batch_noise": against.batch_noise(),
            }
            records = [*_subsets(against, subsets, draws, generator)]
            if neighbours:
                records += _neighbours(against, neighbours, subsets[0], max(2, draws // 3), generator)
            found += [{**about, **record} for record in records]
    return found


def _shard(rank: int, world: int, count: int, width: int) -> dict[str, Any]:
    """One rank's loss, gradient and bytes with its part of a bank, of rows that the ranks share out."""
    rows, teacher, columns = _data(count, width)
    first, last = (len(columns) * each // world for each in (rank, rank + 1))
    part = slice(first, last)
    mine = slice(len(rows) * rank // world, len(rows) * (rank + 1) // world)
    held = TeacherColumns(columns[part].clone(), torch.arange(first, last), sharded=True)
    objective = CMC(0.1, symmetric=False, against="bank")
    objective.prepare(held)
    student = rows[mine].clone().requires_grad_()
    loss = objective(student, teacher[mine], torch.arange(len(rows))[mine])
    loss.backward()
    assert student.grad is not None
    size = sum(each.nbytes for each in (*vars(held).values(), *held._sorted) if isinstance(each, Tensor))
    return {"loss": loss.detach(), "gradient": student.grad / world, "bytes": size}


def _data(count: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(count, width, generator=generator, dtype=torch.float64)
    rows = torch.randn(48, width, generator=generator, dtype=torch.float64)
    return rows, columns[: len(rows)], columns


def sharded(worlds: Sequence[int], count: int, width: int) -> list[dict[str, Any]]:
    """A bank that is spread over gloo processes against one process that has all of it, in float64."""
    rows, teacher, columns = _data(count, width)
    objective = CMC(0.1, symmetric=False, against="bank")
    objective.prepare(TeacherColumns(columns))
    student = rows.clone().requires_grad_()
    loss = objective(student, teacher, torch.arange(len(rows)))
    loss.backward()
    assert student.grad is not None
    found = []
    for world in worlds:
        ranks = spawned(world, _shard, count, width)
        gradient = torch.cat([each["gradient"] for each in ranks])
        found.append(
            {
                "ranks": world, "columns": count, "width": width,
                "loss_difference": max(float((each["loss"] - loss).abs()) for each in ranks),
                "gradient_difference": float((gradient - student.grad).norm() / student.grad.norm()),
                "bytes_rank": max(each["bytes"] for each in ranks), "bytes": columns.nbytes,
            }
        )  # fmt: skip
    return found
