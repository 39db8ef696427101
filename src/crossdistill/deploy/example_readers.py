"""How an export's example reads a file: the body of its ``read(path)``, for each modality.

A body does what the library does to a file before the graph, or stops with a message: where an example made something
else of a file without notice, a program that was built on it would search with other vectors than the library's.
"""

from __future__ import annotations

from dataclasses import dataclass

from crossdistill.deploy.entry import DecodedEntry, Entry
from crossdistill.modalities.audio import Audio
from crossdistill.modalities.depth import Depth
from crossdistill.modalities.image import Image
from crossdistill.modalities.multispectral import Multispectral
from crossdistill.modalities.raster import Raster
from crossdistill.modalities.sketch import Sketch
from crossdistill.modalities.thermal import Thermal
from crossdistill.modalities.timeseries import TimeSeries
from crossdistill.modalities.video import Video

_VECTORS = """    if path.lower().endswith((".svg", ".json", ".ndjson")):
        raise SystemExit(f"{path}: draw it as a picture of 512 pixels first, see 'outside' in export.json")
"""

_PICTURE = """    try:
        if path.endswith(".npy"):
            array = np.load(path)
            if array.dtype != np.uint8:
                raise SystemExit(f"{path}: this takes arrays of 8 bits")
            picture = Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array)
        else:
            picture = ImageOps.exif_transpose(Image.open(path))
    except (OSError, ValueError, TypeError) as error:
        raise SystemExit(f"{path}: {error}; this takes pictures that Pillow reads")
    if picture.mode == "F":
        raise SystemExit(f"{path}: a picture of floating-point numbers, whose range nobody knows")
    if picture.mode.startswith("I"):  # grey values of 16 bits
        values = np.asarray(picture).astype(float)
        if values.min() < 0 or values.max() > 65535:
            raise SystemExit(f"{path}: whole numbers outside of 0..65535")
        picture = Image.fromarray((values / 257).round().astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")  # what is transparent becomes white
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return np.array(picture.convert("RGB"))"""

_SOUND = """    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except RuntimeError as error:
        raise SystemExit(f"{path}: {error}; this takes sounds that libsndfile reads")
    if rate != @rate@:
        raise SystemExit(f"{path}: resample it from {rate} to @rate@ Hz first")
    if not samples.size or not np.isfinite(samples).all():
        raise SystemExit(f"{path}: no samples, or samples that are not finite")
    return samples.mean(axis=1)"""

_STORED = """    if path.endswith(".npy"):
        stored = np.load(path)
    else:
        try:
            opened = Image.open(path)
        except OSError as error:
            raise SystemExit(f"{path}: {error}; this takes NPY files, and PNG and TIFF files of one picture")
        if opened.mode in ("P", "1") or getattr(opened, "n_frames", 1) > 1:
            raise SystemExit(f"{path}: a palette, black and white, or several pictures: no measured values")
        stored = np.asarray(opened)
    stored = stored[:, :, 0] if stored.shape[2:] == (1,) else stored"""

_DEPTH = """
    if stored.ndim != 2 or stored.dtype == np.uint8:
        raise SystemExit(f"{path}: a depth map has one channel, of more than 8 bits")
    missing = ~np.isfinite(stored) | np.isin(stored, @invalid@) | (stored <= 0)
    values = np.where(missing, 1, stored).astype(float)
    metres = np.where(missing, np.nan, @metres@).astype(np.float32)
    inside = (metres >= @near@ / 2) & (metres <= @far@ * 2)
    if inside.sum() < 0.1 * (~missing).sum() or missing.all():
        raise SystemExit(f"{path}: distances that are not from @near@ to @far@ metres; is their unit another?")
    return metres[:, :, None]"""

_THERMAL = """
    if stored.ndim == 3 and (stored.shape[2] not in (3, 4) or np.ptp(stored[:, :, :3], axis=2).max() > 2):
        raise SystemExit(f"{path}: colours, where a thermal picture has one channel, or three that are equal")
    stored = stored if stored.ndim == 2 else stored[:, :, 0]
    missing = ~np.isfinite(stored) | np.isin(stored, @invalid@)
    values = @values@
    return np.where(missing, np.nan, values).astype(np.float32)[:, :, None]"""

