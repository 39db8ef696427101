"""Every objective once more, in plain loops over items, straight from its formula. Slow, and easy to check by reading.

Signature of each: student ``(B, d)``, teacher ``(B, d)``, ids of the B items, then the objective's settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def unit(row: Tensor) -> Tensor:
    return row / row.square().sum().sqrt()


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (unit(a) * unit(b)).sum()


def total(values: Sequence[Tensor], like: Tensor) -> Tensor:
    return sum(values, start=torch.zeros((), dtype=like.dtype))


def one_way(
    anchors: Tensor, own: Tensor, columns: Tensor, ids: list[int], column_ids: list[int], tau: float, q: float = 0.0
) -> Tensor:
    """InfoNCE: the own column against the columns of all other items; softened with q."""
    losses = []
    for i in range(len(anchors)):
        exponentials = [torch.exp(cosine(anchors[i], own[i]) / tau)]
        exponentials += [
            torch.exp(cosine(anchors[i], columns[j]) / tau) for j in range(len(columns)) if column_ids[j] != ids[i]
        ]
        probability = exponentials[0] / total(exponentials, anchors)
        losses.append((1 - probability**q) / q if q else -torch.log(probability))
    return total(losses, anchors) / len(anchors)


def cmc(
    student: Tensor,
    teacher: Tensor,
    ids: list[int],
    tau: float,
    symmetric: bool = True,
    bank: tuple[Tensor, list[int]] | None = None,
    q: float = 0.0,
) -> Tensor:
    columns, column_ids = (teacher, ids) if bank is None else bank
    forth = one_way(student, teacher, columns, ids, column_ids, tau, q)
    return (forth + one_way(teacher, student, student, ids, ids, tau, q)) / 2 if symmetric else forth


def info_nce(first: Tensor, second: Tensor, ids: list[int], tau: float) -> Tensor:
    views, partners = torch.cat([first, second]), torch.cat([second, first])
    return one_way(views, partners, views, ids * 2, ids * 2, tau)


def cross_entropy(
    student: Tensor,
    student_columns: Tensor,
    teacher: Tensor,
    teacher_columns: Tensor,
    candidates: list[list[int]],
    taus: tuple[float, float],
) -> Tensor:
    losses = []
    for i, kept in enumerate(candidates):
        s = [torch.exp(cosine(student[i], student_columns[j]) / taus[0]) for j in kept]
        t = [torch.exp(cosine(teacher[i], teacher_columns[j]) / taus[1]) for j in kept]
        for ours, theirs in zip(s, t, strict=True):
            losses.append(-theirs / total(t, teacher) * torch.log(ours / total(s, student)))
    return total(losses, student) / len(student)


def cmd(
    student: Tensor,
    teacher: Tensor,
    ids: list[int],
    tau: float,
    teacher_tau: float,
    form: str = "within",
    bank: tuple[Tensor, list[int]] | None = None,
) -> Tensor:
    columns, column_ids = (teacher, ids) if bank is None else bank
    candidates = [[j for j in range(len(columns)) if column_ids[j] != i] for i in ids]
    ours = student if form == "within" else columns
    return cross_entropy(student, ours, teacher, columns, candidates, (tau, teacher_tau))


def seed(
    student: Tensor,
    teacher: Tensor,
    ids: list[int],
    tau: float,
    teacher_tau: float,
    bank: tuple[Tensor, list[int]] | None = None,
) -> Tensor:
    columns, column_ids = (teacher, ids) if bank is None else bank
    losses = []
    for i in range(len(ids)):
        kept = [teacher[i], *(columns[j] for j in range(len(columns)) if column_ids[j] != ids[i])]
        s = [torch.exp(cosine(student[i], column) / tau) for column in kept]
        t = [torch.exp(cosine(teacher[i], column) / teacher_tau) for column in kept]
        for ours, theirs in zip(s, t, strict=True):
            losses.append(-theirs / total(t, teacher) * torch.log(ours / total(s, student)))
    return total(losses, student) / len(ids)


def l2(student: Tensor, teacher: Tensor, ids: list[int]) -> Tensor:
    losses = [(unit(s) - unit(t)).square().sum() for s, t in zip(student, teacher, strict=True)]
    return total(losses, student) / len(ids)


def cosine_distance(student: Tensor, teacher: Tensor, ids: list[int]) -> Tensor:
    return 1 - total([cosine(s, t) for s, t in zip(student, teacher, strict=True)], student) / len(ids)


def siglip(student: Tensor, teacher: Tensor, ids: list[int], tau: float, bias: float) -> Tensor:
    losses = []
    for i in range(len(ids)):
        for j in range(len(ids)):
            if i == j or ids[i] != ids[j]:
                logit = cosine(student[i], teacher[j]) / tau + bias
                losses.append(-torch.log(torch.sigmoid(logit if i == j else -logit)))
    return total(losses, student) / len(ids)


def huber(difference: Tensor) -> Tensor:
    size = difference.abs()
    return 0.5 * size**2 if float(size.detach()) < 1 else size - 0.5


def rkd(student: Tensor, teacher: Tensor, ids: list[int], distance_weight: float, angle_weight: float) -> Tensor:
    count = len(ids)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]

    def distances(rows: Tensor) -> list[Tensor]:
        found = [(unit(rows[i]) - unit(rows[j])).square().sum().sqrt() for i, j in pairs]
        mean = total(found, rows) / len(found)
        return [each / mean for each in found]

    def angle(rows: Tensor, i: int, j: int, k: int) -> Tensor:
        return cosine(unit(rows[i]) - unit(rows[j]), unit(rows[k]) - unit(rows[j]))

    far = total([huber(s - t) for s, t in zip(distances(student), distances(teacher), strict=True)], student)
    triples = [(i, j, k) for i in range(count) for j in range(count) for k in range(count) if i != j and k != j]
    bent = total([huber(angle(student, *triple) - angle(teacher, *triple)) for triple in triples], student)
    return distance_weight * far / count**2 + angle_weight * bent / count**3


def pkt(student: Tensor, teacher: Tensor, ids: list[int]) -> Tensor:
    losses = []
    for i in range(len(ids)):
        kept = [j for j in range(len(ids)) if ids[j] != ids[i]]
        s = [(1 + cosine(student[i], student[j])) / 2 for j in kept]
        t = [(1 + cosine(teacher[i], teacher[j])) / 2 for j in kept]
        for ours, theirs in zip(s, t, strict=True):
            p, q = theirs / total(t, teacher), ours / total(s, student)
            losses.append(p * torch.log(p / q))
    return total(losses, student) / len(ids)


def sp(student: Tensor, teacher: Tensor, ids: list[int], weight: float) -> Tensor:
    losses = []
    for i in range(len(ids)):
        s = unit(torch.stack([cosine(student[i], each) for each in student]))
        t = unit(torch.stack([cosine(teacher[i], each) for each in teacher]))
        losses.append((s - t).square().sum())
    return weight * total(losses, student) / len(ids) ** 2


def scaled_rows(rows: Tensor) -> list[Tensor]:
    return [unit(row) * math.sqrt(len(row)) for row in rows]


def mean_and_covariance(rows: Tensor) -> tuple[Tensor, Tensor]:
    scaled = scaled_rows(rows)
    mean = total(scaled, rows) / len(scaled)
    return mean, total([torch.outer(row - mean, row - mean) for row in scaled], rows) / (len(scaled) - 1)


def coral(student: Tensor, teacher: Tensor, ids: list[int]) -> Tensor:
    difference = mean_and_covariance(student)[1] - mean_and_covariance(teacher)[1]
    return total([each.square() for each in difference.flatten()], student) / (4 * student.shape[1] ** 2)


def feature_statistics(
    student: Tensor, teacher: Tensor, ids: list[int], bank: tuple[Tensor, list[int]] | None = None
) -> Tensor:
    (mean_s, cov_s), (mean_t, cov_t) = (
        mean_and_covariance(rows) for rows in (student, teacher if bank is None else bank[0])
    )
    return ((mean_s - mean_t).square() + (cov_s.diagonal() - cov_t.diagonal()).square()).sum() / student.shape[1]


def mmd(student: Tensor, teacher: Tensor, ids: list[int], sigma: float | None = None) -> Tensor:
    s, t = [unit(row) for row in student], [unit(row) for row in teacher]
    squares = [float((x - y).square().sum()) for x in t for y in t]
    spread = sum(squares) / len(squares)
    widths = [2 * sigma**2] if sigma else [factor * spread for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]

    def mean_kernel(first: list[Tensor], second: list[Tensor]) -> Tensor:
        kernels = [torch.exp(-(x - y).square().sum() / width) for x in first for y in second for width in widths]
        return total(kernels, student) / len(kernels)

    return mean_kernel(s, s) + mean_kernel(t, t) - 2 * mean_kernel(s, t)


def vicreg(student: Tensor, teacher: Tensor, ids: list[int], weights: tuple[float, float, float]) -> Tensor:
    width = student.shape[1]
    pairs = zip(scaled_rows(student), scaled_rows(teacher), strict=True)
    invariance = total([(s - t).square().sum() for s, t in pairs], student) / (len(ids) * width)
    hinge = correlation = torch.zeros((), dtype=student.dtype)
    for rows in (student, teacher):
        matrix = mean_and_covariance(rows)[1]
        for a in range(width):
            hinge = hinge + (1 - (matrix[a, a] + 1e-4).sqrt()).clamp(min=0) / width / 2
            for b in range(width):
                correlation = correlation + (matrix[a, b].square() / width if a != b else 0.0)
    return weights[0] * invariance + weights[1] * hinge + weights[2] * correlation


def barlow_twins(student: Tensor, teacher: Tensor, ids: list[int], redundancy: float) -> Tensor:
    def standardised(rows: Tensor) -> Tensor:
        scaled = torch.stack(scaled_rows(rows))
        return torch.stack(
            [(column - column.mean()) / (column.var(unbiased=False) + 1e-5).sqrt() for column in scaled.T]
        )

    s, t = standardised(student), standardised(teacher)
    losses = []
    for a in range(len(s)):
        for b in range(len(t)):
            correlation = (s[a] * t[b]).sum() / len(ids)
            losses.append((1 - correlation).square() if a == b else redundancy * correlation.square())
    return total(losses, student)


def kd(student: Tensor, teacher: Tensor, ids: list[int], centres: Tensor, tau: float) -> Tensor:
    losses = []
    for s, t in zip(student, teacher, strict=True):
        ours = [torch.exp(cosine(s, centre) / tau) for centre in centres]
        theirs = [torch.exp(cosine(t, centre) / tau) for centre in centres]
        for a, b in zip(ours, theirs, strict=True):
            p, q = b / total(theirs, teacher), a / total(ours, student)
            losses.append(p * torch.log(p / q))
    return total(losses, student) / len(ids)
