"""Seeds that are made from other seeds, so that each use of chance has a stream of its own."""

from __future__ import annotations

import numpy as np


def derive_seed(*parts: int) -> int:
    """One well-mixed 63-bit seed from several small numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
