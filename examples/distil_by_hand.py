"""The whole of stage 2 in one file, without the engine: what `crossdistill distill` does, step by step.

python examples/distil_by_hand.py --epochs 2
"""

from __future__ import annotations

import argparse

import torch

from crossdistill.encoders import StudentConfig, Teacher, TeacherConfig, build_student, build_teacher, resolve_modality
from crossdistill.evaluation import embed_items, ranks
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMCD
from crossdistill.pairs import open_pairs
from crossdistill.pairs.items import Items


def main() -> None:
    """Distils and prints R@1 on the test pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    torch.manual_seed(0)

    # Pairs with a split by group; stage 2 needs no label.
    pairs = open_pairs("emoji")
    train, test = (pairs.where(split, has=("source", "target")) for split in ("train", "test"))  # type: ignore[arg-type]

    # The frozen teacher embeds every source item once.
    teacher = Teacher(build_teacher(TeacherConfig(weights="efficientnet-lite0"), Image(size=96)))
    bank = {}
    for split, rows in (("train", train), ("test", test)):
        bank[split] = torch.from_numpy(
            embed_items(teacher.encoder, Items.of(pairs, rows, "source", teacher.modality), teacher.device)[0]
        )
    mean = bank["train"].mean(dim=0)
    bank = {split: embeddings - mean for split, embeddings in bank.items()}

    # A student of random weights, normalised by its own training items.
    config, target = StudentConfig(backbone="test_resnet"), Image(size=64, channels=1)
    items = Items.of(pairs, train, "target", resolve_modality(config, target))
    student = build_student(config, target, teacher.width, items.batch(range(len(items))))

    objective, batch_size = CMCD(temperature=0.1), 128
    optimiser = torch.optim.AdamW(student.parameters(), lr=3e-3, weight_decay=0.05)
    steps = epochs * (len(items) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    student.train()
    for epoch in range(epochs):
        for numbers in torch.randperm(len(items)).split(batch_size)[: len(items) // batch_size]:
            images = student.modality.normalise(student.modality.augment(items.batch(numbers.tolist())))
            loss = objective(student(images), bank["train"][numbers])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {float(loss.detach()):.3f}")

    unseen = Items.of(pairs, test, "target", student.modality)
    embeddings, _ = embed_items(student, unseen, torch.device("cpu"))
    ids = torch.arange(len(test)).numpy()
    found = ranks(embeddings, bank["test"].numpy(), ids, ids)
    print(f"R@1 of {len(test)} unseen drawings: {100 * (found <= 1).mean():.1f} %")


if __name__ == "__main__":
    main()
