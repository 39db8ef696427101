"""Where the target of a mismatched pair may belong: among the doubtful pairs, which fit each other better?"""

from __future__ import annotations

import numpy as np

from crossdistill.audit.agreement import Canonical, evidence
from crossdistill.audit.pairing import Pairing, View
from crossdistill.evaluation.intervals import Ints

_MOST = 2000  # doubtful pairs that are compared with each other
_AS_GOOD = 0.1  # quantile of the right pairs' evidence that a better partner has to reach


def better_partners(views: list[View], pairing: Pairing, doubtful: Ints) -> dict[int, int]:
    """For doubtful pairs the one whose target fits their source as a right pair's would; only where there is one.

    Args:
        views: of all pairs.
        pairing: what was found out about them.
        doubtful: numbers of pairs.
    """
    if not 1 < len(doubtful) <= _MOST:
        return {}
    trusted = np.setdiff1d(np.arange(len(pairing.score)), doubtful)
    between, right = np.zeros((len(doubtful), len(doubtful))), np.zeros(len(trusted))
    for (x, y), weight, believed in zip(views, pairing.weights, pairing.believed, strict=True):
        model = Canonical.fit(x[trusted], y[trusted])
        u, v = model.variates(x, y)
        between += weight * evidence(u[doubtful], v[doubtful], believed)
        for start in range(0, len(trusted), _MOST):
            rows = trusted[start : start + _MOST]
            right[start : start + _MOST] += weight * np.diag(evidence(u[rows], v[rows], believed))
    enough = float(np.quantile(right, _AS_GOOD))
    own = np.diag(between).copy()
    np.fill_diagonal(between, -np.inf)
    best = between.argmax(axis=1)
    return {
        int(doubtful[place]): int(doubtful[other])
        for place, other in enumerate(best)
        if between[place, other] > max(enough, own[place])
    }
