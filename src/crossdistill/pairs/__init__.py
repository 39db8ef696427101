"""Pairs: one notion of a paired data set, and the ways to get one. ``open_pairs`` is the way in."""

from __future__ import annotations

from pathlib import Path

from crossdistill.pairs.config import PairsConfig, SplitConfig
from crossdistill.pairs.split import assign_splits
from crossdistill.pairs.table import SPLITS, Licence, Pair, Pairs, Side, Split

__all__ = [
    "SPLITS", "Licence", "Pair", "Pairs", "PairsConfig", "Side", "Split", "SplitConfig", "assign_splits", "open_pairs",
]  # fmt: skip


def open_pairs(config: PairsConfig | str | Path) -> Pairs:
    """Opens the pairs that a configuration names and gives every row a split.

    Args:
        config: the ``pairs:`` section, the name of a built-in set, or the path of a manifest.

    Raises:
        PairsError: the pairs cannot be read or are inconsistent.
    """
    if not isinstance(config, PairsConfig):
        config = PairsConfig.model_validate(config)
    if config.builtin is not None:
        from crossdistill.pairs.builtin import open_builtin

        pairs = open_builtin(config.builtin)
    elif config.manifest is not None:
        from crossdistill.pairs.manifest import read_manifest

        pairs = read_manifest(config.manifest)
    else:
        from crossdistill.pairs.folders import read_folders

        assert config.source is not None
        assert config.target is not None
        pairs = read_folders(
            config.source,
            config.target,
            label_is_parent=config.label == "parent",
            group_is_parent=config.group == "parent",
        )
    return assign_splits(pairs, config.split)
