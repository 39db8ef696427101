"""The plain loop that one writes by hand: the teacher runs in every step, on the picture as it is.

It computes what crossdistill computes (the targets, the student, the loss, the optimiser, the schedule), without logs,
checkpoints or checks.
"""

from __future__ import annotations

import torch
from harness import Recorder, learning_rate
from live_teacher import augment, build, decode, normalise


def main() -> None:
    """Trains and reports."""
    recorder = Recorder(["pillow"])
    settings = recorder.settings
    torch.set_num_threads(settings.threads)
    pictures = decode(settings.files(), settings.size)
    teacher, student, _ = build(settings)
    student.to(memory_format=torch.channels_last).train()
    teacher.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(student.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    batch = min(settings.batch_size, len(pictures))
    per_epoch = len(pictures) // batch

    recorder.training_begins()
    for epoch in range(settings.epochs):
        order, losses = torch.randperm(len(pictures)), []
        for step in range(per_epoch):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(epoch * per_epoch + step, settings.epochs * per_epoch, settings.lr)
            chosen = pictures[order[step * batch : (step + 1) * batch]]
            with torch.inference_mode():
                wanted = teacher(normalise(chosen.float() / 255))
            given = student(normalise(augment(chosen)))
            loss = (given - wanted.clone()).square().sum(dim=1).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        recorder.epoch_ends(losses)
    recorder.finish()


if __name__ == "__main__":
    main()
