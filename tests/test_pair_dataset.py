"""Pairs as a PyTorch data set: what an item holds, with workers, pickled, from every form, and what is refused."""

from __future__ import annotations

import io
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch.utils.data import DataLoader

import crossdistill
from crossdistill import PairDataset, errors, open_pairs
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMC

SMALL = {"source": {"size": 16}, "target": {"modality": "image", "size": 12, "channels": 1}}


def test_an_item(manifest: Path) -> None:
    pairs = open_pairs(manifest)
    dataset = PairDataset(manifest, **SMALL)  # type: ignore[arg-type]
    item = dataset[5]
    assert len(dataset) == len(pairs) == 64
    assert item["source"].shape == (3, 16, 16)
    assert item["source"].dtype == torch.uint8
    assert torch.equal(item["target"], Image(size=12, channels=1, interpolation="bicubic").decode(pairs[5].target))  # type: ignore[arg-type]
    assert dataset.classes[item["label"]] == pairs[5].label
    assert dataset[-1]["id"] == dataset[63]["id"]
    with pytest.raises(IndexError):
        dataset[64]


def test_splits_groups_and_labels(manifest: Path) -> None:
    parts = {split: PairDataset(manifest, split, **SMALL) for split in ("train", "val", "test")}  # type: ignore[arg-type]
    assert sum(map(len, parts.values())) == 64
    assert not set(parts["train"].groups.tolist()) & set(parts["test"].groups.tolist())
    assert parts["train"].labels.tolist() == [each["label"] for each in parts["train"]]  # type: ignore[attr-defined]


def test_rows_that_lack_something(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Image.write_fake(tmp_path / f"{name}.png", 1, 1, rich=True)
    (tmp_path / "pairs.csv").write_text("source,target,label\na.png,b.png,\nc.png,,x\na.png,c.png,y\n")
    dataset = PairDataset(tmp_path / "pairs.csv", **SMALL)  # type: ignore[arg-type]
    assert (len(dataset), dataset.left_out) == (2, 1)
    assert dataset.labels.tolist() == [-1, 1]
    assert dataset.ids.tolist() == [0, 0]  # two rows of one source item
    shutil.copy(tmp_path / "a.png", tmp_path / "copy.png")
    (tmp_path / "copies.csv").write_text("source,target\na.png,b.png\ncopy.png,c.png\n")
    copies = PairDataset(tmp_path / "copies.csv", **SMALL)  # type: ignore[arg-type]
    assert copies.ids.tolist() == [0, 1]  # by the file, and not by what is in it
    assert dataset.groups[0] == dataset.groups[1]


def test_a_plain_loop_with_workers(manifest: Path) -> None:
    dataset = PairDataset(manifest, "train", normalise=True, **SMALL)  # type: ignore[arg-type]
    alone = list(DataLoader(dataset, batch_size=8))
    shared = list(DataLoader(dataset, batch_size=8, num_workers=2))
    assert all(torch.equal(one["target"], other["target"]) for one, other in zip(alone, shared, strict=True))
    batch = shared[0]
    assert batch["source"].shape == (8, 3, 16, 16)
    assert batch["source"].dtype == torch.float32
    assert batch["source"].max() <= 1
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 4))
    loss = CMC()(student(batch["target"]), batch["source"].flatten(1)[:, :4], batch["id"])
    loss.backward()
    assert student[1].weight.grad.abs().sum() > 0


