"""The audio modality: sound files as log-mel spectrograms."""

from __future__ import annotations

import io
import math
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from crossdistill import draws
from crossdistill.errors import MissingDependencyError, PairsError
from crossdistill.item import Item
from crossdistill.modalities.base import InputDefaults, Modality, channel_statistics, standardised
from crossdistill.modalities.raster import colours
from crossdistill.npy import read_npy

_LONGEST = 3600.0  # seconds of one file; beyond it a file is broken, or should be cut into clips
SILENCE = 1e-10  # power
_QUIETEST = 1e-12  # power that loudness is measured down to: -120 dB
_FULL_SCALE = 0.999  # from which on a sample counts as clipped
DECIBELS = 80.0  # below the loudest cell, where the scale ends


class MelSetting(NamedTuple):
    """How a spectrogram is made; the names are those of the encoders that made the settings known.

    Attributes:
        rate: samples a second.
        window: samples of one frame.
        hop: samples between two frames.
        mels: bands.
        low: lowest frequency in Hz.
        high: highest.
    """

    rate: int
    window: int
    hop: int
    mels: int
    low: float
    high: float


SETTINGS = {
    "general": MelSetting(16_000, 400, 160, 64, 50.0, 8_000.0),
    "coarse": MelSetting(16_000, 640, 320, 40, 50.0, 8_000.0),  # a third of the cells, for small networks
    "vggish": MelSetting(16_000, 400, 160, 64, 125.0, 7_500.0),  # arXiv 1609.09430
    "ast": MelSetting(16_000, 400, 160, 128, 20.0, 8_000.0),  # arXiv 2104.01778
    "panns": MelSetting(32_000, 1024, 320, 64, 50.0, 14_000.0),  # arXiv 1912.10211
    "whisper": MelSetting(16_000, 400, 160, 80, 0.0, 8_000.0),  # arXiv 2212.04356
}


