"""Formats that can be read here. Each is tried: a tiny item is written in it and read back."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from crossdistill.doctor.finding import Finding, Section, reason

_PICTURES = {
    "PNG": "PNG", "JPEG": "JPEG", "GIF": "GIF", "BMP": "BMP", "TIFF": "TIFF", "WebP": "WEBP", "JPEG 2000": "JPEG2000",
    "AVIF": "AVIF",
}  # fmt: skip
_SOUNDS = {"WAV": ("WAV", "PCM_16"), "FLAC": ("FLAC", "PCM_16"), "OGG": ("OGG", "VORBIS"),
           "MP3": ("MP3", "MPEG_LAYER_III")}  # fmt: skip
_VIDEOS = {
    "H.264": "h264",
    "H.265": "hevc",
    "VP8": "vp8",
    "VP9": "vp9",
    "AV1": "av1",
    "MPEG-4": "mpeg4",
    "MJPEG": "mjpeg",
}


def codecs() -> Section:
    """Pictures, sounds, videos, rasters, drawings and HDF5."""
    found = [
        _several("pictures", _PICTURES, _picture, "pip install -U pillow"),
        _several("sound", _SOUNDS, _sound, "pip install 'crossdistill[audio]'"),
        _several("video", _VIDEOS, _video, "pip install 'crossdistill[video]'"),
        _one("TIFF rasters", _tiff, "raster"),
        _one("OpenEXR", _openexr, "raster"),
        _one("SVG", _svg, "sketch"),
        _one("HDF5", _hdf5, "hdf5"),
    ]
    return Section("Formats", found)


def _several(name: str, formats: Mapping[str, object], attempt: Callable[[str], None], fix: str) -> Finding:
    """One line for all formats of a library; those that fail are named."""
    able, unable, why = [], [], ""
    for shown in formats:
        try:
            attempt(shown)
        except ModuleNotFoundError as error:
            return Finding(name, f"{error.name} is not installed", "none", fix)
        except Exception as error:  # a codec that is not built in, or a library that is broken
            unable.append(shown)
            why = why or reason(error)
        else:
            able.append(shown)
    if not able:
        return Finding(name, f"nothing can be read: {why}", "note", fix.replace("install", "install --force-reinstall"))
    missing = f"; not {', '.join(unable)}" if unable else ""
    return Finding(name, ", ".join(able) + missing)


def _one(name: str, attempt: Callable[[], None], extra: str) -> Finding:
    fix = f"pip install 'crossdistill[{extra}]'"
    try:
        attempt()
    except ModuleNotFoundError as error:
        return Finding(name, f"{error.name} is not installed", "none", fix)
    except Exception as error:  # a library that is broken
        return Finding(
            name, f"cannot be read: {reason(error)}", "note", fix.replace("install", "install --force-reinstall")
        )
    return Finding(name, "read")


def _expect(*, right: bool) -> None:
    if not right:
        raise ValueError("what was read differs from what was written")


def _picture(shown: str) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 100, 50)).save(stream, _PICTURES[shown])
    with Image.open(io.BytesIO(stream.getvalue())) as back:
        red, _, blue = back.convert("RGB").getpixel((8, 8))  # type: ignore[misc]
    _expect(right=abs(red - 200) < 30 and abs(blue - 50) < 30)


def _sound(shown: str) -> None:
    import numpy as np
    import soundfile

    stream, (kind, coding) = io.BytesIO(), _SOUNDS[shown]
    soundfile.write(stream, 0.5 * np.sin(np.arange(8000) / 10), 8000, format=kind, subtype=coding)
    values, rate = soundfile.read(io.BytesIO(stream.getvalue()))
    _expect(right=rate == 8000 and 0.2 < float(np.abs(values).mean()) < 0.45)


def _video(shown: str) -> None:
    import av

    av.codec.Codec(_VIDEOS[shown], "r")  # raises where there is no decoder


def _tiff() -> None:
    import numpy as np
    import tifffile

    stream, values = io.BytesIO(), np.arange(5 * 4 * 3, dtype=np.float32).reshape(5, 4, 3)
    tifffile.imwrite(stream, values, photometric="minisblack")
    _expect(right=bool((tifffile.imread(io.BytesIO(stream.getvalue())) == values).all()))


def _openexr() -> None:
    import numpy as np
    import OpenEXR

    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name) / "trial.exr")
        OpenEXR.File({}, {"Z": values}).write(path)
        with OpenEXR.File(path) as back:
            _expect(right=bool((back.channels()["Z"].pixels == values).all()))


def _svg() -> None:
    import resvg_py

    drawn = resvg_py.svg_to_bytes(svg_string='<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>')
    _expect(right=bytes(drawn).startswith(b"\x89PNG"))


def _hdf5() -> None:
    import h5py
    import numpy as np

    with h5py.File("trial.h5", "w", driver="core", backing_store=False) as file:
        file["values"] = np.arange(5)
        _expect(right=int(file["values"][3]) == 3)
