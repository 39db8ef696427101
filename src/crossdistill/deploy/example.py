"""The example that lies beside an export: reads files as this encoder wants them, and finds the nearest."""

from __future__ import annotations

from crossdistill.deploy.entry import DecodedEntry, Entry
from crossdistill.modalities.audio import Audio
from crossdistill.modalities.depth import Depth
from crossdistill.modalities.image import Image
from crossdistill.modalities.multispectral import Multispectral
from crossdistill.modalities.raster import Raster
from crossdistill.modalities.thermal import Thermal
from crossdistill.modalities.timeseries import TimeSeries
from crossdistill.modalities.video import Video

_ONNX = '''"""Finds the nearest files without PyTorch: python example.py QUERY FILE ...   (pip install {packages})"""

import sys
from pathlib import Path

{imports}

session = onnxruntime.InferenceSession(str(Path(__file__).with_name("{file}")))


def read(path):
{body}


vectors = np.concatenate([session.run(None, {{"{input}": read(path)[None]}})[0] for path in sys.argv[1:]])
for score, path in sorted(zip(vectors[1:] @ vectors[0], sys.argv[2:]), reverse=True)[:10]:
    print(f"{{score:.3f}}  {{path}}")
'''

_PROGRAM = '''"""Finds the nearest files with PyTorch, without crossdistill: python example.py QUERY FILE ..."""

import sys
from pathlib import Path

{imports}

encoder = torch.export.load(Path(__file__).with_name("{file}")).module()


def read(path):
{body}


with torch.no_grad():
    vectors = torch.cat([encoder(torch.from_numpy(read(path))[None]) for path in sys.argv[1:]]).numpy()
for score, path in sorted(zip(vectors[1:] @ vectors[0], sys.argv[2:]), reverse=True)[:10]:
    print(f"{{score:.3f}}  {{path}}")
'''

_PICTURE = """    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")  # what is transparent becomes white
    return np.array(Image.alpha_composite(white, picture).convert("RGB"))"""

_CLIP = """    return np.load(path)  # the frames that export.json tells, (frames, H, W, 3) of 8 bits"""

_SOUND = """    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != {rate}:
        raise SystemExit(f"{{path}}: resample it from {{rate}} to {rate} Hz first")
    return samples.mean(axis=1)"""

_STORED = """    stored = np.load(path) if path.endswith(".npy") else np.asarray(Image.open(path))"""

_DEPTH = """
    missing = ~np.isfinite(stored) | np.isin(stored, {invalid}) | (stored <= 0)
    metres = {metres}
    return np.where(missing, np.nan, metres).astype(np.float32)[:, :, None]"""

_THERMAL = """
    stored = stored if stored.ndim == 2 else stored[:, :, 0]
    values = {values}
    return np.where(np.isin(stored, {invalid}), np.nan, values).astype(np.float32)[:, :, None]"""

_BANDS = """    stored = np.load(path)[:, :, {bands}]
    missing = np.isin(stored, {no_data}).any(axis=2, keepdims=True)
    return np.where(missing, np.nan, stored).astype(np.float32)"""

_NAMED = """    table = np.genfromtxt(path, delimiter=",", names=True)
    return np.stack([table[name] for name in {names}], axis=1).astype(np.float32)"""

_NUMBERED = """    table = np.load(path){turn} if path.endswith(".npy") else np.loadtxt(path, delimiter=",")
    return table[:, {names}].astype(np.float32)"""

_VECTOR = """    return np.load(path).reshape(-1).astype(np.float32)"""

_DECODED = """    return np.load(path).astype(np.{dtype})  # a decoded item, see export.json"""


def example_for(entry: Entry, form: str, file: str) -> str:
    """The program for an export with this entry.

    Args:
        entry: of the exported graph.
        form: ``onnx`` or ``torch-export``.
        file: name of the graph's file, beside the example.
    """
    body, packages = _reader(entry)
    runtime = "onnxruntime" if form == "onnx" else "torch"
    lines = sorted(
        ["import numpy as np", f"import {runtime}", *(f"import {name}" for name in packages if name != "PIL")]
    )
    if "PIL" in packages:
        lines.append("from PIL import Image, ImageOps" if "ImageOps" in body else "from PIL import Image")
    installed = " ".join(["onnxruntime", "numpy", *("pillow" if name == "PIL" else name for name in packages)])
    template = _ONNX if form == "onnx" else _PROGRAM
    return template.format(imports="\n".join(lines), body=body, file=file, input=entry.input_name, packages=installed)


def _reader(entry: Entry) -> tuple[str, list[str]]:
    """The body of ``read(path)``, and the packages that it needs beside NumPy."""
    modality = entry.modality
    if isinstance(entry, DecodedEntry):
        if entry.input_name == "vectors":
            return _VECTOR, []
        return _DECODED.format(dtype=str(entry.dtype).removeprefix("torch.")), []
    if isinstance(modality, Video):
        return _CLIP, []
    if isinstance(modality, Image):
        return _PICTURE, ["PIL"]
    if isinstance(modality, Audio):
        return _SOUND.format(rate=modality.mel.rate), ["soundfile"]
    if isinstance(modality, Raster):
        return _raster_reader(modality)
    assert isinstance(modality, TimeSeries)
    if all(isinstance(name, str) for name in modality.channels):
        return _NAMED.format(names=list(modality.channels)), []
    turn = ".T" if modality.layout == "channels_first" else ""
    return _NUMBERED.format(names=list(modality.channels), turn=turn), []


def _raster_reader(modality: Raster) -> tuple[str, list[str]]:
    if isinstance(modality, Multispectral):
        return _BANDS.format(bands=list(modality.bands), no_data=list(modality.no_data)), []
    if isinstance(modality, Thermal):
        scaled = f"stored * {modality.degrees_per_unit!r} + {modality.degrees_offset!r}"
        values = "stored" if modality.degrees_per_unit is None else scaled
        return _STORED + _THERMAL.format(values=values, invalid=list(modality.invalid)), ["PIL"]
    assert isinstance(modality, Depth)
    unit = repr(modality.metres_per_unit or "")
    if modality.metres_per_unit is None:
        unit = '(1.0 if stored.dtype.kind == "f" else 0.001)'
    metres = f"{unit} / np.where(missing, 1, stored)" if modality.inverse_stored else f"stored * {unit}"
    return _STORED + _DEPTH.format(metres=metres, invalid=list(modality.invalid)), ["PIL"]
