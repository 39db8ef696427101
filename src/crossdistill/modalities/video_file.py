"""Some frames of a video file, evenly spaced in time, with one frame in memory at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import MissingDependencyError, PairsError
from crossdistill.item import Item

LONGEST = 3600.0  # seconds of one file; beyond it a file is broken, or should be cut into clips
MOST_PIXELS = 1 << 26  # of a frame: 8192 x 8192
_MOST_FRAMES = 1 << 20
_MOST_STREAMS = 64
_REORDERED = 2.0  # seconds by which frames are stored before others that are shown earlier, at most
_EXPECTED = "a video: MP4, MOV, MKV, WebM, AVI or GIF"

# Only these demuxers ever see a file: others (playlists, lists of files) would open further files and addresses.
_MAGIC = (
    (0, b"\x1aE\xdf\xa3", "matroska"), (0, b"GIF8", "gif"), (8, b"AVI ", "avi"),
    *((4, box, "mov") for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
)  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """Which frames are wanted, and what has to be decoded for them.

    Attributes:
        wanted: times in the stream's unit, increasing; the frame that is on the screen then is meant.
        shown: for each the time stamp of that frame.
        groups: groups of pictures (a key frame and what follows it) that hold these frames.
        slack: by how much decoded time stamps may differ from the stored ones.
    """

    wanted: list[float]
    shown: list[int]
    groups: set[int]
    slack: float


def sampled_frames(item: Item, count: int, seconds: float | None) -> Iterator[NDArray[np.uint8]]:
    """The frames in the middle of ``count`` equal parts of a video (Temporal Segment Networks, arXiv 1608.00859).

    Time stamps decide, not frame numbers: the frame rate may vary.

    Args:
        item: a video file.
        count: how many frames; those of a shorter video come several times.
        seconds: of the video that are divided, from its start; None takes all of it.

    Yields:
        ``(H, W, 3)``, upright.

    Raises:
        PairsError: the file is missing, damaged, truncated, far too long or large, or holds no picture.
        MissingDependencyError: PyAV is not installed.
    """
    av = pyav(item)
    try:
        with item.open("rb") as stream:
            kind = _kind(stream.read(16))
            if kind == "gif":
                _check_gif_end(stream)
        plan = _plan(av, item, kind, count, seconds)
        yield from _chosen(plan, _decoded(av, item, kind, plan.groups))
    except FileNotFoundError as error:
        raise PairsError("A file is missing.", where=item, expected=_EXPECTED) from error
    except (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as error:
        raise PairsError(
            "A video cannot be read.", where=item, expected=_EXPECTED,
            received=getattr(error, "strerror", None) or str(error) or type(error).__name__,
            fix="replace the file, or remove its row from the pairs",
        ) from error  # fmt: skip


def _kind(head: bytes) -> str:
    for place, magic, kind in _MAGIC:
        if head[place : place + len(magic)] == magic:
            return kind
    raise ValueError("nothing that begins like one of these" if head else "an empty file")


def _check_gif_end(stream: Any) -> None:
    """A GIF says nowhere how many frames it has, but ends in a semicolon."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 64))
    if not stream.read().rstrip(b"\0").endswith(b";"):
        raise ValueError("truncated: the end of the GIF is missing")


@contextmanager
def _opened(av: Any, item: Item, kind: str) -> Iterator[tuple[Any, Any]]:
    """Container and the stream of its pictures."""
    # FFmpeg decodes some frames to find out about a file: it has a limit of its own, which counts the edges of blocks.
    limits = [{"max_pixels": str(2 * MOST_PIXELS)}] * _MOST_STREAMS
    options = {"container_options": {"protocol_whitelist": ""}, "stream_options": limits, "metadata_errors": "replace"}
    with item.open("rb") as file, av.open(file, format=kind, **options) as container:
        if len(container.streams) > _MOST_STREAMS:
            raise ValueError(f"{len(container.streams)} streams, where {_MOST_STREAMS} are the most")
        cover = av.stream.Disposition.attached_pic
        videos = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not videos:
            raise ValueError("sound without pictures" if container.streams.audio else "a file without pictures")
        if videos[0].codec_context is None:
            raise ValueError("a video in a format that the installed PyAV cannot decode")
        _check_size(videos[0].codec_context)
        videos[0].codec_context.options = limits[0]
        yield container, videos[0]


def _check_size(frame: Any) -> None:
    if not 0 < frame.width * frame.height <= MOST_PIXELS:
        size = f"{frame.width} x {frame.height}" if frame.width and frame.height else "a size that is not to be had"
        raise ValueError(f"frames of {size}, where {MOST_PIXELS:,} pixels are the most")


