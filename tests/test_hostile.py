"""Hostile and damaged input: one clear message each, no crash, no memory that was only claimed."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from crossdistill.errors import ConfigError, CrossDistillError, PairsError
from crossdistill.modalities import InputDefaults, Modality, known_modalities, modality_class, parse_modality
from crossdistill.modalities.image import Image
from crossdistill.pairs import PairsConfig, open_pairs
from crossdistill.pairs.making.package import Package, open_package
from crossdistill.validation import validated

DEFAULTS = InputDefaults(size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), interpolation="bilinear")
MOST = 300 << 20  # bytes that reading a hostile file may take

Result = TypeVar("Result")

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def resolved(name: str) -> Modality:
    section = {"modality": name, **modality_class(name).fake_settings()}
    return parse_modality(section).resolve(DEFAULTS)


def sample(name: str, folder: Path) -> Path:
    suffix = {"multispectral": ".npy", "audio": ".wav", "video": ".mp4", "timeseries": ".csv", "embedding": ".npy"}
    path = folder / f"fake{suffix.get(name, '.png')}"
    modality_class(name).write_fake(path, 1, 2, rich=False)
    return path


def attempt(action: Callable[[], Result]) -> tuple[Result | None, str]:
    """What ``action`` gives, or the message of the one kind of error that it may raise."""
    try:
        return action(), ""
    except PairsError as error:
        return None, str(error)


# --- files


@pytest.mark.parametrize("name", known_modalities())
@FUZZ
@given(data=st.data())
def test_damaged_files_are_read_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    """Any cut, any changed bytes: a tensor of the right shape, or one message that names the file."""
    whole = sample(name, tmp_path).read_bytes()
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)), label="length")])
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=8)):
        if content:
            content[place % len(content)] = value
    path = tmp_path / f"damaged{sample(name, tmp_path).suffix}"
    path.write_bytes(bytes(content))
    modality = resolved(name)
    item, message = attempt(lambda: modality.decode(path))
    if item is None:
        assert path.name in message
    else:
        assert tuple(item.shape) == modality.shape
        assert bool(item.isfinite().all())


@pytest.mark.parametrize("name", known_modalities())
@pytest.mark.parametrize(
    "suffix", [".png", ".npy", ".npz", ".tif", ".exr", ".svg", ".json", ".wav", ".mp4", ".csv", ""]
)
def test_junk_is_refused_by_name(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"junk{suffix}"
    for content in (b"", b"\x00" * 100, b"junk " * 50, b"\x93NUMPY\x01\x00\xff\xff{'descr': '<f8'"):
        path.write_bytes(content)
        with pytest.raises(PairsError, match="junk"):
            resolved(name).decode(path)
    with pytest.raises(PairsError, match="junk"):
        resolved(name).decode(tmp_path / f"no-junk{suffix}")


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    body = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def npy_that_claims(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(1000)


def wav_that_claims(samples: int) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(100, np.float32), 16_000, format="WAV")
    content = bytearray(stream.getvalue())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", samples * 2)
    return bytes(content)


BOMBS: dict[str, bytes] = {
    "wide.png": png_that_claims(100_000, 100_000),
    "tall.png": png_that_claims(20_000, 20_000),
    "claims.npy": npy_that_claims((1 << 20, 1 << 14)),
    "overflows.npy": npy_that_claims((1 << 40, 1 << 40)),
    "claims.wav": wav_that_claims(2_000_000_000),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("bomb", sorted(BOMBS))
@pytest.mark.parametrize("name", known_modalities())
def test_bombs_take_no_memory(name: str, bomb: str, tmp_path: Path) -> None:
    path = tmp_path / bomb
    path.write_bytes(BOMBS[bomb])
    modality = resolved(name)
    tracemalloc.start()
    item, message = attempt(lambda: modality.decode(path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert item is not None or bomb in message
    assert most < MOST


def test_a_compressed_array_of_a_lie_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rgb.npy", npy_that_claims((1 << 30, 1 << 10)))
    config = {"arrays": {"file": str(tmp_path / "zip.npz"), "source": "rgb"}}
    with pytest.raises(PairsError, match=r"zip\.npz"):
        open_pairs(validated(PairsConfig, config))


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_depth_that_is_no_number(suffix: str, tmp_path: Path) -> None:
    for value in (np.nan, np.inf, -np.inf, -1.0):
        values = np.full((20, 20), value, np.float32)
        path = tmp_path / f"depth{suffix}"
        if suffix == ".npy":
            np.save(path, values)
        else:
            Pillow.fromarray(values).save(path)
        with pytest.raises(PairsError, match="no valid value"):
            resolved("depth").decode(path)
        values[:10] = 2.0  # the other half is there
        if suffix == ".npy":
            np.save(path, values)
            assert bool(resolved("depth").decode(path).isfinite().all())


def test_sound_without_a_sample(tmp_path: Path) -> None:
    for suffix in ("wav", "flac", "ogg"):
        soundfile.write(tmp_path / f"empty.{suffix}", np.zeros(0, np.float32), 16_000)
        with pytest.raises(PairsError, match=rf"(no samples|cannot be read)(.|\n)*empty\.{suffix}"):
            resolved("audio").decode(tmp_path / f"empty.{suffix}")
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(PairsError, match="not finite"):
        resolved("audio").decode(tmp_path / "nan.wav")


# --- manifests


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@FUZZ
@given(st.one_of(st.binary(max_size=300), TEXT.map(str.encode)), st.sampled_from([".csv", ".parquet"]))
def test_any_bytes_as_a_manifest(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    path.write_bytes(content)
    with pytest.raises(CrossDistillError, match="pairs"):
        open_pairs(path)


@FUZZ
@given(st.lists(st.fixed_dictionaries({
    "source": st.sampled_from(["a.png", "b.png", "", "../c.png", "none.png", "/etc", "a.png\x00"]),
    "target": st.sampled_from(["a.png", "b.png", "", " "]),
    "label": TEXT, "group": TEXT, "split": st.sampled_from(["train", "TEST", "", "nonsense", "dev"]),
}), max_size=12))  # fmt: skip
def test_any_rows_of_a_manifest(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    import csv

    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["source", "target", "label", "group", "split"])
        writer.writeheader()
        writer.writerows(rows)
    pairs, message = attempt(lambda: open_pairs(tmp_path / "pairs.csv"))
    if pairs is None:
        assert "pairs" in message
    else:
        assert len(pairs) == len(rows)
        assert all(pair.split is not None for pair in pairs)


@FUZZ
@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), TEXT), lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(
        ["manifest", "builtin", "webdataset", "arrays", "hub", "dataset", "source", "target", "shards", "file", "name",
         "path", "options", "corrupt", "split"]), inner, max_size=4)), max_leaves=6))  # fmt: skip
def test_any_pairs_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, PairsError)):
        open_pairs(validated(PairsConfig, section, "pairs").resolved(tmp_path))


@pytest.mark.parametrize("section", ["\0", {"manifest": "a\0.csv"}, {"arrays": {"source": "\0", "target": "x"}}])
def test_no_path_of_a_configuration_may_hold_a_zero_character(section: Any) -> None:
    with pytest.raises(ConfigError, match=r"pairs[\s\S]*without the character") as caught:
        validated(PairsConfig, section, "pairs")
    assert "\0" not in str(caught.value)


def test_a_section_that_holds_itself_is_refused() -> None:
    section: dict[str, Any] = {}
    section["split"] = [section]
    with pytest.raises(ConfigError, match=r"pairs\.split"):
        validated(PairsConfig, section, "pairs")


# --- archives


PACKAGE = Package(name="thing", fetch="get thing", holds="data")


def test_an_archive_cannot_write_outside_of_its_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("../evil", "/tmp/evil-of-crossdistill", "data/../../evil")):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w") as tar:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        with pytest.raises(PairsError, match=r"(cannot be unpacked|not the package)"):
            open_package(PACKAGE, path)
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("data")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    with pytest.raises(PairsError, match="cannot be unpacked"):
        open_package(PACKAGE, tmp_path / "link.tar")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../../evil", "evil")
    with pytest.raises(PairsError, match="not the package"):
        open_package(PACKAGE, tmp_path / "a.zip")
    outside = {path.name for path in tmp_path.rglob("*") if "evil" in path.name and "packages" not in str(path)}
    assert not outside
    assert not Path("/tmp/evil-of-crossdistill").exists()


def test_packages_of_every_kind(tmp_path: Path) -> None:
    tree = tmp_path / "tree/data"
    tree.mkdir(parents=True)
    (tree / "a.txt").write_text("a")
    with tarfile.open(tmp_path / "inside.tar.xz", "w:xz") as tar:
        tar.add(tree, "./data")
    body = (tmp_path / "inside.tar.xz").read_bytes()

    def member(name: bytes, content: bytes) -> bytes:
        header = name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8)
        return header + str(len(content)).encode().ljust(10) + b"`\n" + content + b"\n" * (len(content) % 2)

    (tmp_path / "thing.deb").write_bytes(
        b"!<arch>\n"
        + member(b"debian-binary", b"2.0\n")
        + member(b"control.tar.xz", b"abc")
        + member(b"data.tar.xz", body)
    )
    with tarfile.open(tmp_path / "thing.tgz", "w:gz") as tar:
        tar.add(tree, "data")
    with zipfile.ZipFile(tmp_path / "thing.whl", "w") as archive:
        archive.write(tree / "a.txt", "data/a.txt")
    for given_ in ("thing.deb", "thing.tgz", "thing.whl", "tree", "tree/data"):
        assert (open_package(PACKAGE, tmp_path / given_) / "a.txt").read_text() == "a"
    (tmp_path / "cut.deb").write_bytes((tmp_path / "thing.deb").read_bytes()[:200])
    for given_, message in (("cut.deb", "cannot be unpacked"), ("none.deb", "missing"), ("..", "does not hold")):
        with pytest.raises(PairsError, match=message):
            open_package(PACKAGE, tmp_path / given_)
    with pytest.raises(PairsError, match=r"not here(.|\n)*get thing"):
        open_package(PACKAGE, None)


def test_a_deep_description_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(PairsError, match="deep"):
        resolved("sketch").decode(tmp_path / "deep.json")
    Image.write_fake(tmp_path / "a.png", 1, 1, rich=True)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "0.png")
        member = tarfile.TarInfo("0.json")
        content = json.dumps({"label": 1}).encode()[:-1] + b"," * 5
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    config = {"webdataset": {"shards": str(tmp_path / "a.tar"), "source": "png", "target": "x", "label": "json.label"}}
    with pytest.raises(PairsError, match=r"no text(.|\n)*json"):
        open_pairs(validated(PairsConfig, config))
