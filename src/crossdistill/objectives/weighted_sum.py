"""A weighted sum of objectives."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from crossdistill.errors import ConfigError
from crossdistill.objectives.core import Batch, Objective, TeacherColumns
from crossdistill.objectives.core.rows import check_weight


class WeightedSum(Objective):
    """``sum_k weight_k * objective_k``. The rows are gathered and normalised once for all of them.

    Args:
        terms: weights and objectives, at least one.
    """

    def __init__(self, terms: Sequence[tuple[float, Objective]]) -> None:
        super().__init__()
        if not terms:
            raise ConfigError("A sum needs at least one objective.", where="objective weighted_sum")
        self.weights = [check_weight(weight, what="weight of a term", name="weighted_sum") for weight, _ in terms]
        self.terms = nn.ModuleList(term for _, term in terms)

    def prepare(self, bank: TeacherColumns) -> None:
        """Hands the bank to all of them."""
        super().prepare(bank)
        for term in self._objectives():
            term.prepare(bank)

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        total = batch.student.new_zeros(())
        for weight, term in zip(self.weights, self._objectives(), strict=True):
            total = total + weight * term.loss(batch)
        return total

    def _objectives(self) -> list[Objective]:
        return [term for term in self.terms if isinstance(term, Objective)]
