"""Data sets of the field: tiny trees in the official layouts are read, and everything wrong is told in one message."""

from __future__ import annotations

import importlib
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image as Pillow
from scipy.io import savemat

import field_trees
from crossdistill.errors import ConfigError, PairsError
from crossdistill.modalities import InputDefaults, parse_modality
from crossdistill.pairs import Pairs, PairsConfig, SplitConfig, assign_splits, open_pairs
from crossdistill.pairs.datasets import field_set, known_datasets, open_dataset
from crossdistill.pairs.field.media import VideoFrame, VideoSound
from crossdistill.pairs.field.nyu_arrays import ArrayRow
from crossdistill.pairs.field.sun_depth import ShiftedDepth

DEFAULTS = InputDefaults(size=16, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bicubic")
NAMES = sorted(field_trees.COUNTS)


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tree of each set, for tests that only read."""
    base = tmp_path_factory.mktemp("trees")
    return {name: field_trees.write(name, base / name) for name in NAMES}


@pytest.fixture
def own(trees: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a set's tree, to be damaged."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(trees[name], tmp_path / name))

    return copy


def part(name: str, root: Path, **options: Any) -> Pairs:
    return open_dataset(name, {"root": root, "verify": False, **options})


def refused(read: Callable[[], Any]) -> str | None:
    """The message of ``read``'s PairsError; None where there is none."""
    try:
        read()
    except PairsError as error:
        return str(error)
    return None


def splits(pairs: Pairs) -> dict[str | None, int]:
    return dict(Counter(pair.split for pair in pairs))


def module_of(name: str) -> Any:
    return importlib.import_module(f"crossdistill.pairs.datasets.{name.replace('-', '_')}")


class TestEverySet:
    def test_all_of_them_have_a_tree(self) -> None:
        assert known_datasets() == NAMES

    @pytest.mark.parametrize("name", NAMES)
    def test_declares_where_it_is_and_whose(self, name: str) -> None:
        chosen = field_set(name)
        assert chosen.name == name
        assert chosen.home.startswith("https://")
        assert chosen.licence.name
        assert chosen.licence.url.startswith("https://")
        assert chosen.summary
        assert all(number > 0 for numbers in chosen.counts.values() for number in numbers)
        assert all(field.description for field in chosen.options.model_fields.values())

    @pytest.mark.parametrize("name", NAMES)
    def test_a_whole_set_is_read_without_a_word(
        self, name: str, trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(module_of(name), "COUNTS", field_trees.COUNTS[name])
        pairs = open_dataset(name, {"root": trees[name]})
        assert pairs.name == name
        assert pairs.licence == field_set(name).licence
        said = capsys.readouterr().err
        assert said == "" or ("clips are not there" in said and "gone" in said)

    @pytest.mark.parametrize("name", NAMES)
    def test_other_numbers_are_an_error_that_a_part_of_it_turns_into_a_note(
        self, name: str, trees: dict[str, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(PairsError, match=rf"{name} is not whole(.|\n)*verify: false") as caught:
            open_dataset(name, {"root": trees[name]})
        assert set(caught.value.details) == {"expected", "received", "fix"}
        assert len(part(name, trees[name])) > 5
        assert "official" in capsys.readouterr().err

    @pytest.mark.parametrize("name", NAMES)
    def test_items_decode_and_rows_survive_everything_that_pairs_go_through(
        self, name: str, trees: dict[str, Path], tmp_path: Path
    ) -> None:
        chosen, pairs = field_set(name), part(name, trees[name])
        divided = assign_splits(pairs, SplitConfig(val=0.2, test=0.3))
        assert {pair.split for pair in divided} >= {"train", "test"}
        assert pickle.loads(pickle.dumps(pairs.rows)) == pairs.rows  # noqa: S301  (our own)
        assert len({*pairs.rows}) == len(pairs)
        assert part(name, trees[name]) == pairs
        for side, section in (("source", chosen.source), ("target", chosen.target)):
            size = {} if section["modality"] == "audio" else {"size": 16}
            modality = parse_modality({**section, **size}).resolve(DEFAULTS)
            items = [item for pair in pairs if (item := pair.item(side)) is not None]  # type: ignore[arg-type]
            decoded = [modality.decode(item) for item in items]
            assert all(each.shape == modality.shape for each in decoded)
            assert len({each.numpy().tobytes() for each in decoded}) != 1
            assert all(Path(item.name).suffix == item.suffix for item in items)
        pairs.to_csv(tmp_path / "pairs.csv", base=trees[name])
        assert len((tmp_path / "pairs.csv").read_text().splitlines()) == len(pairs) + 1

    @pytest.mark.parametrize("name", NAMES)
    def test_a_missing_or_empty_root_says_where_to_get_the_set(self, name: str, tmp_path: Path) -> None:
        for root in (tmp_path / "none", tmp_path):
            with pytest.raises(PairsError, match=str(root)) as caught:
                part(name, root)
            assert "https://" in caught.value.details["fix"]

    def test_names_and_options_are_checked(self, trees: dict[str, Path]) -> None:
        with pytest.raises(ConfigError, match="did you mean 'sketchy'"):
            open_dataset("skechy", {"root": "x"})
        with pytest.raises(ConfigError, match=r"options of llvip\.root"):
            open_dataset("llvip", {})
        with pytest.raises(ConfigError, match="Unknown key"):
            open_dataset("llvip", {"root": "x", "vall": 0.1})

    def test_a_configuration_opens_it_with_paths_from_its_own_folder(self, trees: dict[str, Path]) -> None:
        root = trees["llvip"]
        section = PairsConfig.model_validate({"dataset": {"name": "llvip", "root": root.name, "verify": False}})
        assert open_pairs(section.resolved(root.parent)).rows == part("llvip", root).rows


# For each set, files without which it cannot be read, and the words that its absence is told in.
NEEDED = [
    ("sketchy", "info/testset.txt", "testset.txt"), ("sketchy", "256x256/photo", "rendered pictures"),
    ("sketchy", "256x256/sketch", "tx_000000000000"), ("tu-berlin", "png", "sketches as PNG"),
    ("nyu-depth-v2", "nyu_depth_v2_labeled.mat", "nyu_depth_v2_labeled.mat"),
    ("nyu-depth-v2", "splits.mat", r"splits\.mat"), ("sun-rgbd", "SUNRGBDtoolbox", r"allsplit\.mat"),
    ("sun-rgbd", "SUNRGBD", "pictures"), ("vggsound", "vggsound.csv", r"vggsound\.csv"),
    ("vggsound", "videos", "clips"), ("audioset", "eval_segments.csv", r"eval_segments\.csv"),
    ("audioset", "class_labels_indices.csv", "class_labels_indices"), ("audioset", "clips", "clips"),
    ("esc-50", "meta/esc50.csv", r"esc50\.csv"), ("esc-50", "audio", r"every|missing|no pairs"),
    ("llvip", "infrared", "infrared"), ("llvip", "visible/test", "visible/test"),
    ("flir-aligned", "align_validation.txt", "align_validation"), ("flir-aligned", "JPEGImages", "JPEGImages"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "words"), NEEDED)
def test_what_is_missing_is_named(name: str, file: str, words: str, own: Callable[[str], Path]) -> None:
    root = own(name)
    gone = root / file
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(PairsError, match=words):
        part(name, root)


# For each set, a file that an official list names, and what the list is.
LISTED = [
    ("sketchy", "256x256/photo/tx_000000000000/airplane/n02691156_12.jpg", r"photos of testset\.txt(.|\n)*line 1"),
    ("tu-berlin", "png/teapot/161.png", r"sketches of filelist\.txt(.|\n)*line 9"),
    ("sun-rgbd", "SUNRGBD/kv1/NYUdata/NYU0002/depth_bfx/0000001.png", r"scenes of allsplit\.mat(.|\n)*NYU0002"),
    ("esc-50", "audio/3-300000-A-0.wav", r"clips of esc50\.csv(.|\n)*line 10"),
    ("llvip", "infrared/train/020001.jpg", r"partners of pictures in train(.|\n)*020001"),
    ("flir-aligned", "JPEGImages/FLIR_08865_RGB.jpg", r"pairs of align_validation\.txt(.|\n)*FLIR_08865"),
]


@pytest.mark.parametrize(("name", "file", "words"), LISTED)
def test_a_list_that_names_a_missing_file(
    name: str,
    file: str,
    words: str,
    own: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module_of(name), "COUNTS", field_trees.COUNTS[name])
    root = own(name)
    whole = len(open_dataset(name, {"root": root}))
    (root / file).unlink()
    if name == "sketchy":
        for sketch in root.glob("256x256/sketch/*/airplane/n02691156_12-*.png"):
            sketch.unlink()
    with pytest.raises(PairsError, match=words):
        open_dataset(name, {"root": root})
    left = part(name, root)
    assert whole - len(left) in ((0,) if name == "llvip" else (1, 2))  # LLVIP's other half stays, without a partner
    assert "missing and left out" in capsys.readouterr().err


# For each set, a line that is wrong: the file, what stands there, what it becomes, and the words.
WRONG = [
    ("sketchy", "info/testset.txt", "airplane/n02691156_12.jpg", "airplane/../../x", "line 1"),
    ("vggsound", "vggsound.csv", "B5KE79I2f-A,220,people marching,train", "B5KE79I2f-A,220,train", "line 5"),
    ("vggsound", "vggsound.csv", "--0PQM4-hqg,30", "--0PQM4-hqg,soon", "line 2"),
    ("vggsound", "vggsound.csv", "--0PQM4-hqg,30", "../../secret,30", "line 2"),
    ("vggsound", "vggsound.csv", "--0PQM4-hqg,30", "#NAME?,30", "line 2"),
    ("vggsound", "vggsound.csv", "burbling,train", "burbling,training", "line 2"),
    ("vggsound", "vggsound.csv", "B5KE79I2f-A,220", "B5KE79I2f-A,188", "line 5(.|\n)*line 4"),
    ("vggsound", "vggsound.csv", '"female speech', '"female" speech', "line 3"),
    ("audioset", "eval_segments.csv", "7.000, 17.000", "17.000, 7.000", "line 5"),
    ("audioset", "eval_segments.csv", '"/t/dd00088"', '"/t/unknown"', "line 6(.|\n)*unknown"),
    ("audioset", "eval_segments.csv", "evaluation2", "evaluation1", "line 6(.|\n)*each video once"),
    ("audioset", "balanced_train_segments.csv", "--PJHxphWEs, 30.000,", "#NAME?, 30.000,", "line 4"),
    ("audioset", "balanced_train_segments.csv", "--PJHxphWEs, 30.000,", "--PJHxphWEs,", "line 4"),
    ("audioset", "class_labels_indices.csv", "1,/m/0jbk,", "1,", "line 3"),
    ("esc-50", "meta/esc50.csv", "filename,fold", "file,fold", "line 1"),
    ("esc-50", "meta/esc50.csv", ",3,0,dog", ",6,0,dog", "line 10"),
    ("esc-50", "meta/esc50.csv", "3-300000-A-0.wav,", "../../3-300000-A-0.wav,", "line 10(.|\n)*folder"),
    ("esc-50", "meta/esc50.csv", ",dog,True,300000,A", ",dog,True,300000", "line 10"),
    ("flir-aligned", "align_train.txt", "FLIR_00003_PreviewData", "/etc/passwd", "line 3"),
    ("flir-aligned", "align_train.txt", "FLIR_00003_PreviewData", "picture", "line 3"),
    ("flir-aligned", "align_train.txt", "FLIR_00003", "FLIR_00002", "twice(.|\n)*line 3"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "right", "wrong", "words"), WRONG)
def test_a_wrong_line_is_told_with_its_number(
    name: str, file: str, right: str, wrong: str, words: str, own: Callable[[str], Path]
) -> None:
    path = own(name) / file
    content = path.read_text()
    assert right in content
    path.write_text(content.replace(right, wrong, 1))
    with pytest.raises(PairsError, match=words) as caught:
        part(name, path.parents[len(Path(file).parts) - 1])
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [("sketchy", "info/testset.txt"), ("vggsound", "vggsound.csv"), ("audioset", "eval_segments.csv"),
     ("esc-50", "meta/esc50.csv"), ("flir-aligned", "align_train.txt"), ("nyu-depth-v2", "splits.mat"),
     ("nyu-depth-v2", "nyu_depth_v2_labeled.mat"), ("sun-rgbd", "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat")],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["empty", "truncated", "nonsense"])
def test_damaged_lists_never_end_in_a_traceback(name: str, file: str, damage: str, own: Callable[[str], Path]) -> None:
    root = own(name)
    content = (root / file).read_bytes()
    damaged = {"empty": b"", "truncated": content[: len(content) // 2 + 3], "nonsense": b"\xff\xfe\x00nonsense" * 40}
    (root / file).write_bytes(damaged[damage])
    if file.endswith(".mat") or damage != "truncated":
        with pytest.raises(PairsError, match=Path(file).name):
            part(name, root)
    else:  # half of a list is a list, or ends within a line
        said = refused(lambda: part(name, root))
        assert said is None or Path(file).name in said


class TestSketchy:
    def test_sketches_belong_to_their_photos(self, trees: dict[str, Path]) -> None:
        pairs = part("sketchy", trees["sketchy"], val=0.25)
        assert len(pairs) == 16
        for pair in pairs:
            assert isinstance(pair.source, Path)
            assert isinstance(pair.target, Path)
            assert pair.target.stem.rpartition("-")[0] == pair.source.stem == pair.group
            assert pair.label == pair.target.parent.name
            assert (pair.split == "test") == (pair.group in ("n02691156_12", "n03541923_11"))
        assert splits(pairs) == {"train": 8, "val": 4, "test": 4}

    def test_invalid_sketches_are_left_out_and_counted(
        self, own: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = own("sketchy")
        pairs = part("sketchy", root, leave_out=["error", "ambiguous"])
        assert "3 of 16 sketches are invalid (error, ambiguous)" in capsys.readouterr().err
        assert len(pairs) == 14
        alone = [pair for pair in pairs if pair.target is None]
        assert [pair.group for pair in alone] == ["n02691156_10"]
        with pytest.raises(PairsError, match=r"invalid-pose\.txt"):
            part("sketchy", root, leave_out=["pose"])
        (root / "info/invalid-error.txt").write_text("n02691156_10-1\nsomething else\n")
        with pytest.raises(PairsError, match=r"invalid-error\.txt, line 2"):
            part("sketchy", root, leave_out=["error"])

    def test_a_sketch_of_no_photo(
        self, own: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(module_of("sketchy"), "COUNTS", field_trees.COUNTS["sketchy"])
        root = own("sketchy")
        folder = root / "256x256/sketch/tx_000000000000/airplane"
        (folder / "n02691156_10-1.png").rename(folder / "n02691156_99-1.png")
        with pytest.raises(PairsError, match=r"1 of 16 photos of sketches(.|\n)*n02691156_99-1\.png"):
            open_dataset("sketchy", {"root": root})
        alone = [pair for pair in part("sketchy", root) if not pair.paired]
        assert [(pair.source, pair.label) for pair in alone] == [(None, "airplane")]
        assert "n02691156_99.jpg" in capsys.readouterr().err
        (folder / "n02691156_99-1.png").rename(folder / "sketch.png")
        with pytest.raises(PairsError, match=r"sketch\.png"):
            part("sketchy", root)

    def test_other_places_of_the_archives(self, own: Callable[[str], Path], tmp_path: Path) -> None:
        root = own("sketchy")
        expected = [pair.where for pair in part("sketchy", root)]
        (root / "rendered_256x256").mkdir()
        (root / "256x256").rename(root / "rendered_256x256/256x256")
        (root / "info").rename(tmp_path / "elsewhere")
        with pytest.raises(PairsError, match="test photos"):
            part("sketchy", root)
        assert [pair.where for pair in part("sketchy", root, info=tmp_path / "elsewhere")] == expected


class TestTuBerlin:
    def test_photos_of_the_same_classes_are_unpaired_sources(self, own: Callable[[str], Path], tmp_path: Path) -> None:
        root = own("tu-berlin")
        for category, number in (("airplane", 0), ("flying_bird", 1), ("flying_bird", 2)):
            field_trees.picture(tmp_path / f"photos/{category}/{number}.JPEG", 1, number)
        pairs = part("tu-berlin", root, photos=tmp_path / "photos")
        photos = [pair for pair in pairs if pair.target is None]
        assert sorted(str(pair.label) for pair in photos) == ["airplane", "flying bird", "flying bird"]
        assert len(pairs) == 15
        assert splits(pairs) == {None: 15}
        (tmp_path / "photos/airplane").rename(tmp_path / "photos/airplanes")
        with pytest.raises(PairsError, match=r"no category(.|\n)*'airplane'"):
            part("tu-berlin", root, photos=tmp_path / "photos")

    def test_svg(self, tmp_path: Path) -> None:
        pytest.importorskip("resvg_py")
        field_trees.tu_berlin_svg(tmp_path)
        pairs = part("tu-berlin", tmp_path, format="svg")
        sketch = parse_modality({"modality": "sketch", "size": 32}).resolve(DEFAULTS)
        assert pairs[0].target is not None
        assert sketch.decode(pairs[0].target).shape == (1, 32, 32)
        with pytest.raises(PairsError, match="PNG"):
            part("tu-berlin", tmp_path / "svg")


class TestNyuDepth:
    def test_pictures_depths_and_masks_stand_upright(self, trees: dict[str, Path]) -> None:
        expected = field_trees.nyu_arrays()
        pairs = part("nyu-depth-v2", trees["nyu-depth-v2"], classes=40)
        assert len(pairs) == 7
        for row, pair in enumerate(pairs):
            image, depth, mask = (np.load(item.open("rb")) for item in (pair.source, pair.target, pair.mask) if item)
            np.testing.assert_array_equal(image, expected["images"][row])
            np.testing.assert_array_equal(depth, expected["depths"][row])
            labels = expected["labels"][row]
            wanted = np.where(labels == 0, 255, field_trees.NYU_TO_40[np.maximum(labels, 1) - 1] - 1)
            np.testing.assert_array_equal(mask, wanted)
            assert (image.dtype, depth.dtype, mask.dtype) == (np.uint8, np.float32, np.uint8)

    def test_thirteen_classes_and_measured_depth(self, trees: dict[str, Path]) -> None:
        pairs = part("nyu-depth-v2", trees["nyu-depth-v2"], classes=13, depth="rawDepths")
        assert pairs[0].mask is not None
        assert pairs[0].target is not None
        labels = field_trees.nyu_arrays()["labels"][0]
        fine = field_trees.NYU_TO_40[np.maximum(labels, 1) - 1]
        wanted = np.where(labels == 0, 255, field_trees.NYU_TO_13[fine - 1] - 1)
        np.testing.assert_array_equal(np.load(pairs[0].mask.open("rb")), wanted)
        assert (np.load(pairs[0].target.open("rb")) == 0).any()

    def test_split_scenes_and_types(self, trees: dict[str, Path]) -> None:
        pairs = part("nyu-depth-v2", trees["nyu-depth-v2"], val=0)
        assert [pair.split for pair in pairs] == ["train"] * 4 + ["test"] * 2 + ["train"]
        assert [pair.label for pair in pairs] == ["kitchen"] * 2 + ["office"] * 2 + ["bath_room", "office", "den"]
        groups = ["kitchen_0001"] * 2 + ["office_0002"] * 2 + ["bath_room_0003", "office_0009", "den_0001"]
        assert [pair.group for pair in pairs] == groups

    @pytest.mark.parametrize(
        ("file", "content", "words"),
        [
            ("splits.mat", {"trainNdxs": [[1], [8]], "testNdxs": [[2]]}, r"trainNdxs(.|\n)*1 to 7(.|\n)*8"),
            ("splits.mat", {"trainNdxs": [[0]], "testNdxs": [[2]]}, r"trainNdxs(.|\n)*1 to 7(.|\n)*0"),
            ("splits.mat", {"trainNdxs": [[1], [2]], "testNdxs": [[2]]}, r"testNdxs(.|\n)*2"),
            ("splits.mat", {"trainNdxs": [[1.5]], "testNdxs": [[2]]}, r"whole numbers(.|\n)*trainNdxs"),
            ("splits.mat", {"train": [[1]], "testNdxs": [[2]]}, r"trainNdxs"),
            ("classMapping40.mat", {"mapClass": [[1, 41]]}, r"classMapping40(.|\n)*0 to 40"),
            ("classMapping40.mat", {"map": [[1, 40]]}, r"classMapping40(.|\n)*mapClass"),
            ("class13Mapping.mat", {"classMapping13": {"a": [[1, 2]]}}, r"class13Mapping(.|\n)*40 numbers"),
            ("class13Mapping.mat", {"classMapping13": [[1, 2]]}, "no structure"),
        ],
    )
    def test_wrong_variables(self, file: str, content: dict[str, Any], words: str, own: Callable[[str], Path]) -> None:
        root = own("nyu-depth-v2")
        savemat(root / file, content)
        with pytest.raises(PairsError, match=words):
            part("nyu-depth-v2", root, classes=13)

    @pytest.mark.parametrize(
        ("name", "values", "words"),
        [
            ("depths", np.zeros((7, 24, 15), np.float32), r"depths(.|\n)*\(7, 24, 16\)"),
            ("images", np.zeros((7, 24, 16), np.uint8), r"images(.|\n)*\(7, 24, 16\)"),
            ("scenes", np.zeros((1, 7), np.float64), r"no text(.|\n)*scenes"),
            ("depths", None, r"lacks a variable(.|\n)*depths(.|\n)*rawDepths"),
        ],
    )
    def test_wrong_arrays(self, name: str, values: np.ndarray | None, words: str, own: Callable[[str], Path]) -> None:
        root = own("nyu-depth-v2")
        with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
            del file[name]
            if values is not None:
                file[name] = values
        with pytest.raises(PairsError, match=words):
            part("nyu-depth-v2", root)

    def test_items_that_cannot_be_read(self, own: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
        root = own("nyu-depth-v2")
        file = root / "nyu_depth_v2_labeled.mat"
        depth = parse_modality({"modality": "depth", "size": 16}).resolve(DEFAULTS)
        item = ArrayRow(file, "depths", 3)
        assert str(item) == f"{file}#depths/3"
        assert (item.name, item.suffix) == ("depths-3.npy", ".npy")
        before = item.read_bytes()
        with monkeypatch.context() as patched:  # another process opens the file for itself
            patched.setattr("crossdistill.pairs.field.nyu_arrays.os.getpid", lambda: 1)
            assert item.read_bytes() == before
        for wrong in (ArrayRow(file, "depths", 99), ArrayRow(file, "nothing", 0), ArrayRow(root / "none.mat", "x", 0)):
            with pytest.raises(PairsError, match=wrong.file.name):
                depth.decode(wrong)
        with pytest.raises(ValueError, match="list of classes ends at 1"):
            ArrayRow(file, "labels", 0, bytes([0, 1])).read_bytes()


class TestSunRgbd:
    def test_the_bits_are_turned_back(self, trees: dict[str, Path]) -> None:
        pairs = part("sun-rgbd", trees["sun-rgbd"], val=0)
        assert [pair.where for pair in pairs] == list(field_trees.SUN_SCENES)
        for number, pair in enumerate(pairs):
            assert pair.target is not None
            values = np.load(pair.target.open("rb"))
            np.testing.assert_array_equal(values, field_trees.sun_depth_millimetres(number))
            assert values.dtype == np.uint16
        assert [pair.label for pair in pairs] == list(field_trees.SUN_SCENES.values())
        assert [pair.split for pair in pairs] == ["train"] * 6 + ["test"] * 2
        assert [pair.group for pair in pairs][4:] == ["xtion/sun3ddata/home_ac"] * 2 + ["xtion/sun3ddata/mit_lab"] * 2

    def test_every_value_comes_back(self, tmp_path: Path) -> None:
        values = np.arange(1 << 16).reshape(256, 256)
        stored = np.array([int(f"{value:016b}"[3:] + f"{value:016b}"[:3], 2) for value in values.flat], dtype=np.uint16)
        Pillow.fromarray(stored.reshape(values.shape)).save(tmp_path / "d.png")
        np.testing.assert_array_equal(np.load(ShiftedDepth(tmp_path / "d.png").open("rb")), values)

    def test_what_is_too_far(self, tmp_path: Path) -> None:
        Pillow.fromarray(np.array([[8000, 80000 % 65536, 1, 0xFFFF]], dtype=np.uint16)).save(tmp_path / "d.png")
        expected = np.array([[1000, 1808, 8192, 0xFFFF]])
        np.testing.assert_array_equal(np.load(ShiftedDepth(tmp_path / "d.png").open("rb")), expected)
        near = np.load(ShiftedDepth(tmp_path / "d.png", 8000).open("rb"))
        np.testing.assert_array_equal(near, np.minimum(expected, 8000))

    def test_depth_of_eight_bits_is_refused(self, tmp_path: Path) -> None:
        Pillow.new("L", (8, 8)).save(tmp_path / "d.png")
        with pytest.raises(ValueError, match="16 bits"):
            ShiftedDepth(tmp_path / "d.png").read_bytes()
        (tmp_path / "d.png").write_bytes(b"nonsense")
        with pytest.raises(PairsError, match=r"d\.png"):
            parse_modality({"modality": "depth", "size": 16}).decode(ShiftedDepth(tmp_path / "d.png"))

    def test_nineteen_scenes(self, trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module_of("sun-rgbd"), "COUNTS", field_trees.COUNTS["sun-rgbd"])
        pairs = open_dataset("sun-rgbd", {"root": trees["sun-rgbd"], "scenes": "19", "val": 0})
        assert [pair.label for pair in pairs].count(None) == 1
        assert len(pairs) == 8

    def test_a_split_that_leads_elsewhere(self, own: Callable[[str], Path]) -> None:
        root = own("sun-rgbd")
        split = root / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
        known = [f"/n/fs/sun3d/data/SUNRGBD/{scene}" for scene in field_trees.SUN_SCENES]
        for paths, words in (
            (["/n/fs/sun3d/data/SUNRGBD/../../etc/x"], r"alltrain\{1\}"),
            ([known[0], f"{known[0]}//"], r"twice(.|\n)*alltrain\{2\}"),
            (["SUNRGBD/"], r"no scene(.|\n)*alltrain\{1\}"),
        ):
            savemat(split, {"alltrain": field_trees.cells_of(paths), "alltest": field_trees.cells_of(known[1:])})
            with pytest.raises(PairsError, match=words):
                part("sun-rgbd", root)
        savemat(split, {"alltrain": np.zeros((1, 3)), "alltest": field_trees.cells_of(known[1:])})
        with pytest.raises(PairsError, match=r"no text(.|\n)*alltrain"):
            part("sun-rgbd", root)

    def test_a_scene_without_a_type(
        self, own: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(module_of("sun-rgbd"), "COUNTS", field_trees.COUNTS["sun-rgbd"])
        root = own("sun-rgbd")
        (root / "SUNRGBD/kv1/NYUdata/NYU0001/scene.txt").write_text("\n")
        with pytest.raises(PairsError, match=r"1 of 8 labels(.|\n)*NYU0001/scene\.txt"):
            open_dataset("sun-rgbd", {"root": root})
        assert part("sun-rgbd", root)[0].label is None
        assert "NYU0001" in capsys.readouterr().err


class TestClips:
    def test_vggsound_of_files(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        field_trees.vggsound_files(tmp_path)
        (tmp_path / "audio/zzwbG0dHLhI_000150.wav").unlink()
        pairs = part("vggsound", tmp_path, val=0)
        assert "1 of 7 clips are not there and left out, such as -0gone00000_000005" in capsys.readouterr().err
        assert [pair.paired for pair in pairs] == [True] * 5 + [False]
        assert pairs[0].source == tmp_path / "frames/---g-f_I2yQ_000001.jpg"
        assert pairs[0].target == tmp_path / "audio/---g-f_I2yQ_000001.wav"
        assert pairs[2].label == "female speech, woman speaking"
        assert pairs[3].group == pairs[4].group == "B5KE79I2f-A"
        shutil.rmtree(tmp_path / "audio")
        (tmp_path / "audio").mkdir()
        shutil.rmtree(tmp_path / "frames")
        with pytest.raises(PairsError, match="None of the clips"):
            part("vggsound", tmp_path)

    def test_vggsound_of_videos(self, trees: dict[str, Path]) -> None:
        pairs = part("vggsound", trees["vggsound"])
        assert isinstance(pairs[0].source, VideoFrame)
        assert isinstance(pairs[0].target, VideoSound)
        videos = part("vggsound", trees["vggsound"], picture="video")
        assert videos[0].source == trees["vggsound"] / "videos/---g-f_I2yQ_000001.mp4"
        assert isinstance(videos[0].target, VideoSound)

    def test_two_clips_of_one_name(self, own: Callable[[str], Path]) -> None:
        root = own("vggsound")
        (root / "videos/again").mkdir()
        shutil.copy(root / "videos/---g-f_I2yQ_000001.mp4", root / "videos/again")
        with pytest.raises(PairsError, match=r"same name(.|\n)*---g-f_I2yQ"):
            part("vggsound", root)

    def test_audioset_finds_clips_under_every_name(self, trees: dict[str, Path]) -> None:
        pairs = part("audioset", trees["audioset"], val=0)
        assert splits(pairs) == {"train": 5, "test": 3}
        assert [pair.label for pair in pairs][:3] == ["Speech", "Gush, spurt", "Speech"]
        targets = [pair.target.name for pair in pairs if pair.target is not None]
        assert targets[:5] == ["--PJHxphWEs_30.wav", "Y--ZhevVpy1s.wav", "-0DLPzsiXXE_000000.wav",
                               "-0DdlOuIFUI_50000_60000.wav", "-0FHUc78Gqo_30000.wav"]  # fmt: skip
        assert [isinstance(pair.source, VideoFrame) for pair in pairs].count(True) == 2

    @pytest.mark.parametrize(
        ("rule", "labels"),
        [("first", ["Speech", "Gush, spurt", "Speech", "Speech", "Speech"]),
         ("rarest", ["Gush, spurt", "Gush, spurt", "Animal", "Speech", "Speech"]),
         ("single", [None, "Gush, spurt", None, "Speech", "Speech"]), ("none", [None] * 5)],
    )  # fmt: skip
    def test_audioset_label_rules(self, rule: str, labels: list[str | None], trees: dict[str, Path]) -> None:
        pairs = part("audioset", trees["audioset"], val=0, label=rule)
        assert [pair.label for pair in pairs if pair.split == "train"] == labels

    def test_audioset_with_the_ontology(self, own: Callable[[str], Path]) -> None:
        root = own("audioset")
        expected = [pair.label for pair in part("audioset", root)]
        (root / "class_labels_indices.csv").unlink()
        entries = (("/m/09x0r", "Speech"), ("/m/0jbk", "Animal"), ("/t/dd00088", "Gush, spurt"))
        listed = ",\n".join(f'{{"id": "{mid}", "name": "{name}"}}' for mid, name in entries)
        (root / "ontology.json").write_text(f"[{listed}]")
        assert [pair.label for pair in part("audioset", root)] == expected
        (root / "ontology.json").write_text(f"[{listed}")
        with pytest.raises(PairsError, match=r"ontology\.json"):
            part("audioset", root)

    def test_audioset_unbalanced_needs_its_own_clips(self, own: Callable[[str], Path]) -> None:
        root = own("audioset")
        shutil.rmtree(root / "clips")
        (root / "clips").mkdir()
        with pytest.raises(PairsError, match="None of the clips"):
            part("audioset", root, train="both")


class TestEsc50:
    def test_folds(self, trees: dict[str, Path]) -> None:
        root = trees["esc-50"]
        assert splits(part("esc-50", root, val_fold=2)) == {"train": 12, "val": 4, "test": 4}
        assert splits(part("esc-50", root, val=0)) == {"train": 16, "test": 4}
        first = part("esc-50", root, test_fold=1, val=0)
        assert {Path(str(pair.target)).name[0] for pair in first if pair.split == "test"} == {"1"}
        with pytest.raises(ConfigError, match="same fold"):
            part("esc-50", root, val_fold=5)
        with pytest.raises(ConfigError, match="not both"):
            part("esc-50", root, val_fold=4, val=0.2)
        with pytest.raises(ConfigError, match="test_fold"):
            part("esc-50", root, test_fold=6)

    def test_esc_10_and_sources(self, trees: dict[str, Path]) -> None:
        pairs = part("esc-50", trees["esc-50"], esc10=True, val=0)
        assert pairs.classes == ("dog",)
        assert len(pairs) == 10
        assert len(set(pairs.group_ids)) == 5


def test_llvip_and_flir_pair_by_name(trees: dict[str, Path]) -> None:
    llvip = part("llvip", trees["llvip"], val=0.25)
    assert splits(llvip) == {"train": 6, "val": 2, "test": 3}
    assert len({pair.group for pair in llvip if pair.split == "val"}) == 1  # a whole scene
    assert all(Path(str(pair.source)).name == Path(str(pair.target)).name for pair in llvip)
    flir = part("flir-aligned", trees["flir-aligned"], val=0)
    assert splits(flir) == {"train": 6, "test": 2}
    assert Path(str(flir[0].target)).name == "FLIR_00001_PreviewData.jpeg"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_where_a_folder_should_be_and_the_reverse(name: str, own: Callable[[str], Path]) -> None:
    root = own(name)
    for path in sorted(root.rglob("*")):
        if path.parent == root:
            moved = path.rename(root / f"was-{path.name}")
            path.mkdir() if moved.is_file() else path.write_text("x")
    with pytest.raises(PairsError):
        part(name, root)
