"""Whether the pairs are sane: do the sides belong together, is the target no more than noise or the source itself, and
does the teacher know anything."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossdistill.advisor.bed import Bed
from crossdistill.audit.agreement import principal
from crossdistill.audit.pairing import FEWEST, FEWEST_GROUPS, View, judge_pairs
from crossdistill.distance import retrieval
from crossdistill.distance.ridge import Decomposed
from crossdistill.encoders import Encoder
from crossdistill.evaluation.intervals import Estimate, Floats, Ints, difference, proportion
from crossdistill.evaluation.probes import Vectors, unit
from crossdistill.pairs.items import Items

_CERTAIN = 0.02  # p-value of a relation
_DIMENSIONS, _PER_DIMENSION = 64, 8  # of a view, and pairs that each needs
_REDRAWN = 3  # networks of random weights that the teacher is compared with
_FEWEST_VIEWED = 40  # items, in as many groups, below which nothing can be said of the teacher
_SATURATED = 0.97  # where random weights know nearly all items again, learning cannot show


@dataclass(frozen=True)
class Fit:
    """How well the two halves of something fit: a share of comparisons, 0.5 for no relation, with a 95% interval.

    Attributes:
        value: how often a partner fits better than a wrong one.
        low: of the interval.
        high: of the interval.
        signal: clear, weak or none.
        mismatched: share of mismatched pairs and its interval; None where the signal is not clear.
    """

    value: float
    low: float
    high: float
    signal: str
    mismatched: tuple[float, float, float] | None


def pairing(bed: Bed) -> Fit | None:
    """Whether targets fit their sources, by canonical correlations of what they look like; None for too few pairs."""
    views: list[tuple[NDArray[np.floating], NDArray[np.floating]]] = [(bed.teacher, flat(bed.targets))]
    if bed.shown is not None:
        views.append((bed.teacher, bed.shown))
    return _fit(views, bed.groups)


def structure(bed: Bed) -> Fit | None:
    """Whether the halves of a target tell anything of each other: of noise they do not. None for too few items.

    One half predicts the other by ridge regression, cross-fitted over groups. The signal is clear where a permutation
    test rejects that they are unrelated, for the better of the two ways to halve a grid.
    """
    if len(bed) < FEWEST or len(np.unique(bed.groups)) < FEWEST_GROUPS:
        return None
    values = bed.targets.batch(range(len(bed))).float().numpy()
    grid = values.reshape(len(values), -1) if values.ndim < 3 else values
    halves = []
    if grid.ndim < 3:
        order = np.random.default_rng(0).permutation(grid.shape[1])
        halves.append((grid[:, order[::2]], grid[:, order[1::2]]))
    else:
        for axis in (-1, -2):
            size = grid.shape[axis] // 2
            one, other = (np.take(grid, part, axis) for part in (range(size), range(size, 2 * size)))
            halves.append((one.reshape(len(grid), -1), other.reshape(len(grid), -1)))
    dimensions = min(_DIMENSIONS, len(bed) // _PER_DIMENSION)
    found = []
    for pair in halves:
        if min(half.shape[1] for half in pair) and all(np.ptp(half, axis=0).any() for half in pair):
            first, second = (principal([in_span(half)], dimensions) for half in pair)
            found.append(retrieval(first, second, bed.groups)["retrieval_auc"])
    if not found:
        return None
    best = max(found, key=lambda each: each.value)
    certain = best.p_value is not None and best.p_value * len(found) <= _CERTAIN
    return Fit(best.value, best.low, best.high, "clear" if certain else "none", None)


def _fit(pairs: list[tuple[NDArray[np.floating], NDArray[np.floating]]], groups: Ints) -> Fit | None:
    count = len(groups)
    if count < FEWEST or len(np.unique(groups)) < FEWEST_GROUPS:
        return None
    dimensions = min(_DIMENSIONS, count // _PER_DIMENSION)
    views: list[View] = [
        (principal([in_span(one)], dimensions), principal([in_span(other)], dimensions)) for one, other in pairs
    ]
    found = judge_pairs(views, groups)
    better = proportion(1 - np.clip(found.chance, 0.0, 1.0), groups)
    clear = found.signal == "clear"
    share = (found.share.value, found.share.low, found.share.high) if clear else None
    return Fit(found.accuracy, better.low, better.high, found.signal, share)


def in_span(block: NDArray[np.floating]) -> Floats:
    """Features ``(n, F)`` around their mean, in at most n dimensions; inner products stay the same."""
    values: Floats = block.astype(np.float64)
    if values.shape[1] <= len(values):
        centred: Floats = values - values.mean(axis=0)
        return centred
    found = Decomposed(values)
    rotated: Floats = found.left * found.singular
    return rotated


def flat(items: Items) -> NDArray[np.float32]:
    """Decoded items as rows ``(n, F)``."""
    values = items.batch(range(len(items))).float()
    rows: NDArray[np.float32] = values.reshape(len(values), -1).numpy()
    return rows


def partner_rank(queries: Vectors, gallery: Vectors, ids: Ints, groups: Ints) -> Estimate:
    """How often a held-out target is nearer to its own source than to that of another group; 0.5 is chance.

    Args:
        queries: student's embeddings of targets ``(n, d)``.
        gallery: teacher's embeddings of their sources ``(n, d)``.
        ids: identity of the sources ``(n,)``.
        groups: ``(n,)``.
    """
    similarity = unit(queries) @ unit(gallery).T
    own = np.diag(similarity)[:, None]
    other = (ids[:, None] != ids[None, :]) & (groups[:, None] != groups[None, :])
    wins = ((similarity < own) + 0.5 * (similarity == own)) * other
    rivals = other.sum(axis=1)
    if not rivals.all():
        raise ValueError("an item has no other group to be compared with")
    return proportion(wins.sum(axis=1) / rivals, groups)


def teacher_knows(encoder: Encoder, sources: Items, groups: Ints, device: torch.device, seed: int) -> Estimate | None:
    """By how much better the teacher knows an item again than the same network with random weights does.

    Two strongly augmented views of each source are embedded, and each looks for its twin among the others'. What is
    compared is how often it is nearer than another item's, with the better of the random networks; above 0 the teacher
    has learnt what stays the same. None for few items, where a network has no way to draw its weights anew, or where
    even random weights know nearly all items again.

    Args:
        encoder: the teacher.
        sources: decoded with its modality ``(N,)``.
        groups: of the sources ``(N,)``.
        device: where to compute.
        seed: of views and weights.
    """
    if len(np.unique(groups)) < _FEWEST_VIEWED:
        return None
    modality = sources.modality.contrastive()
    torch.manual_seed(seed)
    decoded = sources.batch(range(len(sources))).to(device)
    views = [modality.normalise(modality.augment(decoded)) for _ in range(2)]
    own = _known_again(encoder, views, groups)
    others = []
    for number in range(_REDRAWN):
        twin = redrawn(encoder, seed + number)
        if twin is None:
            return None
        others.append(_known_again(twin, views, groups))
    best = max(others, key=lambda each: each.value)
    return None if best.value > _SATURATED else difference(own, best)


def redrawn(encoder: Encoder, seed: int) -> Encoder | None:
    """The same network with weights drawn anew; None where some weights cannot be."""
    torch.manual_seed(seed)
    twin = copy.deepcopy(encoder).eval()
    drawn: set[int] = set()
    for module in twin.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
            drawn.update(id(each) for each in module.parameters(recurse=False))
    every = [each for each in twin.parameters() if each.numel() > 1]
    return twin if every and sum(id(each) in drawn for each in every) >= 0.9 * len(every) else None


@torch.no_grad()
def _known_again(encoder: Encoder, views: list[Tensor], groups: Ints) -> Estimate:
    encoder = encoder.eval()
    first, second = (
        torch.cat([encoder(part).float().cpu() for part in torch.split(view, 32)]).numpy() for view in views
    )
    both = np.concatenate([first, second])
    mean = both.mean(axis=0)
    numbers = np.arange(len(first))
    return partner_rank(first - mean, second - mean, numbers, groups)
