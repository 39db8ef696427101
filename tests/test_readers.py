"""Readers of larger files: what was written comes back, item by item, and what is damaged is named."""

from __future__ import annotations

import gc
import http.server
import io
import json
import pickle
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image as Pillow

from crossdistill.errors import PairsError
from crossdistill.modalities.image import Image
from crossdistill.modalities.sketch import Sketch
from crossdistill.pairs import Pairs, PairsConfig, open_pairs
from crossdistill.pairs.items import Items
from crossdistill.pairs.readers.arrays import NpyStore
from crossdistill.pairs.readers.shards import expand
from crossdistill.pipeline import run
from crossdistill.training.batches import StepSampler, load_batches
from crossdistill.validation import validated

COUNT = 12


def picture(index: int, side: int = 0) -> bytes:
    """A PNG that no other index and side has."""
    values = np.random.default_rng((index, side)).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Pillow.fromarray(values).save(stream, format="PNG")
    return stream.getvalue()


def pixels(content: bytes) -> torch.Tensor:
    return Image(size=32, interpolation="bilinear").from_array(Pillow.open(io.BytesIO(content)))


def opened(**config: Any) -> Pairs:
    return open_pairs(validated(PairsConfig, config, "pairs").resolved(Path.cwd()))


def check(pairs: Pairs, count: int = COUNT) -> None:
    """Every item is the right one, in the right row, also after a trip into another process."""
    assert len(pairs) == count
    for side, number in (("source", 0), ("target", 1)):
        items = Items.of(pairs, range(count), side, Image(size=32, interpolation="bilinear"))
        for index in range(count):
            assert torch.equal(items[index], pixels(picture(index, number)))
    moved = pickle.loads(pickle.dumps(pairs[3].target))  # noqa: S301  (as a data worker gets it)
    assert moved is not None
    assert torch.equal(Image(size=32, interpolation="bilinear").decode(moved), pixels(picture(3, 1)))


# --- WebDataset shards


def write_shards(folder: Path, per_shard: int = 5) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for start in range(0, COUNT, per_shard):
        path = folder / f"pairs-{start // per_shard:03}.tar"
        with webdataset.TarWriter(str(path)) as writer:
            for index in range(start, min(COUNT, start + per_shard)):
                writer.write(
                    {
                        "__key__": f"part/{index:04}",
                        "png": picture(index, 0),
                        "sketch.png": picture(index, 1),
                        "cls": str(index % 2),
                        "json": json.dumps({"scene": f"s{index // 2}"}),
                    }
                )
        paths.append(path)
    return paths


