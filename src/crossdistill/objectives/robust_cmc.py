"""CMC for pairs some of which are wrong: a bounded loss, which stops insisting on pairs that do not fit."""

from __future__ import annotations

from crossdistill.errors import ConfigError
from crossdistill.objectives.cmc import CMC
from crossdistill.objectives.core import Against
from crossdistill.objectives.core.similarity_loss import MEMORY_MB


class RobustCMC(CMC):
    """``1/B sum_i (1 - p_i^q) / q`` with ``p_i`` the softmax probability of anchor i's own pair in CMC.

    For q towards 0 it is CMC, for q = 1 the mean absolute error. A pair's gradient is CMC's times ``p_i^q``, so that
    pairs which the rest of the data contradicts count little.

    Source: generalised cross-entropy, arXiv 1805.07836, equation 6, on CMC's softmax.

    Args:
        q: above 0 and up to 1; the larger, the more wrong pairs are borne, and the slower the start.
        temperature: as in CMC.
        symmetric: as in CMC.
        learnable_temperature: as in CMC.
        against: as in CMC.
        memory_mb: as in CMC.
    """

    def __init__(
        self,
        q: float = 0.5,
        temperature: float = 0.1,
        symmetric: bool = True,
        learnable_temperature: bool = False,
        against: Against = "batch",
        memory_mb: float = MEMORY_MB,
    ) -> None:
        super().__init__(temperature, symmetric, learnable_temperature, against, memory_mb)
        if not 0 < q <= 1:
            raise ConfigError("q is out of range.", where="objective robust_cmc", expected="0 < q <= 1", received=q)
        self.power = q


OBJECTIVE = RobustCMC