def test_an_encoders_own_modality_gives_what_it_was_trained_with(manifest: Path) -> None:
    teacher = Image(size=16, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear")
    target = {"size": 12, "channels": 1}
    plain = PairDataset(manifest, normalise=True, source=teacher.model_copy(update={"mean": None, "std": None}),
                        target=target)  # fmt: skip
    dataset = PairDataset(manifest, normalise=True, source=teacher, target=target)
    path = dataset.pairs[dataset.rows[3]].source
    assert torch.equal(dataset[3]["source"], teacher.normalise(teacher.decode(path)[None])[0])
    torch.testing.assert_close(dataset[3]["source"], (plain[3]["source"] - 0.5) / 0.25)  # what is open is 0 and 1
    assert "teacher.modality" in str(PairDataset.__doc__)


def test_transforms_come_last(manifest: Path) -> None:
    dataset = PairDataset(
        manifest, normalise=True, source_transform=lambda item: item.mean(), target_transform=torch.Tensor.flatten,
        **SMALL,  # type: ignore[arg-type]
    )  # fmt: skip
    assert dataset[0]["source"].ndim == 0
    assert dataset[0]["target"].shape == (144,)


def test_it_can_be_pickled_and_kept_in_memory(manifest: Path) -> None:
    dataset = PairDataset(manifest, **SMALL)  # type: ignore[arg-type]
    kept = PairDataset(manifest, keep=True, **SMALL)  # type: ignore[arg-type]
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301  # ours
    assert torch.equal(again[3]["source"], dataset[3]["source"])
    assert torch.equal(kept[3]["source"], dataset[3]["source"])


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(np.full((20, 20, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_other_forms(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for number in range(6):
            for ending in ("source.png", "target.png"):
                content = png(10 * number)
                member = tarfile.TarInfo(f"{number:04}.{ending}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    section = {"webdataset": {"shards": str(tmp_path / "shard.tar"), "source": "source.png", "target": "target.png"}}
    dataset = PairDataset(section, **SMALL)  # type: ignore[arg-type]
    assert [int(each["source"][0, 0, 0]) for each in pickle.loads(pickle.dumps(dataset))] == [0, 10, 20, 30, 40, 50]  # noqa: S301
    for number in range(4):
        for side in ("left", "right"):
            (tmp_path / side).mkdir(exist_ok=True)
            np.save(tmp_path / side / f"{number}.npy", np.full(5, number, np.float32))
    vectors = {"modality": "embedding", "width": 5}
    folders = PairDataset(
        {"source": str(tmp_path / "left"), "target": str(tmp_path / "right")}, source=vectors, target=vectors
    )
    assert folders[2]["target"].tolist() == [2.0] * 5


def test_a_set_says_its_own_modalities(manifest: Path, tmp_path: Path) -> None:
    copy = tmp_path / "manifest.csv"
    copy.write_text(manifest.read_text().replace("source/", f"{manifest.parent}/source/").replace(
        "target/", f"{manifest.parent}/target/"))  # fmt: skip
    (tmp_path / "dataset.json").write_text('{"name": "toys", "source": {"modality": "image", "size": 8}}')
    assert PairDataset(copy, target={"size": 9})[0]["source"].shape == (3, 8, 8)


def test_what_is_refused(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="size of the items is open"):
        PairDataset(manifest)
    with pytest.raises(errors.ConfigError, match="Unknown modality"):
        PairDataset(manifest, source="imag")
    with pytest.raises(errors.ConfigError, match=r"A setting|Unknown key"):
        PairDataset({"manifst": "x"}, **SMALL)  # type: ignore[arg-type]
    with pytest.raises(errors.PairsError, match="missing"):
        PairDataset(tmp_path / "none.csv", **SMALL)  # type: ignore[arg-type]
    pairs = open_pairs(manifest)
    only = pairs.with_splits(["train"] * len(pairs))
    with pytest.raises(errors.PairsError, match="no pairs in this split"):
        PairDataset(only, "test", **SMALL)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_item_is_named_from_a_worker_too(workers: int, tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        Image.write_fake(tmp_path / f"{name}.png", 1, 1, rich=True)
    (tmp_path / "d.png").write_bytes(b"no picture")
    (tmp_path / "pairs.csv").write_text("source,target\na.png,b.png\nc.png,d.png\n")
    dataset = PairDataset(tmp_path / "pairs.csv", **SMALL)  # type: ignore[arg-type]
    with pytest.raises(errors.PairsError, match=r"d\.png") as caught:
        list(DataLoader(dataset, num_workers=workers))
    assert "row 3" in str(caught.value)


def test_the_package_says_that_it_is_typed() -> None:
    place = Path(str(crossdistill.__file__)).parent
    assert (place / "py.typed").is_file()
    parts: dict[str, Any] = crossdistill._PLACES
    assert all(hasattr(crossdistill, name) for name in parts)
