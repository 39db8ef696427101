"""A small distillation with chosen teacher embeddings, and objectives that ask for a stop. Not a test itself."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossdistill.encoders import Encoder, StudentConfig, build_student
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMCD, Objective
from crossdistill.objectives.core import Batch
from crossdistill.pairs import open_pairs
from crossdistill.pairs.items import Items
from crossdistill.training import TrainConfig, TrainLog, distil

MODALITY = Image(size=32, channels=1, mean=(0.5,), std=(0.5,), interpolation="bilinear")
CONFIG = TrainConfig(epochs=3, batch_size=12, lr=2e-3, log_every=1, device="cpu")


class Bench:
    """A small distillation with chosen teacher embeddings."""

    def __init__(self, manifest: Path, folder: Path, backbone: str = "test_resnet") -> None:
        self.folder = folder
        self.items = Items.of(open_pairs(str(manifest)), range(40), "target", MODALITY)
        torch.manual_seed(0)
        self.teacher = torch.randn(40, 16)
        torch.manual_seed(1)
        self.initial = build_student(StudentConfig(backbone=backbone), MODALITY, 16)

    def run(self, name: str, config: TrainConfig, objective: Objective | None = None, **options: Any) -> Encoder:
        return distil(
            copy.deepcopy(self.initial), self.items, self.teacher, torch.arange(40), objective or CMCD(0.1), config,
            log=TrainLog(self.folder / f"{name}.jsonl", "distil"), checkpoint=self.folder / name, **options,
        )  # fmt: skip

    def lines(self, name: str, kind: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text().splitlines()]
        return [line for line in found if line["kind"] == kind]


def changed(**settings: Any) -> TrainConfig:
    return TrainConfig(**{**CONFIG.model_dump(), **settings})


class StopAt(CMCD):
    """Asks for a stop, or breaks down, at its n-th call."""

    def __init__(self, call: int, action: Callable[[], None]) -> None:
        super().__init__(0.1)
        self.left, self.action = call, action

    def loss(self, batch: Batch) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.action()
        return super().loss(batch)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
