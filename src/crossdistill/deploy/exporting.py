"""``crossdistill export``: an encoder in a form that other programs run, checked against PyTorch before it is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from numpy.typing import NDArray

from crossdistill.console import say
from crossdistill.deploy.eight_bits import Measured, add_eight_bits
from crossdistill.deploy.entries import entry_for
from crossdistill.deploy.entry import Entry
from crossdistill.deploy.example import example_for
from crossdistill.deploy.example_check import check_example
from crossdistill.deploy.example_readers import reader_for
from crossdistill.deploy.graph import OPSET, require_onnx, save_onnx, save_program, traced
from crossdistill.deploy.manifest import FORMAT, MANIFEST, described, listed, versions
from crossdistill.deploy.network import Deployed, at_rest
from crossdistill.deploy.new_folder import new_folder
from crossdistill.deploy.own import MOST_ITEMS, items_of, pairs_of
from crossdistill.deploy.parity import Parity, Sample, measure_parity, samples_of
from crossdistill.deploy.runners import module_runner, onnx_runner, program_runner
from crossdistill.deploy.tensors import from_parts, save_tensors
from crossdistill.deploy.tensors_example import tensors_example
from crossdistill.encoders import Encoder, describe_encoder, has_encoder
from crossdistill.errors import ConfigError, PairsError, nearest
from crossdistill.files import write_json, write_text
from crossdistill.item import Item
from crossdistill.pairs import Pairs, Side
from crossdistill.pipeline import CrossModalModel, load, open_run

Format = Literal["onnx", "torch-export", "safetensors"]
FORMATS: tuple[Format, ...] = get_args(Format)

TOLERANCE = 1e-4
"""Largest absolute difference of a component of unit embeddings that is taken unless the user says otherwise."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        files: its files, the graph or the weights first.
        parity: how it compares with PyTorch.
        manifest: the content of ``export.json``.
    """

    folder: Path
    files: tuple[Path, ...]
    parity: Parity
    manifest: dict[str, Any]


def export(
    run: str | Path | CrossModalModel,
    out: str | Path,
    form: str = "onnx",
    *,
    modality: str = "target",
    input: str = "auto",
    int8: bool = False,
    tolerance: float = TOLERANCE,
    items: Sequence[Item] | None = None,
) -> Exported:
    """Writes an encoder of a run so that it can be used without crossdistill.

    Args:
        run: a run folder, a published model, or either of them loaded.
        out: a folder that is new or empty.
        form: ``onnx``, ``torch-export`` or ``safetensors``.
        modality: ``target`` (the student) or ``source`` (the teacher).
        input: ``read`` puts the preprocessing into the graph, ``decoded`` leaves it out; ``auto``: where that can be.
        int8: with ``onnx``: also a graph with weights in 8 bits, and what it loses on the run's own test pairs.
        tolerance: largest absolute difference of a component of unit embeddings from PyTorch's.
        items: what to check it on; by default the run's own, of the test split first.

    Raises:
        ConfigError: an unknown format, modality or input, or a tolerance that is none.
        RunFolderError: there is no such encoder, or ``out`` holds something.
        EncoderError: it cannot be exported, or the export does not agree with PyTorch; nothing is left written then.
        PairsError: the run's own pairs cannot be read.
        MissingDependencyError: a package for this format is missing.
    """
    _check(form, int8, tolerance)
    model = run if isinstance(run, CrossModalModel) else load(run, device="cpu")
    side = cast(Side, modality)
    encoder = model.encoder(side)  # refuses an unknown one
    pairs = pairs_of(model) if items is None or int8 else None
    chosen = items_of(pairs, side) if items is None and pairs is not None else list(items or ())
    place = model.folder.student if side == "target" else model.folder.teacher
    # A model that was made in memory has no folder, and nothing but its weights to tell.
    provenance = describe_encoder(place)["provenance"] if has_encoder(place) else {}
    about: dict[str, Any] = {"run": model.folder.root.resolve().name} if model.folder.root.is_dir() else {}
    about["modality"] = side
    if pairs is not None:
        licence = pairs.licence
        about["data"] = {"name": pairs.name, "licence": None if licence is None else licence.name}
        if licence is not None:
            about["data"] |= {"attribution": licence.attribution, "url": licence.url}
    measured = _measured(model, pairs, side) if int8 and pairs is not None else None
    return _export(encoder, Path(out), form, chosen, input, tolerance, about, provenance, measured)


def export_encoder(
    encoder: Encoder,
    out: str | Path,
    items: Sequence[Item],
    form: str = "onnx",
    *,
    input: str = "auto",
    tolerance: float = TOLERANCE,
) -> Exported:
    """Like :func:`export` for any encoder, such as one made of a module of your own.

    Args:
        encoder: its weights are exported as they are.
        out: a folder that is new or empty.
        items: real items to check it on, such as paths.
        form: see :func:`export`.
        input: see :func:`export`.
        tolerance: see :func:`export`.

    Raises:
        CrossDistillError: as for :func:`export`.
    """
    _check(form, int8=False, tolerance=tolerance)
    return _export(encoder, Path(out), form, list(items), input, tolerance, {}, {}, None)


def _check(form: str, int8: bool, tolerance: float) -> None:
    if form not in FORMATS:
        raise ConfigError(
            "Unknown format.", where="--format", expected=", ".join(FORMATS), received=repr(form),
            fix=nearest(form, FORMATS),
        )  # fmt: skip
    if int8 and form != "onnx":
        raise ConfigError("Only graphs of ONNX are quantised.", where="--int8", expected="--format onnx", received=form)
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ConfigError(
            "A tolerance has to be a number above 0.", where="--tolerance", expected=f"such as {TOLERANCE:g}",
            received=tolerance,
        )  # fmt: skip
    if form == "onnx":
        require_onnx()


def _measured(model: CrossModalModel, pairs: Pairs, side: Side) -> Measured:
    other: Side = "source" if side == "target" else "target"
    _, config = open_run(model.folder.root)
    return Measured(pairs, side, at_rest(model.encoder(other)) if model.has(other) else None, config.evaluate)


def _export(
    encoder: Encoder, out: Path, form: str, items: list[Item], kind: str, tolerance: float, about: dict[str, Any],
    provenance: dict[str, Any], measured: Measured | None,
) -> Exported:  # fmt: skip
    entry = entry_for(encoder.modality, "decoded" if form == "safetensors" else kind)
    if not items:
        raise PairsError("There is no item to check the export on.", expected="at least one", fix="name some files")
    encoder, items = at_rest(encoder), items[:MOST_ITEMS]
    with new_folder(out) as folder:
        say(f"checking on {len(items)} items")
        samples = samples_of(encoder, entry, items)
        manifest = {"format": FORMAT, "kind": form, **about, **described(encoder, entry)}
        array: Callable[[Item], NDArray[Any]] | None = None
        if form == "safetensors":
            save_tensors(folder, encoder, provenance)
            built = Deployed(entry, from_parts(folder, encoder))
            parity = measure_parity(entry, module_runner(built), samples, tolerance)
            example = tensors_example(encoder)
            array = entry.array
        else:
            file, parity = _graph(folder, encoder, entry, form, samples, tolerance)
            example = example_for(entry, form, file)
            array = entry.array if reader_for(entry).arrays else None
            if form == "onnx":
                manifest["opset"] = OPSET
        manifest["parity"] = parity.to_json()
        if measured is not None:
            manifest["int8"] = add_eight_bits(folder, entry, samples, measured)
        if example is not None:
            write_text(folder / "example.py", example)
            manifest["example"] = check_example(folder / "example.py", items, samples, array, tolerance)
        manifest["versions"] = versions()
        # The graph or the weights first; data that an ONNX file could not hold comes after it.
        files = sorted(folder.iterdir(), key=lambda path: (path.name.endswith(".data"), -path.stat().st_size))
        manifest["files"] = listed(files)
        write_json(folder / MANIFEST, manifest)
    return Exported(out, tuple(out / name for name in (*manifest["files"], MANIFEST)), parity, manifest)


def _graph(
    folder: Path, encoder: Encoder, entry: Entry, form: str, samples: list[Sample], tolerance: float
) -> tuple[str, Parity]:
    module = Deployed(entry, encoder)
    say("tracing the graph")
    program = traced(module)
    if form == "onnx":
        file = "model.onnx"
        save_onnx(module, program, folder / file)
        return file, measure_parity(entry, onnx_runner(folder / file), samples, tolerance)
    file = "model.pt2"
    save_program(program, folder / file)
    return file, measure_parity(entry, program_runner(folder / file), samples, tolerance)
