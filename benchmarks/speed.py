"""What the design buys: the teacher bank against a teacher in every step, batched against per-item augmentation.

python -m benchmarks.speed [--quick] [--json]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torchvision.transforms import v2

from benchmarks.record import at_least, save
from crossdistill.encoders import StudentConfig, Teacher, TeacherConfig, build_student, build_teacher
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMCD

BATCH, SIZE = 128, 64


def rate(action: Callable[[], object], seconds: float) -> float:
    """Items a second: the best of three rounds after a warm-up, as other work on the machine can only slow it down."""
    action()
    best = 0.0
    for _ in range(3):
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            action()
            count += 1
        best = max(best, BATCH * count / (time.perf_counter() - started))
    return best


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seconds = 1.0 if arguments.quick else 5.0
    torch.manual_seed(0)

    teacher = Teacher(build_teacher(TeacherConfig(backbone="tf_efficientnet_lite0", weights="random"), Image(size=96)))
    target = Image(size=SIZE, channels=1)
    student = build_student(StudentConfig(backbone="test_resnet"), target, teacher.width).train()
    optimiser = torch.optim.AdamW(student.parameters())
    sources = torch.randint(0, 255, (BATCH, 3, 96, 96), dtype=torch.uint8)
    targets = torch.randint(0, 255, (BATCH, 1, SIZE, SIZE), dtype=torch.uint8)
    cached, objective = teacher.embed(sources), CMCD()

    def step(embeddings: Callable[[], torch.Tensor]) -> None:
        images = student.modality.normalise(student.modality.augment(targets))
        loss = objective(student(images), embeddings())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    measurements = []
    naive = rate(lambda: step(lambda: teacher.embed(sources)), seconds)
    ours = rate(lambda: step(lambda: cached), seconds)
    measurements.append(
        at_least("distillation step, teacher bank against teacher in the step", ours, naive, "pairs/s", 1.2)
    )

    per_item = v2.Compose(
        [v2.RandomAffine(15, (0.1, 0.1), (0.85, 1.15), fill=255), v2.RandomHorizontalFlip(), v2.ColorJitter(0.2, 0.2)]
    )
    modality = student.modality
    naive = rate(lambda: torch.stack([per_item(item) for item in targets]), seconds)
    ours = rate(lambda: modality.augment(targets), seconds)
    measurements.append(at_least("augmentation, batched against one item at a time", ours, naive, "images/s", 2.0))

    for measurement in measurements:
        measurement.show(arguments.json)
    if not arguments.quick:
        save("speed", {"measurements": [vars(measurement) for measurement in measurements]})


if __name__ == "__main__":
    main()