class AudioAugment(BaseModel):
    """Random changes of one spectrogram; 0 turns one off. The masks are those of SpecAugment (arXiv 1904.08779)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift: float = Field(0.1, ge=0, le=1, description="largest shift in time, as a share of the length")
    gain: float = Field(6.0, ge=0, description="largest change of loudness, in dB")
    time_masks: int = Field(1, ge=0, description="stretches of time that are masked")
    time_width: float = Field(0.15, ge=0, le=1, description="widest mask, as a share of the length")
    band_masks: int = Field(1, ge=0, description="ranges of bands that are masked")
    band_width: float = Field(0.15, ge=0, le=1, description="widest mask, as a share of the bands")
    noise: float = Field(1.0, ge=0, description="standard deviation of the cells' noise, in dB")


class Audio(Modality):
    """Sound files (wav, flac, ogg, mp3) as log-mel power in decibels below 0..1, ``(1, mels, frames)`` in float16.

    Channels are averaged, other rates resampled. 1 is the loudest cell of a clip, 0 is 80 dB below it and less.
    """

    modality: Literal["audio"] = "audio"
    setting: Literal["general", "coarse", "vggish", "ast", "panns", "whisper"] = Field(
        "general", description="rate, window, hop, bands and frequencies"
    )
    seconds: float = Field(2.0, gt=0, le=60, description="length that every clip is brought to")
    longer: Literal["middle", "start"] = Field("middle", description="which part of a longer clip is kept")
    shorter: Literal["pad", "repeat"] = Field("pad", description="what follows a shorter clip: silence, or itself")
    mean: tuple[float, ...] | None = Field(None, description="of the scaled decibels; default: the encoder's own")
    std: tuple[float, ...] | None = Field(None, description="likewise")
    augment_with: AudioAugment = Field(default_factory=AudioAugment, alias="augment")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def mel(self) -> MelSetting:
        """The spectrogram's setting."""
        return SETTINGS[self.setting]

    @property
    def samples(self) -> int:
        """Of a clip."""
        return round(self.seconds * self.mel.rate)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.mel.mels, 1 + self.samples // self.mel.hop)

    def resolve(self, defaults: InputDefaults) -> Self:
        mean, std = defaults.statistics(1)
        return self.model_copy(update={"mean": self.mean or mean, "std": self.std or std})

    def as_defaults(self) -> InputDefaults:
        if self.mean is None or self.std is None:
            raise ValueError("mean or std is still open: resolve the modality with an encoder first")
        return InputDefaults(size=self.shape[-1], mean=self.mean, std=self.std, interpolation="bilinear")

    @property
    def decoding(self) -> str:
        return self.model_dump_json(exclude={"mean", "std", "augment_with"})

    def decode(self, item: Item) -> Tensor:
        wave, rate = self._read(item)
        try:
            return self._spectrogram(wave, rate)
        except PairsError as error:
            raise error.at(item) from error

    def read(self, item: Item) -> NDArray[np.float32]:
        """The sound in mono at the setting's rate, in its own length, ``(samples,)``."""
        wave, rate = self._read(item)
        return _resample(wave.mean(axis=1) if wave.ndim == 2 else wave, rate, self.mel.rate)

    def from_array(self, array: Any) -> Tensor:
        """A wave ``(samples,)`` or ``(samples, channels)`` at the setting's own rate, floating, within -1..1."""
        return self._spectrogram(self._wave(np.asarray(array)), self.mel.rate)

    def _wave(self, wave: NDArray[Any]) -> NDArray[np.float32]:
        if wave.dtype.kind != "f" or wave.ndim not in (1, 2):
            raise PairsError(
                "An array holds no sound.", expected=f"floats (samples,) or (samples, channels) at {self.mel.rate} Hz",
                received=f"{wave.dtype}, shape {wave.shape}", fix="divide whole numbers by their largest value first",
            )  # fmt: skip
        return wave.astype(np.float32)

    def _read(self, item: Item) -> tuple[NDArray[np.float32], int]:
        """Samples and rate of a sound file, or of an NPY file at the setting's own rate."""
        if item.suffix.lower() != ".npy":
            return read_sound(item)
        try:
            return self._wave(read_npy(item, round(_LONGEST * self.mel.rate))), self.mel.rate
        except FileNotFoundError as error:
            raise PairsError("A file is missing.", where=item, expected="an NPY file of samples") from error
        except PairsError as error:
            raise error.at(item) from error
        except (OSError, ValueError) as error:
            raise PairsError("A sound cannot be read.", where=item, expected="an NPY file of samples",
                             received=error) from error  # fmt: skip

    def augment(self, batch: Tensor, placement: Tensor | None = None) -> Tensor:
        change, (count, _, bands, frames) = self.augment_with, batch.shape
        values, device = batch.float(), batch.device
        if change.shift:
            most = round(change.shift * frames)
            by = draws.randint(-most, most + 1, count, device)
            place = (torch.arange(frames, device=device) - by[:, None]) % frames
            values = values.gather(3, place[:, None, None].expand(-1, 1, bands, -1))
        if change.gain:
            values = values + change.gain / DECIBELS * (2 * draws.rand(count, 1, 1, 1, device=device) - 1)
        if change.noise:
            values = values + change.noise / DECIBELS * draws.randn_like(values)
        for masks, widest, size, axis in (
            (change.time_masks, change.time_width, frames, 3), (change.band_masks, change.band_width, bands, 2),
        ):  # fmt: skip
            for _ in range(masks):
                width = draws.rand(count, 1, device=device) * widest * size
                first = draws.rand(count, 1, device=device) * (size - width)
                cell = torch.arange(size, device=device)
                hidden = (cell >= first) & (cell < first + width)
                values = values.masked_fill(hidden[:, None, None] if axis == 3 else hidden[:, None, :, None], 0.0)
        return values.clamp(0, 1)

    def contrastive(self) -> Self:
        strong = AudioAugment(shift=0.5, gain=10, time_masks=2, time_width=0.25, band_masks=2, band_width=0.2, noise=2)
        chosen = self.augment_with if "augment_with" in self.model_fields_set else strong
        return self.model_copy(update={"augment_with": chosen})

    def normalise(self, batch: Tensor) -> Tensor:
        return standardised(batch.float(), self.mean, self.std)

    def with_statistics(self, items: Tensor) -> Self:
        mean, std = channel_statistics(items)
        return self.model_copy(update={"mean": self.mean or mean, "std": self.std or std})

    def facts(self, item: Item) -> dict[str, str | float]:
        wave, rate = self._read(item)
        samples = wave.reshape(len(wave), -1)
        size = np.abs(samples)
        power = float(np.square(samples, dtype=np.float64).mean()) if samples.size else 0.0
        return {
            "rate": rate, "channels": samples.shape[1], "seconds": round(len(samples) / rate, 3),
            "clipped": float((size >= _FULL_SCALE).mean()) if samples.size else 0.0,
            "loudness": round(10 * math.log10(max(power, _QUIETEST)), 1),
        }  # fmt: skip

    def picture(self, item: Item, side: int) -> Pillow.Image:
        """The spectrogram in colours, low bands at the bottom."""
        return self.draw(self.decode(item), side)

    def draw(self, values: Tensor, side: int) -> Pillow.Image:
        cells = values[0].float().clamp(0, 1).cpu().numpy()[::-1]
        return Pillow.fromarray(colours(cells)).resize((side, side), Pillow.Resampling.BILINEAR)

    def sound(self, item: Item) -> bytes | None:
        """The part of the clip that the encoder hears, in mono."""
        wave, rate = self._read(item)
        clip = self._fit(_resample(wave.mean(axis=1) if wave.ndim == 2 else wave, rate, self.mel.rate))
        stream = io.BytesIO()
        _soundfile(item).write(stream, clip, self.mel.rate, format="OGG", subtype="VORBIS")
        return stream.getvalue()

    @classmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """Half a second of ``label + 1`` beeps, with an overtone when ``rich``. Always a wav file."""
        rng = np.random.default_rng(label * 1000 + variant)
        time = np.arange(8000) / 16_000
        pitch = 300 * rng.uniform(0.9, 1.1)
        wave = np.sin(2 * np.pi * pitch * time) + (0.5 * np.sin(4 * np.pi * pitch * time) if rich else 0)
        wave *= np.sin(np.pi * (label + 1) * time / time[-1]) ** 2 * 0.5
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            _soundfile(path).write(stream, wave, 16_000, format="WAV")

    def _spectrogram(self, wave: NDArray[np.float32], rate: int) -> Tensor:
        mono = wave.mean(axis=1) if wave.ndim == 2 else wave
        if len(mono) == 0:
            raise PairsError("A sound has no samples.", expected="at least one", received="length 0")
        if not np.isfinite(mono).all():
            raise PairsError("A sound has samples that are not finite.", expected="numbers within -1 and 1")
        if float(np.abs(mono).max()) > 8.0:
            raise PairsError(
                "The samples of a sound are far out of range.", expected="numbers within -1 and 1",
                received=f"up to {float(np.abs(mono).max()):.4g}",
            )  # fmt: skip
        clip = torch.from_numpy(self._fit(_resample(mono, rate, self.mel.rate)))
        mel = self.mel
        spectrum = torch.stft(
            clip, mel.window, mel.hop, window=torch.hann_window(mel.window), center=True, return_complex=True
        )
        power = mel_filters(mel) @ spectrum.abs().square()
        loudest = float(power.max())
        if loudest <= SILENCE:
            return torch.zeros_like(power)[None].half()
        decibels = 10 * torch.log10((power / loudest).clamp(min=10 ** (-DECIBELS / 10)))
        return (1 + decibels / DECIBELS).clamp(0, 1)[None].half()

    def _fit(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        spare = self.samples - len(wave)
        if spare <= 0:
            first = -spare // 2 if self.longer == "middle" else 0
            return np.ascontiguousarray(wave[first : first + self.samples])
        if self.shorter == "repeat":
            return np.resize(wave, self.samples)
        return np.pad(wave, (spare // 2, spare - spare // 2))


def read_sound(item: Item) -> tuple[NDArray[np.float32], int]:
    """Samples within -1..1 ``(samples, channels)`` and their rate in Hz.

    Raises:
        PairsError: the file is missing, unreadable, truncated or far too long.
        MissingDependencyError: soundfile is not installed.
    """
    soundfile = _soundfile(item)
    expected = "a sound file that libsndfile reads (WAV, FLAC, OGG, MP3)"
    try:
        with item.open("rb") as stream, soundfile.SoundFile(stream) as opened:
            if opened.frames > _LONGEST * opened.samplerate:
                raise ValueError(
                    f"{opened.frames / opened.samplerate:,.0f} seconds, where {_LONGEST:,.0f} are the most"
                )
            wave: NDArray[np.float32] = opened.read(dtype="float32", always_2d=True)
            return wave, int(opened.samplerate)
    except FileNotFoundError as error:
        raise PairsError("A file is missing.", where=item, expected=expected) from error
    except (soundfile.SoundFileError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise PairsError(
            "A sound cannot be read.", where=item, expected=expected, received=str(error) or type(error).__name__,
            fix="replace the file, or remove its row from the pairs",
        ) from error  # fmt: skip


def _soundfile(item: object) -> Any:
    try:
        import soundfile
    except ImportError as error:
        raise MissingDependencyError(
            "Sound files need the package soundfile.", where=item, fix="pip install 'crossdistill[audio]'"
        ) from error
    return soundfile


def _resample(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    if rate == wanted:
        return wave
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    resampled: NDArray[np.float32] = resample_poly(wave, wanted // common, rate // common).astype(np.float32)
    return resampled


@cache
def mel_filters(mel: MelSetting) -> Tensor:
    """Slaney's triangular filters, ``(mels, window // 2 + 1)``."""
    try:
        from librosa.filters import mel as slaney
    except ImportError as error:
        raise MissingDependencyError(
            "Spectrograms need the package librosa.", fix="pip install 'crossdistill[audio]'"
        ) from error
    return torch.from_numpy(slaney(sr=mel.rate, n_fft=mel.window, n_mels=mel.mels, fmin=mel.low, fmax=mel.high))


MODALITY = Audio
