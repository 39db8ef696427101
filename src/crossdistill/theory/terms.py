"""A bound as a sum of named terms, certified and asymptotic ones kept apart."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from crossdistill.theory.deviation import held_out_deviation


@dataclass(frozen=True, kw_only=True)
class Term:
    """One summand of a bound.

    Attributes:
        name: which: ``source risk``, ``tv``, ``pair sample``, ``source sample``, ``label sample``.
        value: its value; None where no number is known.
        certified: proven for the data at hand, with its constants. Otherwise it is a rate, or needs what is not known.
        delta: probability that this term alone is too small; 0 for what is computed and not estimated.
        why: the equation, the assumptions, or what is missing.
    """

    name: str
    value: float | None
    certified: bool
    delta: float
    why: str

    def __post_init__(self) -> None:
        if self.certified and (self.value is None or not math.isfinite(self.value)):
            raise ValueError(f"term {self.name!r}: certified without a finite value ({self.value})")
        if not 0 <= self.delta < 1:
            raise ValueError(f"term {self.name!r}: expected delta in [0, 1), received {self.delta}")


@dataclass(frozen=True, kw_only=True)
class Chain:
    """``bounded <= sum of the certified terms`` with probability ``1 - delta``.

    Attributes:
        name: which chain.
        bounded: what it bounds.
        terms: in the order of the statement. Those that are not certified are named and never added.
        assumptions: what has to be so.
        chance: risk of a guess, if known.
    """

    name: str
    bounded: str
    terms: tuple[Term, ...]
    assumptions: tuple[str, ...]
    chance: float | None = None

    @property
    def total_certified(self) -> float:
        """Sum of the certified terms, not cut off at 1."""
        return math.fsum(term.value for term in self.terms if term.certified and term.value is not None)

    @property
    def delta(self) -> float:
        """Probability that the bound does not hold (union bound over the certified terms)."""
        return math.fsum(term.delta for term in self.terms if term.certified)

    @property
    def vacuous(self) -> bool:
        """Says nothing: a risk is at most one."""
        return self.total_certified >= 1

    @property
    def worse_than_guessing(self) -> bool | None:
        """Whether the bound is no better than a guess's risk; None where that is not known."""
        return None if self.chance is None else self.total_certified >= self.chance

    def term(self, name: str) -> Term:
        """The term of this name.

        Raises:
            ValueError: there is none.
        """
        for term in self.terms:
            if term.name == name:
                return term
        raise ValueError(f"chain {self.name!r} has no term {name!r}: {[term.name for term in self.terms]}")

    def to_json(self) -> dict[str, Any]:
        """Terms, total, flags and assumptions; what is not certified also by name."""
        return {
            "name": self.name,
            "bounded": self.bounded,
            "total_certified": self.total_certified,
            "delta": self.delta,
            "vacuous": self.vacuous,
            "worse_than_guessing": self.worse_than_guessing,
            "terms": [asdict(term) for term in self.terms],
            "not_certified": [term.name for term in self.terms if not term.certified],
            "assumptions": list(self.assumptions),
        }


INDEPENDENT = "groups are independent draws of one distribution; the student was not trained on them"

SOURCE_SAMPLE = Term(
    name="source sample", value=None, certified=False, delta=0.0,
    why="O(sqrt(log N_A / M)), of the teacher's pretraining: no constant is known. Not needed, as the source's risk is "
    "measured with the teacher as it is",
)  # fmt: skip


def pair_sample_term(groups: int, delta: float, students: int) -> Term:
    """Hoeffding's term over held-out groups, for students compared on the same ones (Eq. 42).

    Raises:
        ValueError: see :func:`~crossdistill.theory.deviation.held_out_deviation`.
    """
    return Term(
        name="pair sample", value=held_out_deviation(groups, delta, students), certified=True, delta=delta,
        why=f"Eq. 42: {groups} independent held-out groups, {students} student(s)",
    )  # fmt: skip
