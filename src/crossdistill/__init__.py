"""crossdistill: carry the knowledge of a pretrained encoder of one modality into an encoder for another.

Nothing heavy is imported here; the names below are found on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from crossdistill.encoders import Encoder
    from crossdistill.errors import CrossDistillError
    from crossdistill.estimator import CrossModalEmbedder
    from crossdistill.hub import from_pretrained
    from crossdistill.pairs import Pairs, open_pairs
    from crossdistill.pairs.dataset import PairDataset
    from crossdistill.pipeline import CrossModalModel, RunConfig, evaluate, load, run

_PLACES = {
    "CrossModalEmbedder": "estimator",
    "CrossDistillError": "errors",
    "CrossModalModel": "pipeline",
    "Encoder": "encoders",
    "PairDataset": "pairs.dataset",
    "Pairs": "pairs",
    "RunConfig": "pipeline",
    "evaluate": "pipeline",
    "from_pretrained": "hub",
    "load": "pipeline",
    "open_pairs": "pairs",
    "run": "pipeline",
}

__all__ = [
    "CrossDistillError", "CrossModalEmbedder", "CrossModalModel", "Encoder", "PairDataset", "Pairs", "RunConfig",
    "__version__", "evaluate", "from_pretrained", "load", "open_pairs", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
