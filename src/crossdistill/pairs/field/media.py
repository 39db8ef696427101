"""Parts of video files as items: one frame as a picture, the sound track as a sound file."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from crossdistill.modalities.video_file import LONGEST, MOST_PIXELS, pyav, sampled_frames
from crossdistill.pairs.field.derived import DerivedItem

# The demuxer is told by the ending and forced: others (playlists, lists of files) would open further files.
_DEMUXERS = {".mp4": "mov", ".mov": "mov", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}
_MOST_STREAMS = 64

VIDEOS = tuple(_DEMUXERS)


@dataclass(frozen=True)
class VideoFrame(DerivedItem):
    """The middle frame of a video as a PNG file."""

    path: Path

    @property
    def name(self) -> str:
        """What it would be called as a file."""
        return f"{self.path.stem}.png"

    def read_bytes(self) -> bytes:
        """Decodes it. Raises PairsError where it cannot be decoded."""
        content = io.BytesIO()
        for frame in sampled_frames(self.path, 1, None):
            Pillow.fromarray(frame).save(content, format="PNG", compress_level=1)
        return content.getvalue()

    def __str__(self) -> str:
        return f"{self.path}#frame"


@dataclass(frozen=True)
class VideoSound(DerivedItem):
    """The sound track of a video as a WAV file: 16 bits, one channel, at its own rate."""

    path: Path

    @property
    def name(self) -> str:
        """What it would be called as a file."""
        return f"{self.path.stem}.wav"

    def read_bytes(self) -> bytes:
        """Decodes it."""
        av = pyav(self.path)
        try:
            rate, samples = _sound(av, self.path)
        except (av.FFmpegError, EOFError, MemoryError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"the sound track of the video cannot be decoded: {error}") from error
        content = io.BytesIO()
        with wave.open(content, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(samples)
        return content.getvalue()

    def __str__(self) -> str:
        return f"{self.path}#sound"


def _sound(av: Any, path: Path) -> tuple[int, bytes]:
    """Rate and samples of the first sound track."""
    kind = _DEMUXERS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"a video ends in {', '.join(VIDEOS)}")
    # FFmpeg decodes some pictures to find out about a file.
    options = {"container_options": {"protocol_whitelist": ""},
               "stream_options": [{"max_pixels": str(2 * MOST_PIXELS)}] * _MOST_STREAMS}  # fmt: skip
    with path.open("rb") as file, av.open(file, format=kind, metadata_errors="replace", **options) as container:
        if not container.streams.audio:
            raise ValueError("the video has no sound track")
        stream = container.streams.audio[0]
        if stream.codec_context is None or stream.codec_context.sample_rate <= 0:
            raise ValueError("the sound track of the video is of a kind that nobody knows")
        rate = int(stream.codec_context.sample_rate)
        samples = b"".join(_mono(av, container, stream, rate))
    if not samples:
        raise ValueError("the sound track of the video is empty")
    return rate, samples


def _mono(av: Any, container: Any, stream: Any, rate: int) -> Iterator[bytes]:
    """Stretches of the sound as 16-bit samples in one channel."""
    resampler, count = av.AudioResampler(format="s16", layout="mono", rate=rate), 0
    for frame in chain(container.decode(stream), [None]):  # None: what the resampler still holds
        for part in resampler.resample(frame):
            count += part.samples
            if count > LONGEST * rate:
                raise ValueError(f"a sound track of more than the {LONGEST:,.0f} seconds that are the most")
            yield part.to_ndarray().astype("<i2").tobytes()
