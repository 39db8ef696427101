"""A process of its own that builds a bank, for tests that kill it or start several. Not a test itself.

Usage: python bank_worker.py MANIFEST FOLDER LOG [SECONDS]: each embedded batch is a line of LOG, after SECONDS of rest.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from crossdistill import ranks
from crossdistill.bank import build_bank
from crossdistill.encoders import Teacher, TeacherConfig, build_teacher
from crossdistill.modalities.image import Image
from crossdistill.pairs import open_pairs
from crossdistill.pairs.items import Items


def make_teacher(seed: int = 0, size: int = 32) -> Teacher:
    """A teacher of random weights."""
    torch.manual_seed(seed)
    return Teacher(build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), Image(size=size)))


def make_items(manifest: Path, count: int | None = None, size: int = 32) -> Items:
    """The first source items."""
    pairs = open_pairs(str(manifest))
    return Items.of(pairs, range(count or len(pairs)), "source", make_teacher(size=size).modality)


if __name__ == "__main__":
    torch.set_num_threads(1)
    ranks.start()
    manifest, folder, log = map(Path, sys.argv[1:4])
    rest = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    teacher, items = make_teacher(), make_items(manifest)
    embed = teacher.embed

    def slow(batch: Tensor) -> Tensor:
        time.sleep(rest)
        result = embed(batch)
        with log.open("a") as stream:
            stream.write(f"{len(batch)} {float(batch.double().sum())}\n")
        return result

    teacher.embed = slow  # type: ignore[method-assign]
    build_bank(folder, teacher, items, shard_rows=64)
    ranks.leave()
