"""torchdistill: its distillation box and its configured loss, optimiser and loader around the plain loop's networks."""

from __future__ import annotations

from typing import Any

import torch
from harness import Recorder, Settings, learning_rate
from live_teacher import augment, build, decode, normalise
from torch import Tensor
from torch.utils.data import Dataset
from torchdistill.core.distillation import get_distillation_box
from torchdistill.datasets.registry import register_collate_func

Sample = tuple[Tensor, int]


class Pictures(Dataset[Sample]):
    """Pictures in memory; torchdistill wants a label with each."""

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        return self.pictures[index], 0


@register_collate_func
def augmented_batch(samples: list[tuple[Tensor, int, dict[str, Any]]]) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """A batch, augmented at once; teacher and student see the same."""
    images = normalise(augment(torch.stack([sample[0] for sample in samples])))
    return images, torch.zeros(len(samples)), {}


def configuration(settings: Settings, width: int, steps: int) -> dict[str, Any]:
    """What torchdistill's YAML file would hold."""
    place = {"module_path": ".", "io": "output"}
    return {
        "num_epochs": settings.epochs,
        "train_data_loader": {
            "dataset_id": "pictures",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler},
            "kwargs": {"batch_size": settings.batch_size, "num_workers": 0, "drop_last": True},
            "collate_fn": "augmented_batch",
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": settings.lr, "weight_decay": settings.weight_decay}},
        "scheduler": {
            "key": "LambdaLR",
            "kwargs": {"lr_lambda": lambda step: learning_rate(step, steps, 1.0)},
            "scheduling_step": 1,
        },
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {
                    "l2": {
                        "criterion": {"key": "MSELoss", "kwargs": {"reduction": "mean"}},
                        "criterion_wrapper": {
                            "key": "SimpleLossWrapper",
                            "kwargs": {
                                "input": {"is_from_teacher": False, **place},
                                "target": {"is_from_teacher": True, **place},
                            },
                        },
                        "weight": float(width),  # the mean over entries, made the sum over them
                    }
                }
            },
        },
    }


def main() -> None:
    """Trains and reports."""
    recorder = Recorder(["torchdistill"])
    settings = recorder.settings
    torch.set_num_threads(settings.threads)
    pictures = decode(settings.files(), settings.size)
    teacher, student, width = build(settings)
    student.to(memory_format=torch.channels_last)
    teacher.to(memory_format=torch.channels_last)
    steps = settings.epochs * (len(pictures) // settings.batch_size)
    box = get_distillation_box(
        teacher, student, {"pictures": Pictures(pictures)}, configuration(settings, width, steps),
        torch.device("cpu"), None, False, 1.0,
    )  # fmt: skip
    recorder.training_begins()
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        box.teacher_model.eval()
        losses = []
        for sample, targets, more in box.train_data_loader:
            box.pre_forward_process()
            loss = box.forward_process(sample, targets, more)
            box.post_forward_process(loss=loss)
            losses.append(loss.item())
        box.post_epoch_process()
        recorder.epoch_ends(losses)
    recorder.finish()


if __name__ == "__main__":
    main()