SHARDS: dict[str, Any] = {"source": "jpg;png", "target": "sketch.png", "label": "cls", "group": "json.scene"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # WebDataset leaves files open
def test_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    pairs = opened(webdataset={"shards": str(tmp_path / "pairs-{000..002}.tar"), **SHARDS})
    check(pairs)
    assert [pair.label for pair in pairs] == [str(index % 2) for index in range(COUNT)]
    assert pairs[5].group == "s2"
    assert pairs[5].where == "pairs-001.tar, sample part/0005"
    # The same samples in the same order as WebDataset's own reader gives them.
    theirs = webdataset.WebDataset([str(path) for path in sorted(tmp_path.glob("*.tar"))], shardshuffle=False)
    found = [sample["sketch.png"] for sample in theirs]
    del theirs
    gc.collect()
    assert found == [pair.target.read_bytes() for pair in pairs if pair.target]


def test_shards_of_each_split_and_unpaired_samples(tmp_path: Path) -> None:
    write_shards(tmp_path)
    with tarfile.open(tmp_path / "more.tar", "w") as tar:
        for name, content in (("a.png", picture(90)), ("b.sketch.png", picture(91)), ("README", b"of no sample")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    names = [str(tmp_path / f"pairs-00{number}.tar") for number in range(3)]
    shards = {"train": [names[0], names[1], str(tmp_path / "more.tar")], "test": names[2]}
    pairs = opened(webdataset={"shards": shards, "source": "png", "target": "sketch.png"})
    assert [len(pairs.where(split)) for split in ("train", "val", "test")] == [12, 0, 2]
    assert pairs.counts()["train"]["source_only"] == 1
    assert pairs.counts()["train"]["target_only"] == 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback over ``tmp_path``."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


def test_shards_of_a_url_are_fetched_once(tmp_path: Path, server: str) -> None:
    for path in write_shards(tmp_path):
        assert path.is_file()
    config = {"shards": f"{server}/pairs-{{000..002}}.tar", **SHARDS}
    check(opened(webdataset=config))
    for path in tmp_path.glob("*.tar"):
        path.unlink()
    check(opened(webdataset=config))  # from the cache
    with pytest.raises(PairsError, match=r"cannot be fetched(.|\n)*pairs-009(.|\n)*not found"):
        opened(webdataset={**config, "shards": f"{server}/pairs-009.tar"})


def test_ranges_of_shards() -> None:
    assert expand("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand(["x{0..1}-{5..6}.tar"]) == ["x0-5.tar", "x0-6.tar", "x1-5.tar", "x1-6.tar"]
    with pytest.raises(PairsError, match="range"):
        expand("a-{5..3}.tar")


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    path = write_shards(tmp_path)[0]
    whole = path.read_bytes()
    names = [f"s{number}.tar" for number in range(3)]
    # In the middle of a member, in the middle of a header, and exactly between two members.
    for name, size in zip(names, (2500, 2100, 1536), strict=True):
        (tmp_path / name).write_bytes(whole[:size])
        with pytest.raises(PairsError, match=rf"(truncated|cannot be read|no end mark)(.|\n)*{name}"):
            opened(webdataset={"shards": str(tmp_path / name), **SHARDS})
    with pytest.raises(PairsError, match=r"missing(.|\n)*none\.tar"):
        opened(webdataset={"shards": str(tmp_path / "none.tar"), **SHARDS})
    with pytest.raises(PairsError, match="not read from commands"):
        opened(webdataset={"shards": "pipe:cat x", **SHARDS})
    with pytest.raises(PairsError, match=r"No sample has a target(.|\n)*depth\.exr(.|\n)*part/0000"):
        opened(webdataset={"shards": str(path), **SHARDS, "target": "depth.exr"})
    with pytest.raises(PairsError, match=r"neither a source nor a target(.|\n)*sketch\.png"):
        opened(webdataset={"shards": str(path), "source": "jpg", "target": "exr"})
    with pytest.raises(PairsError, match=r"no text(.|\n)*'kind'"):
        opened(webdataset={"shards": str(path), **SHARDS, "label": "json.kind"})
    with pytest.raises(PairsError, match="stands twice"):
        opened(webdataset={"shards": [str(path), str(path)], **SHARDS})


def test_a_member_that_shrinks_later_is_named(tmp_path: Path) -> None:
    path = write_shards(tmp_path, per_shard=COUNT)[0]
    pairs = opened(webdataset={"shards": str(path), **SHARDS})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PairsError, match=r"cannot be read(.|\n)*sample part/0011(.|\n)*too early"):
        Items.of(pairs, [11], "target", Image(size=32, interpolation="bilinear"))


# --- arrays


def stack(side: int) -> np.ndarray[Any, Any]:
    return np.stack([pixels(picture(index, side)).permute(1, 2, 0).numpy() for index in range(COUNT)])


@pytest.mark.parametrize("form", ["h5", "npz", "compressed", "npy", "channels_first"])
def test_arrays(tmp_path: Path, form: str) -> None:
    arrays = {"rgb": stack(0), "drawing": stack(1)}
    names = {"label": np.array([f"c{index % 3}" for index in range(COUNT)]), "scene": np.arange(COUNT) // 2}
    config: dict[str, Any] = {"source": "rgb", "target": "drawing", "label": "label", "group": "scene"}
    if form == "channels_first":
        arrays = {name: np.moveaxis(values, -1, 1) for name, values in arrays.items()}
        config["channels_first"] = True
    if form in ("h5", "channels_first"):
        config["file"] = str(tmp_path / "all.h5")
        with h5py.File(tmp_path / "all.h5", "w") as file:
            for name, values in {**arrays, "scene": names["scene"]}.items():
                file.create_dataset(name, data=values)
            file.create_dataset("label", data=[str(name) for name in names["label"]])
    elif form == "npy":
        for name, values in {**arrays, **names}.items():
            np.save(tmp_path / f"{name}.npy", values)
        config = {key: str(tmp_path / f"{name}.npy") for key, name in config.items()}
    else:
        config["file"] = str(tmp_path / "all.npz")
        (np.savez if form == "npz" else np.savez_compressed)(tmp_path / "all.npz", **arrays, **names)
    pairs = opened(arrays=config)
    check(pairs)
    assert pairs.classes == ("c0", "c1", "c2")
    assert len(set(pairs.group_ids)) == COUNT // 2


def test_arrays_are_mapped_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", rgb=stack(0), drawing=stack(1))
    pairs = opened(arrays={"file": str(tmp_path / "all.npz"), "source": "rgb", "target": "drawing"})
    store = getattr(pairs[0].source, "store")  # noqa: B009  (an item of a file has none)
    assert isinstance(store, NpyStore)
    assert isinstance(store.opened, np.memmap)


def test_wrong_arrays_are_named(tmp_path: Path) -> None:
    objects = np.empty(3, dtype=object)
    np.savez(tmp_path / "a.npz", rgb=stack(0), short=stack(1)[:5], objects=objects, none=stack(0)[:0])
    base = {"file": str(tmp_path / "a.npz"), "source": "rgb"}
    for config, message in (
        ({"target": "shart"}, r"no such array(.|\n)*did you mean 'short'"),
        ({"target": "short"}, r"differ in length(.|\n)*source: 12, target: 5"),
        ({"target": "objects"}, r"cannot be read(.|\n)*Python objects"),
        ({"target": "none"}, "holds no items"),
        ({"label": "rgb"}, r"no names(.|\n)*uint8"),
    ):
        with pytest.raises(PairsError, match=message):
            opened(arrays={**base, **config})
    (tmp_path / "b.h5").write_bytes(b"no HDF5 at all")
    (tmp_path / "c.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:1000])
    for name in ("b.h5", "c.npz", "none.h5", "a.txt"):
        with pytest.raises(PairsError, match=name):
            opened(arrays={"file": str(tmp_path / name), "source": "rgb"})
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("rgb.npy", b"\x93NUMPY\x01\x00junk")
    with pytest.raises(PairsError, match=r"cannot be read(.|\n)*d\.npz"):
        opened(arrays={"file": str(tmp_path / "d.npz"), "source": "rgb"})


# --- tables


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_with_bytes(tmp_path: Path, nested: bool) -> None:
    def cells(side: int) -> list[Any]:
        contents = [picture(index, side) for index in range(COUNT)]
        return [{"bytes": content, "path": f"{side}.png"} for content in contents] if nested else contents

    table = pa.table({"source": cells(0), "target": cells(1), "label": [str(index % 2) for index in range(COUNT)]})
    pq.write_table(table, tmp_path / "pairs.parquet", row_group_size=5)
    pairs = opened(manifest=str(tmp_path / "pairs.parquet"))
    check(pairs)
    assert pairs[4].where == "pairs.parquet, row 5"
    assert pairs.classes == ("0", "1")
    check(opened(manifest=str(tmp_path / "pairs.parquet")))  # from the cache


def test_parquet_mixes_bytes_and_paths_and_empty_cells(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    table = pa.table({"source": ["a.png", None, "a.png"], "target": [picture(0, 1), picture(1, 1), None]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    pairs = opened(manifest=str(tmp_path / "pairs.parquet"), split={"test": 0.3, "val": 0})
    assert pairs[0].source == tmp_path / "a.png"
    assert [pair.paired for pair in pairs] == [True, False, False]


def test_a_cell_of_an_array_keeps_its_format(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 4), np.float32))
    table = pa.table({"source": [picture(0)], "target": [stream.getvalue()]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    target = opened(manifest=str(tmp_path / "pairs.parquet"))[0].target
    assert target is not None
    assert target.suffix == ".npy"


def test_damaged_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": [picture(0)] * 3, "target": [picture(1)] * 3}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])
    (tmp_path / "flipped.parquet").write_bytes(content[:100] + bytes(400) + content[500:])
    for name in ("cut", "flipped"):
        with pytest.raises(PairsError, match=rf"{name}\.parquet"):
            check(opened(manifest=str(tmp_path / f"{name}.parquet")), 3)


def hub_set(start: int, stop: int) -> datasets.Dataset:
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "drawing": datasets.Image(),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "vector": datasets.Sequence(datasets.Value("float32")),
        }
    )
    rows = range(start, stop)
    return datasets.Dataset.from_dict(
        {
            "photo": [{"bytes": picture(index, 0), "path": None} for index in rows],
            "drawing": [{"bytes": picture(index, 1), "path": None} for index in rows],
            "kind": [index % 2 for index in rows],
            "vector": [[float(index), 1.0, 2.0] for index in rows],
        },
        features=features,
    )


HUB = {"source": "photo", "target": "drawing", "label": "kind"}


def test_datasets_on_disk(tmp_path: Path) -> None:
    hub_set(0, COUNT).save_to_disk(str(tmp_path / "one"))
    pairs = opened(hub={"path": str(tmp_path / "one"), **HUB})
    check(pairs)
    assert pairs.classes == ("cat", "dog")
    whole = datasets.DatasetDict({"train": hub_set(0, 8), "validation": hub_set(8, 10), "test": hub_set(10, 12)})
    whole.save_to_disk(str(tmp_path / "three"))
    pairs = opened(hub={"path": str(tmp_path / "three"), **HUB})
    check(pairs)
    assert [len(pairs.where(split)) for split in ("train", "val", "test")] == [8, 2, 2]
    pairs = opened(hub={"path": str(tmp_path / "three"), "split": "train", "source": "photo", "target": "vector"})
    assert len(pairs) == 8
    vector = pairs[2].target
    assert vector is not None
    assert vector.suffix == ".npy"
    assert np.load(vector.open("rb")).tolist() == [2.0, 1.0, 2.0]


def test_datasets_by_name(tmp_path: Path) -> None:
    """A folder of Parquet files goes the way that a name on the hub goes."""
    hub_set(0, COUNT).to_parquet(str(tmp_path / "data" / "train.parquet"))
    pairs = opened(hub={"path": str(tmp_path / "data"), **HUB})
    check(pairs)


def test_wrong_datasets_are_named(tmp_path: Path) -> None:
    hub_set(0, 4).save_to_disk(str(tmp_path / "one"))
    for config, message in (
        ({"path": str(tmp_path / "one"), "source": "foto"}, "did you mean 'photo'"),
        ({"path": str(tmp_path / "one"), "source": "photo", "split": "trian"}, "did you mean 'train'"),
        ({"path": str(tmp_path / "none"), "source": "photo"}, "cannot be loaded"),
    ):
        with pytest.raises(PairsError, match=message):
            opened(hub=config)


# --- lines


def test_drawings_of_one_file(tmp_path: Path) -> None:
    """QuickDraw's files hold a drawing a line; a manifest names them one by one."""
    lines = [
        json.dumps({"word": "cat", "drawing": [[[0, index * 9], [0, 50]], [[5, 60], [9, 9]]]}) for index in range(8)
    ]
    (tmp_path / "cats.ndjson").write_text("\n".join(lines))  # the last line has no end
    for index, line in enumerate(lines):
        (tmp_path / f"{index}.json").write_text(line)
        (tmp_path / f"{index}.png").write_bytes(picture(index))
    rows = [f"{index}.png,cats.ndjson#{index + 1}" for index in range(8)]
    (tmp_path / "pairs.csv").write_text("\n".join(["source,target", *rows]))
    pairs = opened(manifest=str(tmp_path / "pairs.csv"))
    sketch = Sketch(size=32, interpolation="bilinear")
    items = Items.of(pairs, range(8), "target", sketch)
    for index in range(8):
        assert torch.equal(items[index], sketch.decode(tmp_path / f"{index}.json"))
    (tmp_path / "pairs.csv").write_text("source,target\n0.png,cats.ndjson#9\n")
    with pytest.raises(PairsError, match=r"row 2, column target(.|\n)*cats\.ndjson#9(.|\n)*file of 8 lines"):
        Items.of(opened(manifest=str(tmp_path / "pairs.csv"), split={"test": 0.5}), [0], "target", sketch)
    (tmp_path / "pairs.csv").write_text("source,target\n0.png,dogs.ndjson#1\n")
    with pytest.raises(PairsError, match=r"missing(.|\n)*dogs\.ndjson"):
        opened(manifest=str(tmp_path / "pairs.csv"))


# --- folders of one side


def test_unpaired_and_labelled_folders(tmp_path: Path, manifest: Path) -> None:
    for name in ("photos/a.png", "drawings/b.png", "few/cat/c.png", "few/dog/d.png"):
        Image.write_fake(tmp_path / name, 1, 2, rich=True)
    pairs = opened(
        manifest=str(manifest),
        unpaired_source=str(tmp_path / "photos"),
        unpaired_target=str(tmp_path / "drawings"),
        labelled_target=str(tmp_path / "few"),
    )
    assert sum(pair.target is None for pair in pairs) == 1
    assert sum(pair.source is None for pair in pairs) == 3
    assert {"cat", "dog"} < set(pairs.classes)
    assert all(pair.split is not None for pair in pairs)
    with pytest.raises(PairsError, match=r"no sub-folder(.|\n)*unpaired_target"):
        opened(manifest=str(manifest), labelled_target=str(tmp_path / "drawings"))


def test_extra_rows_beside_given_splits(tmp_path: Path) -> None:
    for index in range(4):
        Image.write_fake(tmp_path / f"s/{index}.png", 0, index, rich=True)
        Image.write_fake(tmp_path / f"t/{index}.png", 0, index, rich=False)
        Image.write_fake(tmp_path / f"few/cat/{index}.png", 2, index, rich=False)
        Image.write_fake(tmp_path / f"more/{index}.png", 3, index, rich=False)
    rows = [f"s/{index}.png,t/{index}.png,{'train' if index < 3 else 'test'}" for index in range(4)]
    (tmp_path / "pairs.csv").write_text("\n".join(["source,target,split", *rows]))
    pairs = opened(
        manifest=str(tmp_path / "pairs.csv"),
        unpaired_target=str(tmp_path / "more"),
        labelled_target=str(tmp_path / "few"),
        split={"val": 0.25, "test": 0.25},
    )
    assert {pair.split for pair in pairs if "unpaired" in pair.where} == {"train"}
    assert {pair.split for pair in pairs if "labelled" in pair.where} == {"train", "val", "test"}


# --- the whole pipeline


@pytest.mark.parametrize("reader", ["webdataset", "arrays"])
def test_a_run_from_a_larger_file(tmp_path: Path, tiny: dict[str, Any], reader: str) -> None:
    """The same pairs from files and from a larger file give the same results."""
    pairs = open_pairs(tiny["pairs"])
    if reader == "webdataset":
        with webdataset.TarWriter(str(tmp_path / "all.tar")) as writer:
            for index, pair in enumerate(pairs):
                assert pair.source is not None
                assert pair.target is not None
                sample = {"png": pair.source.read_bytes(), "t.png": pair.target.read_bytes(), "cls": pair.label}
                writer.write({"__key__": f"{index:03}", **sample})
        config = {"shards": str(tmp_path / "all.tar"), "source": "png", "target": "t.png", "label": "cls"}
    else:
        sides: dict[str, list[Any]] = {"source": [], "target": []}
        for pair in pairs:
            for side, item in (("source", pair.source), ("target", pair.target)):
                assert item is not None
                sides[side].append(np.asarray(Pillow.open(io.BytesIO(item.read_bytes())).convert("RGB")))
        np.savez(tmp_path / "all.npz", **{side: np.stack(values) for side, values in sides.items()},
                 label=np.array([pair.label for pair in pairs]))  # fmt: skip
        config = {"file": str(tmp_path / "all.npz"), "source": "source", "target": "target", "label": "label"}
    from_files = run({**tiny, "out": str(tmp_path / "files")})
    from_one = run({**tiny, "pairs": {reader: config}, "out": str(tmp_path / "one")})
    metrics = [json.loads(folder.metrics.read_text()) for folder in (from_files, from_one)]
    for each in metrics:
        del each["pairs"]["name"], each["teacher"]["origin"]
    assert metrics[0]["outcomes"] == metrics[1]["outcomes"]
    run({**tiny, "pairs": {reader: config}, "out": str(tmp_path / "one")})  # again: nothing has changed


# --- items that cannot be read


def damage(manifest: Path, folder: Path, names: list[str]) -> Path:
    """A copy of the pairs in which some files are cut off."""
    shutil.copytree(manifest.parent, folder)
    for name in names:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    return folder / "pairs.csv"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_item_ends_a_run_with_its_name(
    tmp_path: Path, manifest: Path, tiny: dict[str, Any], workers: int
) -> None:
    broken = damage(manifest, tmp_path / "pairs", ["target/2-3.png"])
    with pytest.raises(PairsError, match=r"row 37, column target: \S*2-3\.png") as caught:
        run({**tiny, "pairs": str(broken), "train": {**tiny["train"], "workers": workers}})
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_item_that_is_read_in_each_step_is_named(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Items that do not fit into memory are decoded in the loader's processes, whose errors keep their message."""
    monkeypatch.setattr("crossdistill.pairs.items.CACHE_BYTES", 0)
    broken = damage(manifest, tmp_path / "pairs", ["target/2-3.png"])
    pairs = open_pairs(broken)
    items = Items.of(pairs, range(len(pairs)), "target", Image(size=32, interpolation="bilinear"))
    with pytest.raises(PairsError, match=r"row 37, column target: \S*2-3\.png") as caught:
        list(load_batches(items, StepSampler(len(items), 16, 1, 0), workers))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_items_are_skipped_counted_and_named(
    tmp_path: Path, manifest: Path, tiny: dict[str, Any], workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = damage(manifest, tmp_path / "pairs", ["target/2-3.png", "source/0-1.png", "target/0-1.png"])
    pairs = {"manifest": str(broken), "corrupt": "skip", "corrupt_limit": 0.05}
    config = {**tiny, "pairs": pairs, "train": {**tiny["train"], "workers": workers}}
    folder = run(config)
    assert "2 of 64 rows are skipped" in capsys.readouterr().err
    record = json.loads(folder.skipped.read_text())
    assert [each["row"] for each in record["items"]] == [1, 1, 35]
    assert "2-3.png" in record["items"][2]["reason"]
    metrics = json.loads(folder.metrics.read_text())
    assert metrics["pairs"]["skipped"] == 2
    assert sum(count["pairs"] for count in metrics["pairs"]["splits"].values()) == 62
    assert "2 rows were skipped" in folder.report.read_text()
    before = folder.metrics.read_bytes()
    assert run(config).metrics.read_bytes() == before  # goes on with the record: nothing is decoded for it
    assert "checking" not in capsys.readouterr().err


def test_too_many_corrupt_items_end_a_run(tmp_path: Path, manifest: Path, tiny: dict[str, Any]) -> None:
    broken = damage(manifest, tmp_path / "pairs", ["target/2-3.png", "source/0-1.png"])
    with pytest.raises(PairsError, match=r"2 of 64 rows(.|\n)*row 3(.|\n)*at most 1\.00%(.|\n)*3\.12%"):
        run({**tiny, "pairs": {"manifest": str(broken), "corrupt": "skip"}})
    assert not Path(tiny["out"]).exists()