_BANDS = """    if path.lower().endswith((".tif", ".tiff")):
        import tifffile  # pip install tifffile

        stored = tifffile.imread(path)
        stored = np.moveaxis(stored, 0, -1) if stored.ndim == 3 and stored.shape[0] < stored.shape[2] else stored
    elif path.endswith(".npy"):
        stored = np.load(path)
    else:
        raise SystemExit(f"{path}: this takes NPY and TIFF files")
    stored = stored[:, :, None] if stored.ndim == 2 else stored
    if stored.ndim != 3 or not @enough@:
        raise SystemExit(f"{path}: this takes (H, W, bands) with @wanted@ bands, and not {stored.shape}")
    chosen = stored[:, :, @bands@]
    missing = ~np.isfinite(chosen) | np.isin(chosen, @no_data@)
    return np.where(missing.any(axis=2, keepdims=True), np.nan, chosen).astype(np.float32)"""

_SERIES = """    columns = @columns@
    if path.endswith(".npy"):
        lines = np.load(path)@turn@
        lines = lines[:, None] if lines.ndim == 1 else lines
        names = @named@
    else:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            lines = [line for line in csv.reader(file, delimiter=max(",;\t", key=head.count)) if line] or [[]]

        def number(cell):
            try:
                return float(cell) is not None
            except ValueError:
                return cell.strip().lower() in ("", "na", "n/a", "null", "none", "-")

        names = [] if all(map(number, lines[0])) else [cell.strip() for cell in lines[0]]
        lines = lines[1:] if names else lines
    width = len(names or lines[0])
    places = [names.index(column) if column in names else column for column in columns]
    wrong = [place for place in places if isinstance(place, str) or place >= width]
    if wrong or not len(lines) or any(len(line) != width for line in lines)@stored@:
        raise SystemExit(f"{path}: this takes series of the channels {columns}, and has {names or width}")
    try:
        table = np.array([[float(line[place]) for place in places] for line in lines])
        missing = not np.isfinite(table).all()
    except ValueError:
        missing = True
    if missing:
        raise SystemExit(f"{path}: a sample is missing, or no number: see 'outside' in export.json")"""

_GRID = """
    time, table = table[:, 0] * @seconds@, table[:, 1:]
    steps = np.diff(time) * @rate@
    if not len(steps) or steps.min() <= 0 or steps.max() > 1.5 or abs(1 / steps.mean() - 1) > 0.05:
        raise SystemExit(f"{path}: its times do not increase at about @rate@ samples a second, without gaps")
    grid = time[0] + np.arange(int((time[-1] - time[0]) * @rate@ + 1e-6) + 1) / @rate@
    table = np.stack([np.interp(grid, time, channel) for channel in table.T], axis=1)"""

_ARRAY = """    if not path.endswith(".npy"):
        raise SystemExit(f"{path}: this takes NPY files of @what@")
    array = np.load(path)@change@
    if not (@right@):
        raise SystemExit(f"{path}: this takes @what@, and not {array.dtype} of shape {array.shape}")
    return array@cast@"""


@dataclass(frozen=True)
class Reader:
    """How files are read.

    Attributes:
        body: of ``read(path)``.
        takes: what it takes, in words; anything else it refuses.
        packages: that it imports, beside NumPy; ``PIL`` for Pillow.
        arrays: whether it takes what the graph takes, in NPY files, instead of the items themselves.
    """

    body: str
    takes: str
    packages: tuple[str, ...] = ()
    arrays: bool = False


