"""The audio modality: files, length, rates, spectrograms, augmentation, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from crossdistill.errors import ConfigError, PairsError
from crossdistill.modalities import InputDefaults, parse_modality
from crossdistill.modalities.audio import SETTINGS, Audio, read_sound

soundfile = pytest.importorskip("soundfile")
DEFAULTS = InputDefaults(size=16, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3), interpolation="bicubic")


def audio(**options: object) -> Audio:
    return Audio.model_validate({"seconds": 1.0, **options}).resolve(DEFAULTS)


def tone(frequency: float, seconds: float = 1.0, rate: int = 16_000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_higher_tone_is_in_a_higher_band(setting: str) -> None:
    modality = audio(setting=setting)
    bands = []
    for frequency in (300, 1200, 5000):
        cells = modality.from_array(tone(frequency, rate=modality.mel.rate))
        assert cells.shape == modality.shape
        assert cells.dtype == torch.float16
        assert float(cells.max()) == 1
        assert float(cells.min()) >= 0
        bands.append(int(cells[0].float().mean(dim=1).argmax()))
    assert bands == sorted(bands)
    assert len(set(bands)) == 3


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("x.wav", "PCM_16"), ("x.wav", "FLOAT"), ("x.flac", "PCM_24"), ("x.ogg", "VORBIS"), ("x.mp3", "MPEG_LAYER_III")],
)
def test_formats_and_channels(tmp_path: Path, name: str, subtype: str) -> None:
    wave = tone(1000)
    soundfile.write(tmp_path / name, np.stack([wave, wave], axis=1), 16_000, subtype=subtype)
    expected = audio().from_array(wave).float()
    found = audio().decode(tmp_path / name).float()
    band = int(expected[0].mean(dim=1).argmax())
    assert int(found[0].mean(dim=1).argmax()) == band
    torch.testing.assert_close(found[0, band, 10:90], expected[0, band, 10:90], rtol=0, atol=0.05)


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(1000, rate=44_100), 44_100)
    expected, found = audio().from_array(tone(1000)).float(), audio().decode(tmp_path / "x.wav").float()
    assert int(found[0].mean(dim=1).argmax()) == int(expected[0].mean(dim=1).argmax())


def test_lengths() -> None:
    long = np.concatenate([np.zeros(16_000, np.float32), tone(1000), np.zeros(16_000, np.float32)])
    middle = audio().from_array(long)[0].float().mean(dim=0)
    assert float(middle[20:80].min()) > 0.03
    assert float(audio(longer="start").from_array(long).float().mean()) < 0.01
    short = tone(1000, seconds=0.25)
    padded, repeated = (audio(shorter=how).from_array(short)[0].float().mean(dim=0) for how in ("pad", "repeat"))
    assert float(padded[:20].mean()) < 0.01
    assert float(repeated[:20].mean()) > 0.03


def test_silence_is_zero_and_loudness_does_not_matter() -> None:
    assert float(audio().from_array(np.zeros(16_000, np.float32)).max()) == 0
    wave = tone(700)
    torch.testing.assert_close(audio().from_array(wave), audio().from_array(wave * 0.01), rtol=0, atol=1e-2)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "nonsense", "no samples", "nan", "text"])
def test_damaged_files_give_one_message_that_names_them(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(500), 16_000)
    if damage == "missing":
        path.unlink()
    elif damage in ("no samples", "nan"):
        soundfile.write(path, np.zeros(0) if damage == "no samples" else np.full(100, np.nan), 16_000, subtype="FLOAT")
    else:
        content = path.read_bytes()
        path.write_bytes(
            {"empty": b"", "truncated": content[:20], "nonsense": b"nonsense" * 50, "text": b"hello"}[damage]
        )
    with pytest.raises(PairsError, match=r"x\.wav"):
        audio().decode(path)


def test_a_header_that_claims_hours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(100, np.float32), 1, subtype="PCM_U8")
    assert read_sound(path)[1] == 1  # one sample a second
    soundfile.write(path, np.zeros(4000, np.float32), 1, subtype="PCM_U8")
    with pytest.raises(PairsError, match="3,600 are the most"):
        read_sound(path)


@pytest.mark.parametrize(
    "array", [np.zeros(5, np.int16), np.zeros((2, 3, 4)), np.zeros(0, np.float32), np.full(50, 30000.0)]
)
def test_arrays_that_are_no_sound_are_refused(array: np.ndarray) -> None:
    with pytest.raises(PairsError):
        audio().from_array(array)


def test_augments_each_item_in_its_own_way() -> None:
    batch = audio().from_array(tone(900))[None].repeat(6, 1, 1, 1)
    torch.manual_seed(0)
    changed = audio().augment(batch)
    assert changed.dtype == torch.float32
    assert changed.shape == batch.shape
    assert not torch.equal(changed[0], changed[1])
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    still = audio(augment={"shift": 0, "gain": 0, "time_masks": 0, "band_masks": 0, "noise": 0})
    assert torch.equal(still.augment(batch), batch.float())
    shifted = audio(augment={"shift": 0.3, "gain": 0, "time_masks": 0, "band_masks": 0, "noise": 0}).augment(batch)
    torch.testing.assert_close(shifted.sum(dim=3), batch.float().sum(dim=3))
    masked = audio(augment={"shift": 0, "gain": 0, "time_masks": 2, "band_masks": 0, "noise": 0, "time_width": 0.5})
    assert float(masked.augment(batch).sum()) < float(batch.float().sum())


def test_draws_itself_and_its_preprocessing_reads_back(tmp_path: Path) -> None:
    Audio.write_fake(tmp_path / "x.wav", 2, 1, rich=True)
    modality = audio()
    assert modality.picture(tmp_path / "x.wav", 64).size == (64, 64)
    assert parse_modality(modality.model_dump(mode="json", by_alias=True)) == modality
    items = modality.decode(tmp_path / "x.wav")[None]
    assert float(Audio(seconds=1).with_statistics(items).normalise(items).mean()) == pytest.approx(0, abs=1e-2)
    with pytest.raises(ConfigError, match="seconds"):
        parse_modality({"modality": "audio", "seconds": 0})


def test_a_report_can_play_what_the_encoder_hears(tmp_path: Path) -> None:
    Audio.write_fake(tmp_path / "a.wav", 1, 2, rich=True)
    for seconds in (0.25, 1.0):
        sound = Audio(seconds=seconds).sound(tmp_path / "a.wav")
        assert sound is not None
        assert sound.startswith(b"OggS")
        wave, rate = soundfile.read(io.BytesIO(sound))
        assert (len(wave), rate) == (round(seconds * 16_000), 16_000)
        assert float(abs(wave).max()) > 0.1