def _plan(av: Any, item: Item, kind: str, count: int, seconds: float | None) -> _Plan:
    """Reads the time stamps of the packets, decoding none."""
    shown: list[tuple[int, int]] = []  # time stamp and group of each frame
    keys: list[int] = []  # time stamp of the first packet of each group
    stored, end, file_end = 0, 0, 0.0
    with _opened(av, item, kind) as (container, stream):
        unit = float(stream.time_base)
        claimed = (container.duration or 0) / av.time_base
        if seconds is None:
            _check_length(claimed)
        for packet in container.demux():
            time = packet.dts if packet.pts is None else packet.pts
            if packet.size == 0:  # the end of a stream
                continue
            if time is not None and packet.time_base is not None:
                file_end = max(file_end, float((time + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not stream:
                continue
            if packet.is_corrupt:
                raise ValueError("truncated or damaged data")
            if time is None:
                raise ValueError("frames without time stamps")
            if packet.is_keyframe or stored == 0:
                keys.append(time)
            stored += 1
            passed = (time - keys[0]) * unit
            if seconds is not None and passed > seconds + _REORDERED:
                break
            if seconds is None:
                _check_length(passed)
            if stored > _MOST_FRAMES:
                raise ValueError(f"more than {_MOST_FRAMES:,} frames")
            if not packet.is_discard:
                shown.append((time, len(keys) - 1))
                end = max(end, time + (packet.duration or 0))
        else:
            _check_whole(stored, stream.frames, file_end - min(0.0, keys[0] * unit if keys else 0.0), claimed)
    if not shown:
        raise ValueError("a video without a frame")
    shown.sort()
    times = [time for time, _ in shown]
    span = max(end, times[-1]) - times[0]
    span = span if seconds is None else min(span, round(seconds / unit))
    wanted = [times[0] + (number + 0.5) / count * span for number in range(count)]
    chosen = [shown[bisect_right(times, time) - 1] for time in wanted]
    # A frame that is shown before the key frame of its own group leans on the group before as well.
    leading = {group - 1 for time, group in chosen if time < keys[group] and group > 0}
    step = max((after - before for before, after in pairwise(times)), default=0)
    return _Plan(
        wanted, [time for time, _ in chosen], leading | {group for _, group in chosen}, max(2 * step, 0.5 / unit)
    )


def _check_length(seconds: float) -> None:
    if seconds > LONGEST:
        raise ValueError(f"{seconds:,.0f} seconds, where {LONGEST:,.0f} are the most that are read without 'seconds'")


def _check_whole(stored: int, frames: int, length: float, claimed: float) -> None:
    """Headers tell how much there should be: frames in MP4 and AVI, seconds in MKV and WebM."""
    if stored < 0.95 * frames - 1:
        raise ValueError(f"truncated: {stored} of {frames} frames")
    if stored and length < 0.95 * claimed - 2 * length / stored:
        raise ValueError(f"truncated: {length:.2f} of {claimed:.2f} seconds")


def _decoded(av: Any, item: Item, kind: str, groups: set[int]) -> Iterator[Any]:
    """The frames of some groups, in the order in which they are shown; packets of other groups are passed over."""
    with _opened(av, item, kind) as (container, stream):
        codec, group, feeding = stream.codec_context, -1, False
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            if packet.is_keyframe or group < 0:
                group += 1
                if group > max(groups):
                    break
                if feeding and group not in groups:
                    yield from codec.decode(None)
                    codec.flush_buffers()
                feeding = group in groups
            if feeding:
                yield from codec.decode(packet)
        yield from codec.decode(None)


def _chosen(plan: _Plan, frames: Iterator[Any]) -> Iterator[NDArray[np.uint8]]:
    """Of ``frames`` those that are on the screen at the wanted times."""
    latest, pixels, place = None, None, 0
    for frame in chain(frames, [None]):
        if frame is not None and frame.pts is None:
            raise ValueError("frames without time stamps")
        while latest is not None and place < len(plan.wanted) and (frame is None or frame.pts > plan.wanted[place]):
            if latest.is_corrupt or abs(latest.pts - plan.shown[place]) > plan.slack:
                raise ValueError(f"damaged data: no picture at {plan.shown[place] * float(latest.time_base):.2f} s")
            pixels = _upright(latest) if pixels is None else pixels
            yield pixels
            place += 1
        latest, pixels = frame, None
    if place < len(plan.wanted):
        raise ValueError("no frame of it can be decoded")


def _upright(frame: Any) -> NDArray[np.uint8]:
    """The pixels of a frame; phones store theirs lying down, with a note of how to turn them."""
    _check_size(frame)
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def pyav(item: object) -> Any:
    """The package PyAV; ``item`` is what needs it."""
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            "Videos need the package av.", where=item, fix="pip install 'crossdistill[video]'"
        ) from error
    if not hasattr(av.VideoFrame, "rotation"):  # frames would lie on their side, and nobody would be told
        raise MissingDependencyError(
            "The package av is too old for videos.", where=item, expected="version 14.1 or later",
            received=av.__version__, fix="pip install -U 'crossdistill[video]'",
        )  # fmt: skip
    return av