def reader_for(entry: Entry) -> Reader:
    """The reader of an export with this entry."""
    modality = entry.modality
    if isinstance(entry, DecodedEntry):
        if entry.input_name == "vectors":
            what, right = f"vectors {modality.shape}", 'array.dtype.kind in "uif"'
            body = _array(what, modality.shape, right, change=".reshape(-1)", cast=".astype(np.float32)")
            return Reader(body, f"NPY files of {what}")
        what = f"decoded items {modality.shape}, see 'outside' in export.json"
        kind = "array.dtype == np.uint8" if entry.compact else 'array.dtype.kind in "uif"'
        cast = "" if entry.compact else ".astype(np.float32)"
        return Reader(_array(what, modality.shape, kind, cast=cast), f"NPY files of {what}", (), arrays=True)
    if isinstance(modality, Video):
        what = f"clips ({modality.frames}, H, W, 3) of 8 bits, of the frames that export.json tells"
        right = "array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] == 3"
        return Reader(_array(what, (modality.frames,), right, axes=":1"), f"NPY files of {what}", (), arrays=True)
    if isinstance(modality, Sketch):
        takes = "drawings as pictures that Pillow reads; SVG and strokes have to be drawn as pictures first"
        return Reader(_VECTORS + _PICTURE, takes, ("PIL",))
    if isinstance(modality, Image):
        return Reader(_PICTURE, "pictures that Pillow reads, and NPY files of 8 bits", ("PIL",))
    if isinstance(modality, Audio):
        takes = f"sounds that libsndfile reads, of {modality.mel.rate} Hz; others have to be resampled first"
        return Reader(_filled(_SOUND, rate=modality.mel.rate), takes, ("soundfile",))
    if isinstance(modality, Raster):
        return _raster_reader(modality)
    assert isinstance(modality, TimeSeries)
    return _series_reader(modality)


def _raster_reader(modality: Raster) -> Reader:
    if isinstance(modality, Multispectral):
        wanted = modality.stored_bands or f"at least {max(modality.bands) + 1}"
        enough = f"stored.shape[2] == {wanted}" if modality.stored_bands else f"stored.shape[2] > {max(modality.bands)}"
        body = _filled(_BANDS, bands=list(modality.bands), no_data=list(modality.no_data), enough=enough, wanted=wanted)
        return Reader(body, "NPY files of (H, W, bands), and TIFF files where tifffile is installed")
    takes = "NPY files, and PNG and TIFF files of one picture"
    if isinstance(modality, Thermal):
        degrees, offset = modality.degrees_per_unit, modality.degrees_offset
        values = "stored.astype(np.float32)"
        if degrees is not None:
            values += f" * np.float32({degrees!r}) + np.float32({offset!r})"
        return Reader(_STORED + _filled(_THERMAL, values=values, invalid=list(modality.invalid)), takes, ("PIL",))
    assert isinstance(modality, Depth)
    unit = repr(modality.metres_per_unit)
    if modality.metres_per_unit is None:
        unit = '(1.0 if stored.dtype.kind == "f" else 0.001)'
    metres = f"{unit} / values" if modality.inverse_stored else f"values * {unit}"
    body = _filled(_DEPTH, metres=metres, invalid=list(modality.invalid), near=modality.near, far=modality.far)
    return Reader(_STORED + body, takes, ("PIL",))


def _series_reader(modality: TimeSeries) -> Reader:
    timed = [] if modality.time is None else [modality.time]
    columns = [*timed, *modality.channels]
    named = any(isinstance(column, str) for column in columns)
    body = _filled(
        _SERIES,
        columns=columns,
        turn=".T" if modality.layout == "channels_first" else "",
        named="columns  # an array has no names: all of its channels, in this order" if named else "[]",
        stored="" if modality.stored_columns is None else f" or width != {modality.stored_columns}",
    )
    if timed:
        body += _filled(_GRID, seconds=modality.seconds_per_unit, rate=modality.rate)
    takes = f"CSV and NPY files of the channels {', '.join(map(str, columns))}, without missing samples"
    return Reader(body + "\n    return table.astype(np.float32)", takes, ("csv",))


def _array(
    what: str, shape: tuple[int, ...], right: str, *, axes: str = "", change: str = "", cast: str = ""
) -> str:  # fmt: skip
    part = f"array.shape[{axes}]" if axes else "array.shape"
    return _filled(_ARRAY, what=what, right=f"{part} == {tuple(shape)} and {right}", change=change, cast=cast)


def _filled(body: str, **values: object) -> str:
    for name, value in values.items():
        body = body.replace(f"@{name}@", str(value))
    return body
