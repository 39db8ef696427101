"""lightly-train: its command `pretrain` with the method `distillationv1`, whose teacher runs in every step.

Its teachers are DINOv2 and DINOv3 alone, in its own implementation; the weights given here are renamed for it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightly_train
import torch
from harness import Recorder, Settings
from lightly_train._commands import train_helpers
from lightly_train._models.dinov2_vit.dinov2_vit_package import DINOV2_VIT_PACKAGE
from lightly_train._models.dinov2_vit.dinov2_vit_src.configs import MODELS
from pytorch_lightning import Callback
from torch.nn import functional as F

TEACHERS = {
    "vit_small_patch14_dinov2": "vits14-noreg",
    "vit_base_patch14_dinov2": "vitb14-noreg",
}


class Watch(Callback):
    """Tells the recorder of the beginning, and of every epoch."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.losses: list[float] = []

    def on_train_start(self, *_: Any) -> None:
        """Before the first batch."""
        self.recorder.training_begins()

    def on_train_batch_end(self, _trainer: Any, _module: Any, outputs: Any, *_: Any) -> None:
        """After each step."""
        self.losses.append(float(outputs["loss"] if isinstance(outputs, dict) else outputs))

    def on_train_epoch_end(self, *_: Any) -> None:
        """After each epoch."""
        self.recorder.epoch_ends(self.losses)
        self.losses = []


def watch(recorder: Recorder) -> None:
    """Adds the watch to lightly-train's own callbacks: `trainer_args` could only replace them."""
    original = train_helpers.get_trainer

    def watched(*arguments: Any, callbacks: list[Callback], **more: Any) -> Any:
        return original(*arguments, callbacks=[*callbacks, Watch(recorder)], **more)

    train_helpers.get_trainer = watched


def provide_weights(settings: Settings, name: str) -> None:
    """Puts timm's state dict, under lightly-train's names, where lightly-train looks before it downloads anything.

    The position embedding is resampled to its grid.
    """
    given = torch.load(settings.teacher_weights, weights_only=True)
    wanted = DINOV2_VIT_PACKAGE.get_model(name, load_weights=False).state_dict()
    found = {}
    for key, value in wanted.items():
        if key not in given:  # the mask token takes no part
            found[key] = torch.zeros_like(value)
        elif key == "pos_embed" and given[key].shape != value.shape:
            first, rest = given[key][:, :1], given[key][:, 1:]
            old, new = (round((tensor.shape[1] - 1) ** 0.5) for tensor in (given[key], value))
            grid = rest.reshape(1, old, old, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, (new, new), mode="bicubic", antialias=True)
            found[key] = torch.cat([first, grid.permute(0, 2, 3, 1).reshape(1, new * new, -1)], dim=1)
        else:
            found[key] = given[key]
    unused = sorted(given.keys() - found.keys())
    if unused:
        raise SystemExit(f"weights that lightly-train's teacher has no place for: {unused[:3]}")
    folder = Path(settings.work) / "models"
    folder.mkdir()
    os.environ["LIGHTLY_TRAIN_MODEL_CACHE_DIR"] = str(folder)
    torch.save(found, folder / Path(MODELS[name]["url"]).name)


def main() -> None:
    """Trains and reports."""
    recorder = Recorder(["lightly-train", "pytorch-lightning", "albumentations"])
    settings = recorder.settings
    torch.set_num_threads(settings.threads)
    if settings.teacher not in TEACHERS:
        raise SystemExit(f"lightly-train distils from DINOv2 and DINOv3 alone, and not from {settings.teacher}")
    name = TEACHERS[settings.teacher]
    provide_weights(settings, name)
    watch(recorder)
    lightly_train.pretrain(
        out=str(Path(settings.work) / "run"),
        data=settings.pictures,
        model=f"timm/{settings.student}",
        method="distillationv1",
        method_args={"teacher": f"dinov2/{name}"},
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        num_workers=0,
        devices=1,
        accelerator="cpu",
        precision="32-true",
        seed=settings.seed,
        optim="adamw",
        optim_args={"lr": settings.lr, "weight_decay": settings.weight_decay},
        loggers={"tensorboard": None},
        trainer_args={"enable_model_summary": False},
        transform_args={
            "image_size": (settings.size, settings.size),
            "random_resize": {"min_scale": 0.72, "max_scale": 1.0, "min_ratio": 1.0, "max_ratio": 1.0},
            "random_flip": {"horizontal_prob": 0.5, "vertical_prob": 0.0},
            "random_rotation": {"prob": 1.0, "degrees": 15},
            "color_jitter": {
                "prob": 1.0, "strength": 1.0, "brightness": 0.2, "contrast": 0.2, "saturation": 0.0, "hue": 0.0,
            },
            "random_gray_scale": 0.0,
            "gaussian_blur": None,
        },
    )  # fmt: skip
    recorder.finish()


if __name__ == "__main__":
    main()
