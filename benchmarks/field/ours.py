"""crossdistill: source and target are both the picture, and the teacher sees each of them once."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

from harness import Recorder


def main() -> None:
    """Runs `crossdistill distill` in this process and reports."""
    recorder = Recorder(["crossdistill"])
    settings = recorder.settings
    import torch

    from crossdistill.pipeline import run_stage_two

    torch.set_num_threads(settings.threads)
    work = Path(settings.work)
    rows = [f"{path.resolve()},{path.resolve()},train" for path in settings.files()]
    (work / "pairs.csv").write_text("\n".join(["source,target,split", *rows]), encoding="utf-8")
    folder = run_stage_two(
        {
            "pairs": str(work / "pairs.csv"),
            "source": {"modality": "image", "size": settings.size},
            "target": {"modality": "image", "size": settings.size, "interpolation": "bicubic"},
            "teacher": {"backbone": settings.teacher, "weights": settings.teacher_weights, "center": False},
            "student": {"backbone": settings.student, "head": "linear"},
            "objective": {"name": "l2"},
            "train": {
                "epochs": settings.epochs, "batch_size": settings.batch_size, "lr": settings.lr,
                "weight_decay": settings.weight_decay, "seed": settings.seed, "workers": 0, "device": "cpu",
            },
            "evaluate": {"protocols": []},
            "out": str(work / "run"),
        }
    )  # fmt: skip
    now = time.time()
    lines = [json.loads(line) for line in folder.log.read_text(encoding="utf-8").splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    ends = [0.0, *(line.get("seconds", 0.0) for line in epochs)]
    recorder.finish(
        setup_seconds=now - settings.started - ends[-1],  # with the teacher's pass over all pictures
        training_seconds=ends[-1],
        epoch_seconds=[later - sooner for sooner, later in pairwise(ends)],
        steps=epochs[-1]["step"],
        losses=[line["loss"] for line in epochs],
    )


if __name__ == "__main__":
    main()
