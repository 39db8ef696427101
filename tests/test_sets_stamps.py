"""The set `stamps-audio`, built from a small tree of the package's layout."""

from __future__ import annotations

import json
import os
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from building import content, resumed
from crossdistill.errors import ConfigError, PairsError
from crossdistill.modalities import parse_modality
from crossdistill.pairs import open_pairs
from crossdistill.pairs.builtin import builtin_set, open_builtin
from crossdistill.pairs.making.stamps import Stamp, draw_stamp, find_stamps, same_words

ROOT = Path("usr/share/tuxpaint/stamps")
LANGUAGES = ("be", "bg", "ca", "es", "fr")


def write_sound(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with file.open("wb") as stream:
        wave = np.sin(np.arange(2000) * rng.uniform(0.05, 0.5)) * 0.5
        soundfile.write(stream, wave, 8000, format="OGG" if file.suffix == ".ogg" else "WAV")


def write_picture(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (12, 20, 4)).astype(np.uint8)
    values[:, :5, 3] = 0
    Image.fromarray(values).save(file)


def svg(body: str, size: str = 'width="20pt" height="10pt"') -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{body}</svg>'


def write_stamps(folder: Path) -> Path:
    """18 animals and 16 things to eat in five languages, and what goes wrong in such a package."""
    stamps = folder / ROOT
    for number in range(34):
        name = f"animals/birds/bird{number:02}" if number < 18 else f"food/food{number:02}"
        write_picture(stamps / f"{name}.png", number)
        (stamps / f"{name}.txt").write_text(f"A thing.\nfr.utf8=Chose {number}.\n")
        for language in LANGUAGES:
            write_sound(stamps / f"{name}_desc_{language}.ogg", 100 * number + LANGUAGES.index(language))
    # The second bird has the clip of the first one in one language: both are called the same.
    birds = stamps / "animals/birds"
    (birds / "bird01_desc_fr.ogg").write_bytes((birds / "bird00_desc_fr.ogg").read_bytes())
    write_picture(birds / "bird00_mirror.png", 77)
    write_sound(birds / "bird00.ogg", 78)  # the sound it makes, not its name
    (stamps / "hobbies").mkdir()
    (stamps / "hobbies/red.svg").write_text(svg('<rect width="20" height="20" fill="red"/>'))
    write_sound(stamps / "hobbies/red_desc.ogg", 5001)
    write_sound(stamps / "hobbies/red_desc_pt_BR.wav", 5002)
    write_sound(stamps / "hobbies/nothing_desc_fr.ogg", 5003)
    write_picture(stamps / "hobbies/mute.png", 5004)
    write_picture(stamps / "hobbies/noise.png", 5005)
    (stamps / "hobbies/noise_desc_fr.ogg").write_bytes(b"OggS and then nothing")
    (stamps / "hobbies/outside.svg").write_text(svg('<image href="/etc/passwd" width="9" height="9"/>'))
    write_sound(stamps / "hobbies/outside_desc_fr.ogg", 5006)
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stamps(tmp_path_factory.mktemp("stamps"))


@pytest.fixture(scope="module")
def built(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "set"
    open_builtin("stamps-audio", folder, package=package)
    return folder


class TestSet:
    def test_every_language_has_its_own_rows_and_split(self, built: Path, package: Path) -> None:
        pairs = open_pairs(str(built / "manifest.csv"))
        assert len(pairs) == 34 * len(LANGUAGES) + 2
        splits = defaultdict(set)
        for pair in pairs:
            assert isinstance(pair.source, Path)
            assert isinstance(pair.target, Path)
            language, *name = pair.target.relative_to(built / "target").parts
            assert pair.source.relative_to(built / "source").parts[0] == language
            splits[pair.split].add(language)
            ending = "" if language == "en" else f"_{language}"
            stamp = package / ROOT / "/".join(name)
            clip = stamp.with_name(f"{stamp.stem}_desc{ending}{stamp.suffix}")
            assert pair.target.read_bytes() == clip.read_bytes()
        assert splits == {"train": {"ca", "fr", "en", "pt_BR"}, "val": {"be"}, "test": {"bg", "es"}}

    def test_a_picture_is_one_item_in_all_its_languages(self, built: Path) -> None:
        pairs = open_pairs(str(built / "manifest.csv"))
        files = [pair.source for pair in pairs if Path(str(pair.source)).name == "bird05.png"]
        assert len(files) == len(LANGUAGES)
        assert len({file.read_bytes() for file in files if file is not None}) == 1
        with Image.open(str(files[0])) as picture:
            assert (picture.size, picture.mode) == ((96, 96), "RGB")
            assert picture.getpixel((2, 48)) == (255, 255, 255)  # where the stamp is transparent

    def test_classes_need_enough_stamps(self, built: Path) -> None:
        pairs = open_pairs(str(built / "manifest.csv"))
        assert pairs.classes == ("animals", "food")
        assert {pair.label for pair in pairs if "hobbies" in str(pair.source)} == {None}

    def test_pictures_of_one_name_are_one_group_in_each_split(self, built: Path) -> None:
        pairs = open_pairs(str(built / "manifest.csv"))
        of_name = defaultdict(set)
        for pair in pairs:
            of_name[Path(str(pair.source)).stem, pair.split].add(pair.group)
        assert all(len(groups) == 1 for groups in of_name.values())
        assert of_name["bird00", "train"] == of_name["bird01", "train"]
        assert of_name["bird00", "test"] == of_name["bird01", "test"]
        assert of_name["bird00", "test"] != of_name["bird00", "train"]
        assert pairs.counts()["test"]["groups"] == 33

    def test_its_files_can_be_read_by_its_modalities(self, built: Path) -> None:
        chosen = builtin_set("stamps-audio")
        pair = open_pairs(str(built / "manifest.csv"))[0]
        assert pair.target is not None
        assert float(parse_modality(chosen.target).decode(pair.target).float().std()) > 0.01
        about = json.loads((built / "dataset.json").read_text())
        assert about["licence"]["name"] == "GPL-2"
        assert about["made_from"] == "tuxpaint-stamps-default"

    def test_says_what_it_leaves_out(self, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        open_builtin("stamps-audio", tmp_path / "set", package=package)
        said = capsys.readouterr().err
        assert "1 clips are left out that belong to no picture: hobbies/nothing_desc_fr.ogg" in said
        assert "2 clips are left out that cannot be read" in said
        assert "hobbies/noise_desc_fr.ogg, hobbies/outside_desc_fr.ogg" in said

    def test_two_workers_write_the_same_bytes(self, built: Path, package: Path, tmp_path: Path) -> None:
        open_builtin("stamps-audio", tmp_path / "two", package=package, workers=2)
        assert content(tmp_path / "two") == content(built)

    def test_goes_on_where_it_stopped(
        self, built: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = resumed(monkeypatch, "stamps-audio", tmp_path / "set", 34, package=package)
        assert (len(first), len(second)) == (34, 5)
        assert content(tmp_path / "set") == content(built)

    def test_links_are_not_needed(
        self, built: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert (built / "source/fr/food/food20.png").stat().st_nlink == len(LANGUAGES)

        def refuse(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "link", refuse)
        open_builtin("stamps-audio", tmp_path / "set", package=package)
        assert content(tmp_path / "set") == content(built)
        assert (tmp_path / "set/source/fr/food/food20.png").stat().st_nlink == 1

    def test_other_languages_can_be_held_out(self, package: Path, tmp_path: Path) -> None:
        options = {"test_languages": ["fr"], "val_languages": ["es", "bg"]}
        open_builtin("stamps-audio", tmp_path / "set", options=options, package=package)
        pairs = open_pairs(str(tmp_path / "set" / "manifest.csv"))
        assert {Path(str(pair.target)).relative_to(tmp_path / "set/target").parts[0] for pair in pairs
                if pair.split == "test"} == {"fr"}  # fmt: skip

    def test_some_languages_can_be_trained_on_alone(self, package: Path, tmp_path: Path) -> None:
        open_builtin("stamps-audio", tmp_path / "set", options={"train_languages": ["ca", "en"]}, package=package)
        languages = defaultdict(set)
        for pair in open_pairs(str(tmp_path / "set" / "manifest.csv")):
            languages[pair.split].add(Path(str(pair.target)).relative_to(tmp_path / "set/target").parts[0])
        assert languages == {"train": {"ca", "en"}, "val": {"be"}, "test": {"bg", "es"}}

    @pytest.mark.parametrize(
        ("options", "error", "named"),
        [
            ({"test_languages": []}, ConfigError, "test_languages"),
            ({"test_languages": ["be"]}, ConfigError, "be cannot be in"),
            ({"train_languages": ["es"]}, ConfigError, "es cannot be in test_languages and in train_languages"),
            ({"train_languages": ["ca", "be"]}, ConfigError, "be cannot be in val_languages and in train_languages"),
            ({"train_languages": ["ca", "de"]}, PairsError, r"(?s)pt_BR.*de"),
            ({"test_language": ["fr"]}, ConfigError, "did you mean 'test_languages'"),
            ({"test_languages": ["de"]}, PairsError, r"(?s)be, bg, ca, en, es, fr, pt_BR.*de"),
            ({"test_languages": ["bg", "ca", "es", "fr", "en", "pt_BR"]}, PairsError, "left for training"),
        ],
    )
    def test_options_are_checked(
        self, package: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], named: str
    ) -> None:
        with pytest.raises(error, match=named):
            open_builtin("stamps-audio", tmp_path / "set", options=options, package=package)

    def test_a_wrong_package_is_one_message(self, tmp_path: Path) -> None:
        (tmp_path / "readme.txt").write_text("no stamps")
        archive = tmp_path / "other.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "readme.txt", "readme.txt")
        with pytest.raises(PairsError, match="not the package"):
            open_builtin("stamps-audio", tmp_path / "set", package=archive)
        (tmp_path / "empty" / ROOT).mkdir(parents=True)
        with pytest.raises(PairsError, match="spoken in a language"):
            open_builtin("stamps-audio", tmp_path / "set", package=tmp_path / "empty")


class TestStamps:
    def test_finds_pictures_and_names(self, package: Path) -> None:
        stamps, strays = find_stamps(package / ROOT)
        assert [file.name for file in strays] == ["nothing_desc_fr.ogg"]
        names = [stamp.name for stamp in stamps]
        assert len(names) == 37
        assert not {"hobbies/mute", "animals/birds/bird00_mirror"} & {*names}
        red = stamps[names.index("hobbies/red")]
        assert (red.category, [language for language, _ in red.clips]) == ("hobbies", ["en", "pt_BR"])

    def test_vectors_in_points_are_drawn_without_lettering(self, tmp_path: Path) -> None:
        file = tmp_path / "red.svg"
        file.write_text(svg('<rect width="30" height="10" fill="red"/><text y="9" font-size="9">MMM</text>'))
        values = np.asarray(draw_stamp(Stamp("red", (file,), ()), 96))
        assert values.shape == (96, 96, 3)
        assert set(map(tuple, values[40:56, 30:50].reshape(-1, 3).tolist())) == {(255, 0, 0)}
        assert (values[:10] == 255).all()

    def test_the_other_file_is_drawn_where_one_is_broken(self, tmp_path: Path) -> None:
        broken, vector = tmp_path / "x.png", tmp_path / "x.svg"
        broken.write_bytes(b"\x89PNG and nothing")
        vector.write_text(svg('<rect width="99" height="99" fill="blue"/>'))
        assert draw_stamp(Stamp("x", (broken, vector), ()), 96).getpixel((48, 48)) == (0, 0, 255)
        with pytest.raises(PairsError, match="cannot be read"):
            draw_stamp(Stamp("x", (broken,), ()), 96)

    def test_names_are_joined_through_others(self, tmp_path: Path) -> None:
        for name, text in (("a", "1"), ("b", "1"), ("c", "2"), ("d", "2"), ("e", "3"), ("f", "1")):
            (tmp_path / name).write_text(text)
        clips = [tmp_path / name for name in "abcdef"]
        assert same_words(clips, ["w", "x", "x", "y", "z", "v"]) == ["v", "v", "v", "v", "z", "v"]
