"""The pairs of a run, as its configuration names them."""

from __future__ import annotations

from crossdistill.pairs import Pairs, open_pairs
from crossdistill.pairs.unpair import keep_pairs
from crossdistill.pipeline.config import RunConfig


def run_pairs(config: RunConfig) -> Pairs:
    """Opens the pairs, and takes those apart that ``semi.pairs`` does not keep.

    Raises:
        PairsError: see :func:`~crossdistill.pairs.open_pairs`.
    """
    pairs = open_pairs(config.pairs)
    return pairs if config.semi is None else keep_pairs(pairs, config.semi.pairs, config.semi.seed)
