"""``crossdistill export``: an encoder in a form that other programs run, checked against PyTorch before it is left."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from crossdistill.console import say
from crossdistill.deploy.entries import entry_for
from crossdistill.deploy.entry import Entry
from crossdistill.deploy.example import example_for
from crossdistill.deploy.graph import OPSET, require_onnx, save_onnx, save_program, traced
from crossdistill.deploy.manifest import FORMAT, MANIFEST, described, listed, versions
from crossdistill.deploy.network import Deployed
from crossdistill.deploy.new_folder import new_folder
from crossdistill.deploy.parity import Parity, Sample, measure_parity, samples_of
from crossdistill.deploy.quantised import graph_bytes, latency, loss_of, quantise
from crossdistill.deploy.runners import module_runner, onnx_runner, program_runner
from crossdistill.deploy.tensors import from_parts, save_tensors
from crossdistill.deploy.tensors_example import tensors_example
from crossdistill.encoders import Encoder, describe_encoder
from crossdistill.errors import ConfigError, PairsError, RunFolderError, nearest
from crossdistill.files import write_json, write_text
from crossdistill.item import Item
from crossdistill.pairs import Pairs, Side, Split
from crossdistill.pipeline import CrossModalModel, load
from crossdistill.pipeline.own_pairs import own_pairs

Format = Literal["onnx", "torch-export", "safetensors"]
FORMATS: tuple[Format, ...] = get_args(Format)

TOLERANCE = 1e-4
"""Largest absolute difference of a component of unit embeddings that is taken unless the user says otherwise."""

_MOST_ITEMS = 64
_ORDER: tuple[Split, ...] = ("test", "val", "train")


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
        ConfigError: an unknown format, modality or input.
        RunFolderError: there is no such encoder, or ``out`` holds something.
        EncoderError: it cannot be exported, or the export does not agree with PyTorch; nothing is left written then.
        PairsError: the run's own pairs cannot be read.
        MissingDependencyError: a package for this format is missing.
    """
    _check(form, int8)
    model = run if isinstance(run, CrossModalModel) else load(run, device="cpu")
    side = cast(Side, modality)
    encoder = model.encoder(side)  # refuses an unknown one
    pairs = _pairs(model) if items is None or int8 else None
    chosen = _own(pairs, side) if items is None and pairs is not None else list(items or ())
    place = model.folder.student if side == "target" else model.folder.teacher
    description = describe_encoder(place)
    about: dict[str, Any] = {"run": model.folder.root.resolve().name, "modality": side}
    if pairs is not None:
        licence = pairs.licence
        about["data"] = {"name": pairs.name, "licence": None if licence is None else licence.name}
        if licence is not None:
            about["data"] |= {"attribution": licence.attribution, "url": licence.url}
    other: Side = "source" if side == "target" else "target"
    measured = _Measured(pairs, side, _at_rest(model.encoder(other)) if model.has(other) else None) if int8 else None
    return _export(encoder, Path(out), form, chosen, input, tolerance, about, description["provenance"], measured)


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
    _check(form, int8=False)
    return _export(encoder, Path(out), form, list(items), input, tolerance, {}, {}, None)


@dataclass(frozen=True)
class _Measured:
    """What the loss of 8 bits is measured on."""

    pairs: Pairs | None
    side: Side
    other: Encoder | None


def _check(form: str, int8: bool) -> None:
    if form not in FORMATS:
        raise ConfigError(
            "Unknown format.", where="--format", expected=", ".join(FORMATS), received=repr(form),
            fix=nearest(form, FORMATS),
        )  # fmt: skip
    if int8 and form != "onnx":
        raise ConfigError("Only graphs of ONNX are quantised.", where="--int8", expected="--format onnx", received=form)
    if form == "onnx":
        require_onnx()


def _pairs(model: CrossModalModel) -> Pairs:
    """The pairs that a run was made of."""
    if not model.folder.config.is_file():
        raise RunFolderError(
            "A published model has no pairs of its own to be checked on.", where=model.folder.root,
            fix="name some files of that modality (--items), and leave --int8 out",
        )  # fmt: skip
    try:
        return own_pairs(model.folder)
    except PairsError as error:
        raise PairsError(
            "The run's own pairs cannot be read, on which an export is checked.", where=model.folder.root,
            received=error.problem, fix="put them back where they were, or name some files of that modality (--items)",
        ) from error  # fmt: skip


def _at_rest(encoder: Encoder) -> Encoder:
    """A copy to compute with: in float32 on the CPU, whatever the original does meanwhile."""
    return copy.deepcopy(encoder).to("cpu").float().eval().requires_grad_(False)


def _own(pairs: Pairs, side: Side) -> list[Item]:
    """Items of the run's own pairs, of the test split first."""
    found: dict[str, Item] = {}
    for split in _ORDER:
        for row in pairs.where(split, has=(side,)):
            item = pairs[row].item(side)
            if item is not None:
                found.setdefault(str(item), item)
            if len(found) == _MOST_ITEMS:
                return list(found.values())
    return list(found.values())


def _export(
    encoder: Encoder, out: Path, form: str, items: list[Item], kind: str, tolerance: float, about: dict[str, Any],
    provenance: dict[str, Any], measured: _Measured | None,
) -> Exported:  # fmt: skip
    entry = entry_for(encoder.modality, "decoded" if form == "safetensors" else kind)
    if not items:
        raise PairsError("There is no item to check the export on.", expected="at least one", fix="name some files")
    encoder = _at_rest(encoder)
    with new_folder(out) as folder:
        say(f"checking on {min(len(items), _MOST_ITEMS)} items")
        samples = samples_of(encoder, entry, items[:_MOST_ITEMS])
        manifest = {"format": FORMAT, "kind": form, **about, **described(encoder, entry)}
        if form == "safetensors":
            save_tensors(folder, encoder, provenance)
            built = Deployed(entry, from_parts(folder, encoder))
            parity = measure_parity(entry, module_runner(built), samples, tolerance)
            example = tensors_example(encoder)
        else:
            file, parity = _graph(folder, encoder, entry, form, samples, tolerance)
            example = example_for(entry, form, file)
            if form == "onnx":
                manifest["opset"] = OPSET
        manifest["parity"] = parity.to_json()
        if measured is not None and measured.pairs is not None:
            manifest["int8"] = _quantised(folder, entry, samples, measured)
        if example is not None:
            write_text(folder / "example.py", example)
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


def _quantised(folder: Path, entry: Entry, samples: list[Sample], measured: _Measured) -> dict[str, Any]:
    say("quantising, and measuring what it loses")
    whole, small = folder / "model.onnx", folder / "model.int8.onnx"
    quantise(whole, small)
    runs = {"fp32": onnx_runner(whole), "int8": onnx_runner(small)}
    assert measured.pairs is not None
    found = loss_of(runs, entry, measured.side, measured.pairs, measured.other)
    arrays = [sample.array for sample in samples]
    parity = measure_parity(entry, runs["int8"], samples, tolerance=2.0)  # no two unit vectors differ by more
    return {
        **found,
        "difference": parity.difference,
        "cosine": parity.cosine,
        "milliseconds": {name: latency(run, entry, arrays) for name, run in runs.items()},
        "bytes": {"fp32": graph_bytes(whole), "int8": graph_bytes(small)},
    }
