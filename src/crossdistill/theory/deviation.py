"""How far a mean over a sample can lie from its expectation, and means over groups.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.theory.finite import Floats

FLOAT32_BITS = 32


def hoeffding(items: int, delta: float, *, log_choices: float = 0.0) -> float:
    """``sqrt((log K + log(1/delta)) / (2 n))`` (Eq. 42): expectation minus mean of n independent values in [0, 1].

    Holds for K functions at once, fixed before the sample.

    Args:
        items: n.
        delta: probability that it may fail.
        log_choices: ``log K``.

    Raises:
        ValueError: no items, delta outside (0, 1), or a negative ``log_choices``.
    """
    if items < 1 or not 0 < delta < 1 or not log_choices >= 0:
        raise ValueError(f"expected items >= 1, 0 < delta < 1, log K >= 0: {items}, {delta}, {log_choices}")
    return math.sqrt((log_choices - math.log(delta)) / (2 * items))


def held_out_deviation(groups: int, delta: float, students: int) -> float:
    """:func:`hoeffding` over held-out groups, for students that are compared on the same ones.

    Raises:
        ValueError: see there; or no student.
    """
    if students < 1:
        raise ValueError(f"students: expected at least 1, received {students}")
    return hoeffding(groups, delta, log_choices=math.log(students))


def log_class_size(parameters: int, bits: int = FLOAT32_BITS) -> float:
    """``log N = bits * parameters * log 2``: all students that numbers of so many bits can describe (Eq. 47).

    Raises:
        ValueError: not positive.
    """
    if parameters < 1 or bits < 1:
        raise ValueError(f"expected parameters and bits >= 1, received {parameters} and {bits}")
    return bits * parameters * math.log(2)


def group_means(values: ArrayLike, groups: ArrayLike) -> Floats:
    """Mean of ``values (n,)`` in each group ``(G,)``: independent of each other where groups are.

    Their expectation is that of a random item of a random group; one item a group estimates the same, with more noise.

    Raises:
        ValueError: the shapes differ, or there are no items.
    """
    numbers, of = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if numbers.ndim != 1 or numbers.shape != of.shape or not len(numbers):
        raise ValueError(f"expected (n,) values and groups, received {numbers.shape} and {of.shape}")
    _, group = np.unique(of, return_inverse=True)
    found: Floats = np.bincount(group, weights=numbers) / np.bincount(group)
    return found
