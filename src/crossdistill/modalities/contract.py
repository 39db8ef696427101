"""What the library relies on in a modality, as a check for one of your own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from crossdistill.errors import CrossDistillError, PairsError
from crossdistill.item import MemoryItem
from crossdistill.modalities.base import InputDefaults, Modality
from crossdistill.validation import validated

_DEFAULTS = InputDefaults(size=32, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear")
_SIDE = 48  # of the pictures that are drawn here, in pixels
_COMPACT = (torch.uint8, torch.float16, torch.float32)


def check_modality(kind: type[Modality], *, suffix: str, **settings: Any) -> None:
    """Goes through everything that a run does with a modality, on samples that it writes itself; takes a second.

    Reading (from files and from memory, twice alike, and refusing what is missing or cut off), settings that survive
    being written and read, filling in what is open, statistics, augmentation, normalisation, and drawing.

    Args:
        kind: the class.
        suffix: of the files that :meth:`~crossdistill.modalities.Modality.write_fake` writes, such as ``.csv``.
        settings: beside those of :meth:`~crossdistill.modalities.Modality.fake_settings`.

    Raises:
        AssertionError: something does not hold; the message says what, and where to look.
    """
    given = validated(kind, {**kind.fake_settings(), **settings})
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place) / "items" / f"{label}-{variant}{suffix}" for label in range(2) for variant in range(3)]
        for index, path in enumerate(files):
            kind.write_fake(path, index // 3, index % 3, rich=False)
            _hold(path.is_file(), "write_fake", f"writes nothing at {path.name}")
        modality = given.resolve(_DEFAULTS)
        items = _read(modality, files)
        _refuses(modality, files[0])
        modality = _settled(given, modality, items)
        _trains(modality, items)
        _shows(modality, files[0], items[0])


def _read(modality: Modality, files: list[Path]) -> Tensor:
    """Decoded samples ``(n, *shape)``."""
    items = [modality.decode(path) for path in files]
    first = items[0]
    _hold(tuple(first.shape) == modality.shape, "decode", f"gives {tuple(first.shape)}, and shape is {modality.shape}")
    _hold(first.dtype in _COMPACT, "decode", f"gives {first.dtype}; uint8, float16 or float32 are known")
    _hold(bool(torch.isfinite(torch.stack(items).float()).all()), "decode", "gives values that are not finite")
    _hold(torch.equal(first, modality.decode(files[0])), "decode", "gives two results for one file")
    _hold(any(not torch.equal(first, other) for other in items[1:]), "decode", "gives the same for different files")
    memory = MemoryItem(files[0].name, files[0].read_bytes())
    _hold(
        torch.equal(first, modality.decode(memory)), "decode",
        "gives another result for the same bytes in memory: read it by open or read_bytes, not by its path",
    )  # fmt: skip
    return torch.stack(items)


def _refuses(modality: Modality, file: Path) -> None:
    whole = file.read_bytes()
    for what, item in (
        ("a missing file", file.with_name(f"missing{file.suffix}")),
        ("an empty file", MemoryItem(file.name, b"")),
        ("a file of other content", MemoryItem(file.name, b"\x00nothing of this kind\xff" + whole[:3])),
    ):
        try:
            modality.decode(item)
        except PairsError:
            continue
        except Exception as error:  # the very thing that is looked for: any other class would end in a traceback
            _broken("decode", f"of {what} raises {type(error).__name__}: {error}; a PairsError is told to the user")
        _broken("decode", f"reads {what} without a word; raise a PairsError")


def _settled(given: Modality, modality: Modality, items: Tensor) -> Modality:
    """The modality as an encoder keeps it."""
    _hold(type(modality) is type(given), "resolve", f"gives a {type(modality).__name__}")
    _hold(modality.resolve(_DEFAULTS) == modality, "resolve", "changes what is settled already")
    settled = given.with_statistics(items).resolve(_DEFAULTS)
    written = settled.model_dump(mode="json", by_alias=True)
    try:
        again = validated(type(settled), written)
    except CrossDistillError as error:
        _broken("settings", f"cannot be read as they are written: {error}")
    _hold(again == settled, "settings", f"are others after writing and reading: {written}")
    _hold(again.decoding == settled.decoding, "decoding", "differs between equal settings")
    _hold(isinstance(settled.as_defaults(), InputDefaults), "as_defaults", "gives no InputDefaults")
    _hold(type(settled.contrastive()) is type(settled), "contrastive", "gives another class")
    return settled


def _trains(modality: Modality, items: Tensor) -> None:
    before = items.clone()
    for name, chosen in (("augment", modality), ("augment of contrastive()", modality.contrastive())):
        torch.manual_seed(0)
        changed = chosen.augment(items)
        torch.manual_seed(0)
        _hold(torch.equal(changed, chosen.augment(items)), name, "differs under one seed: draw from torch's generators")
        _hold(torch.equal(items, before), name, "changes the batch that it is given")
        _encodable(modality, changed, name)
    _encodable(modality, items, "decode")


def _encodable(modality: Modality, batch: Tensor, source: str) -> None:
    ready = modality.normalise(batch)
    _hold(ready.shape == batch.shape, "normalise", f"of what {source} gives has the shape {tuple(ready.shape)}")
    _hold(ready.dtype == torch.float32, "normalise", f"of what {source} gives is {ready.dtype}, not float32")
    _hold(bool(torch.isfinite(ready).all()), "normalise", f"of what {source} gives is not finite")


def _shows(modality: Modality, file: Path, item: Tensor) -> None:
    for name, drawn in (("picture", modality.picture(file, _SIDE)), ("draw", modality.draw(item, _SIDE))):
        _hold(drawn.size == (_SIDE, _SIDE), name, f"is {drawn.size}; a square of the side that is asked for is shown")
        _hold(len(set(drawn.convert("L").tobytes())) > 1, name, "is of one colour, so nobody sees anything in it")
    for name, fact in modality.facts(file).items():
        _hold(isinstance(fact, (str, float, int)), "facts", f"has {name} of type {type(fact).__name__}")


def _hold(true: bool, part: str, complaint: str) -> None:
    if not true:
        _broken(part, complaint)


def _broken(part: str, complaint: str) -> NoReturn:
    raise AssertionError(f"{part} {complaint}")
