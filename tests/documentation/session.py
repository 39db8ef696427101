"""Runs the Python blocks of one page, one after the other in one process, as a reader would in a notebook.

A line of JSON in, {"code": ..., "place": ...}; a line out, {"failed": bool, "output": ...}. Names that pages take for
the reader's own (``student_embeddings``, ``my_module``) are given; what a page defines itself takes their place.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.documentation.shortening import make_room, short


def given() -> dict[str, Any]:
    """What a reader has at hand."""
    import numpy as np
    import torch
    from torch import nn

    torch.manual_seed(0)
    rng = np.random.default_rng(0)

    class Mine(nn.Module):
        """A small network from pictures to features."""

        def __init__(self, width: int = 32) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 7, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
            self.last = nn.Linear(128, width)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(self.body(images))

    np.save("bank.npy", rng.standard_normal((100, 32)).astype(np.float32))
    labels = np.arange(80) % 4
    return {
        "np": np, "torch": torch, "nn": nn, "my_module": Mine(), "student": Mine(), "images": torch.rand(16, 3, 64, 64),
        "student_embeddings": torch.randn(16, 32, requires_grad=True), "teacher_embeddings": torch.randn(16, 32),
        "ids": torch.arange(16), "ids_of_the_bank": torch.arange(100),
        "ids_of_the_batch": torch.arange(16), "groups": np.arange(80) // 2, "labels": labels,
        "source": torch.from_numpy(rng.standard_normal((80, 32))).float(),
        "target": torch.from_numpy(rng.standard_normal((80, 32))).float(), "files": sorted_files(),
    }  # fmt: skip


def sorted_files() -> list[Path]:
    """The photographs."""
    return sorted(Path("photos").glob("*.jpg"))


def keep_runs_short() -> None:
    """``crossdistill.run`` with one epoch, on the small emoji."""
    import yaml

    import crossdistill
    from crossdistill.pipeline import commands

    real = commands.run

    def run(config: Any, overrides: list[str] | None = None, **named: Any) -> Any:
        content = config if isinstance(config, Mapping) else yaml.safe_load(Path(config).read_text())
        more = [*(overrides or []), *short(content)]
        if content.get("pairs") == "emoji":
            more += ["source.size=64", "target.size=64"]
        make_room([str(content["out"])])
        return real(config, more, **named)

    crossdistill.run = run  # type: ignore[attr-defined]


def main() -> None:
    """Reads, runs, answers, until the input ends."""
    answers = sys.stdout
    keep_runs_short()
    names: dict[str, Any] = {"__name__": "__main__", **given()}
    for line in sys.stdin:
        asked = json.loads(line)
        said, failed = io.StringIO(), False
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                exec(compile(asked["code"], asked["place"], "exec"), names)
            except BaseException:
                failed = True
                traceback.print_exc()
        answers.write(json.dumps({"failed": failed, "output": said.getvalue()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
