"""Pairs: one notion of a paired data set, and the ways to get one. ``open_pairs`` is the way in."""

from __future__ import annotations

from pathlib import Path

from crossdistill.pairs.config import PairsConfig, SplitConfig
from crossdistill.pairs.readers.folders import read_folders, single_side
from crossdistill.pairs.split import add_rows, assign_splits, without_test
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
    pairs = _read(config)
    extra = [
        row for name in _FOLDERS if (folder := getattr(config, name)) is not None for row in single_side(name, folder)
    ]
    if extra:
        pairs = add_rows(pairs, extra, config.split)
    pairs = assign_splits(pairs, config.split)
    return without_test(pairs) if config.measure_on == "val" else pairs


_FOLDERS = ("unpaired_source", "unpaired_target", "labelled_target")


def _read(config: PairsConfig) -> Pairs:
    if config.builtin is not None:
        from crossdistill.pairs.builtin import open_builtin

        return open_builtin(config.builtin, options=config.options, package=config.package)
    if config.manifest is not None:
        from crossdistill.pairs.readers.manifest import read_manifest

        return read_manifest(config.manifest)
    if config.dataset is not None:
        from crossdistill.pairs.datasets import open_dataset

        options = dict(config.dataset)
        return open_dataset(str(options.pop("name", "")), options)
    if config.webdataset is not None:
        from crossdistill.pairs.readers.shards import read_shards

        return read_shards(config.webdataset)
    if config.arrays is not None:
        from crossdistill.pairs.readers.arrays import read_arrays

        return read_arrays(config.arrays)
    if config.hub is not None:
        from crossdistill.pairs.readers.tables import read_hub

        return read_hub(config.hub)
    assert config.source is not None
    assert config.target is not None
    return read_folders(
        config.source, config.target, label_is_parent=config.label == "parent", group_is_parent=config.group == "parent"
    )
