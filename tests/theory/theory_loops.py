"""The theory's quantities once more, in plain loops and exact fractions, and distributions to try them on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def softmax_row(logits: Sequence[float]) -> list[float]:
    largest = max(logits)
    weights = [math.exp(each - largest) for each in logits]
    return [each / math.fsum(weights) for each in weights]


def tv_exact(p: Sequence[Fraction], q: Sequence[Fraction]) -> Fraction:
    """The largest difference of an event's probabilities, over all events: not the formula that the code uses."""
    events = range(2 ** len(p))
    return max(sum((p[j] - q[j] for j in range(len(p)) if event >> j & 1), start=Fraction(0)) for event in events)


def kl_exact(p: Sequence[Fraction], q: Sequence[Fraction]) -> float:
    if any(a > 0 and b == 0 for a, b in zip(p, q, strict=True)):
        return math.inf
    return math.fsum(float(a) * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@st.composite
def fraction_pair(draw: st.DrawFn, most: int = 6) -> tuple[list[Fraction], list[Fraction]]:
    """Two distributions of exact fractions over a few points, zeros and lopsided weights included."""
    size = draw(st.integers(2, most))
    weight = st.one_of(st.integers(0, 9), st.sampled_from([0, 1, 10**3, 10**6, 10**12]))
    rows = []
    for _ in range(2):
        found = draw(st.lists(weight, min_size=size, max_size=size).filter(any))
        rows.append([Fraction(each, sum(found)) for each in found])
    return rows[0], rows[1]


@st.composite
def float_pair(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Two distributions in float64: unrelated, nearly equal, concentrated, or with zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(2, 40))
    kind = draw(st.sampled_from(["dirichlet", "near", "sharp", "zeros"]))
    p = rng.dirichlet(np.full(size, 10.0 ** rng.uniform(-2, 2)))
    q = rng.dirichlet(np.full(size, 10.0 ** rng.uniform(-2, 2)))
    if kind == "near":
        q = p + (q - p) * 10.0 ** rng.uniform(-14, -1)
    elif kind == "sharp":
        scale = 10.0 ** rng.uniform(0, 3)
        p, q = (np.array(softmax_row((scale * rng.normal(size=size)).tolist())) for _ in range(2))
    elif kind == "zeros":
        q = q * (rng.random(size) < 0.5)
        q[rng.integers(size)] += 1e-3
    p, q = p / p.sum(), q / q.sum()
    return p, q


@st.composite
def embeddings(draw: st.DrawFn, most: int = 12) -> tuple[Floats, Floats, float]:
    """Vectors of two modalities, related to any degree, and a temperature."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, width = draw(st.integers(3, most)), draw(st.integers(1, 6))
    source = rng.normal(size=(count, width))
    target = source + rng.normal(size=(count, width)) * 10.0 ** rng.uniform(-9, 2)
    return source, target, draw(st.floats(0.01, 3.0))


def unit(rows: Floats) -> Floats:
    return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
