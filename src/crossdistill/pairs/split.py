"""Splits by group: seeded, stratified by label where there are labels, and never separating a group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crossdistill.pairs.config import SplitConfig
from crossdistill.pairs.table import SPLITS, Pair, Pairs, Split


def assign_splits(pairs: Pairs, config: SplitConfig) -> Pairs:
    """The same pairs with a split in every row; pairs that have one already are returned as they are.

    Groups are shuffled by the seed and dealt out one by one, each to the split that lacks most of its share of rows
    among the rows of the group's most frequent label, so every class is spread as evenly as its groups allow.
    """
    if any(pair.split is not None for pair in pairs):
        return pairs
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(pairs.group_ids):
        members[group].append(row)
    strata: dict[str, list[int]] = defaultdict(list)
    for group, rows in members.items():
        strata[Counter(pairs[row].label or "" for row in rows).most_common(1)[0][0]].append(group)

    rng = np.random.default_rng(config.seed)
    shares: dict[Split, float] = {"train": 1 - config.val - config.test, "val": config.val, "test": config.test}
    chosen: dict[int, Split] = {}
    for stratum in sorted(strata):
        groups = strata[stratum]
        total = sum(len(members[group]) for group in groups)
        dealt: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        # Large groups first, in random order among equals: a large one dealt last could overfill a small split.
        order = sorted(rng.permutation(len(groups)), key=lambda place: -len(members[groups[place]]))
        for place in order:
            rows = members[groups[place]]
            split = max(SPLITS, key=lambda name: shares[name] * total - dealt[name])
            dealt[split] += len(rows)
            chosen[groups[place]] = split
    return pairs.with_splits([chosen[group] for group in pairs.group_ids])


def add_rows(pairs: Pairs, rows: Sequence[Pair], config: SplitConfig) -> Pairs:
    """The pairs with more rows, all of one side alone.

    Where the pairs have splits, unlabelled rows are for training, and labelled ones are divided by themselves.
    """
    if pairs[0].split is None:
        return pairs.with_rows([*pairs, *rows])
    labelled = [row for row in rows if row.label is not None]
    divided = list(assign_splits(Pairs(tuple(labelled), name=pairs.name), config)) if labelled else []
    unlabelled = [replace(row, split="train") for row in rows if row.label is None]
    return pairs.with_rows([*pairs, *unlabelled, *divided])


def without_test(pairs: Pairs) -> Pairs:
    """Only the rows of train and val, the latter as test: what settings may be chosen by.

    Raises:
        PairsError: there is no val row.
    """
    pairs.require("val", (), "choosing settings")
    return pairs.with_rows(
        replace(row, split="test" if row.split == "val" else row.split) for row in pairs if row.split != "test"
    )
