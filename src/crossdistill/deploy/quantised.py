"""Weights in 8 bits: how a graph is quantised, what it loses in retrieval and accuracy, and what it takes in time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crossdistill.console import track
from crossdistill.deploy.entry import Entry
from crossdistill.deploy.graph import SCOPES
from crossdistill.deploy.parity import Runner, embedded, require_finite
from crossdistill.encoders import Encoder
from crossdistill.errors import PairsError
from crossdistill.evaluation import EvaluateConfig, EvaluationSet, RowVectors, Subject, applicable, measure
from crossdistill.item import Item
from crossdistill.pairs import Pair, Pairs, Side, Split
from crossdistill.pairs.items import content_hash

_MOST = 1000  # test rows, and as many training rows, that are measured
_BATCH = 32
_TIMES = 20
_SPLITS: tuple[Split, ...] = ("train", "test")
_MEASURED = ("retrieval", "zero_shot", "knn")
_NOTHING_ELSE: dict[str, Any] = {"shots": [], "controls": []}
_KINDS = ["Conv", "MatMul", "Gemm"]


def quantise(source: Path, target: Path) -> None:
    """Writes the graph with weights of convolutions and linear maps in 8 bits; activations are scaled when it runs.

    The steps before the network stay as they are: their matrices are no weights.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = [
        node.name
        for node in onnx.load(source, load_external_data=False).graph.node
        if any(each.key == SCOPES and "'entry'" in each.value for each in node.metadata_props)
    ]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a pre-processing that changes nothing here
    try:
        # Unsigned weights: of convolutions in whole numbers ONNX Runtime's kernels for signed ones are far slower.
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=_KINDS,
            nodes_to_exclude=before,
            weight_type=QuantType.QUInt8,
            use_external_data_format=source.with_name(f"{source.name}.data").exists(),
        )
    finally:
        root.setLevel(level)


def loss_of(
    runs: dict[str, Runner], entry: Entry, side: Side, pairs: Pairs, other: Encoder | None, evaluate: EvaluateConfig
) -> dict[str, Any]:
    """What each of several exports of one encoder reaches on a run's own test pairs.

    Args:
        runs: the exports by name, such as fp32 and int8.
        entry: of their input.
        side: which encoder they are.
        pairs: with splits.
        other: the encoder of the other side; None where the run has none: then no modality is compared with another.
        evaluate: the run's own section: which protocols, and how many neighbours.

    Returns:
        ``results``: for each export ``{metric: {value, low, high, ...}}``; ``rows``: how many rows of each split are
        measured, and ``of`` how many there are; ``left_out``: what was not measured, with the reason.

    Raises:
        EncoderError: an export, or the other encoder, gives values that are not finite.
    """
    some = _some(pairs)
    config, left_out = _protocols(some, other is not None, evaluate)
    data = EvaluationSet(some, _identities(some))
    there: Side = "target" if side == "source" else "source"
    across = {"retrieval", "zero_shot"} & set(config.protocols)
    opposite = _by_encoder(some, there, other) if across and other is not None else None
    results = {}
    for name, run in runs.items():
        own = _by_export(some, side, entry, run, name)
        results[name] = _measured(side, own, opposite, data, config)
    counts, every = ({split: len(each.where(split)) for split in _SPLITS} for each in (some, pairs))
    return {"rows": counts, "of": every, "left_out": left_out, "results": results}


def _protocols(pairs: Pairs, across: bool, evaluate: EvaluateConfig) -> tuple[EvaluateConfig, dict[str, str]]:
    """Of the run's own protocols those that can be measured here, and the reason for each other one."""
    kept: list[str] = []
    left_out: dict[str, str] = {}
    for protocol in evaluate.protocols:
        if protocol not in _MEASURED:
            left_out[protocol] = "it is not measured on exports"
            continue
        if protocol != "knn" and not across:
            left_out[protocol] = "the run keeps no copy of its teacher"
            continue
        if protocol == "knn" and evaluate.representation == "features":
            left_out[protocol] = "the run measures it on backbone features, which a graph does not give"
            continue
        try:
            config, reasons = applicable(pairs, evaluate.model_copy(update={"protocols": [protocol], **_NOTHING_ELSE}))
        except PairsError as error:
            left_out[protocol] = error.problem.rstrip(".")
            continue
        left_out |= reasons
        kept += config.protocols
    return evaluate.model_copy(update={"protocols": kept, **_NOTHING_ELSE}), left_out


def _measured(
    side: Side, own: RowVectors, opposite: RowVectors | None, data: EvaluationSet, config: EvaluateConfig
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    across = [name for name in config.protocols if name != "knn"]
    if across and opposite is not None:
        queries, gallery = (own, opposite) if side == "target" else (opposite, own)
        subject = Subject(name="export", role="objective", description="", side="target", shared=True, vectors=queries)
        chosen = config.model_copy(update={"protocols": across})
        found |= measure(subject, data, gallery, chosen, seed=0).metrics
    if "knn" in config.protocols:
        alone = Subject(name="export", role="objective", description="", side=side, shared=False, vectors=own)
        chosen = config.model_copy(update={"protocols": ["knn"]})
        found |= measure(alone, data, None, chosen, seed=0).metrics
    return {name: estimate.to_json() for name, estimate in found.items() if not name.endswith("median_rank")}


def _some(pairs: Pairs) -> Pairs:
    """Test rows and training rows, of many the same random ones every time."""
    rows: list[Pair] = []
    for number, split in enumerate(_SPLITS):
        members = pairs.where(split)
        if len(members) > _MOST:
            chosen = np.random.default_rng(number).permutation(len(members))[:_MOST]
            members = tuple(members[index] for index in np.sort(chosen))
        rows.extend(pairs[row] for row in members)
    return replace(pairs, rows=tuple(rows))


def _identities(pairs: Pairs) -> NDArray[np.int64]:
    """For each row the number of its source's content, -1 without one."""
    seen: dict[str, int] = {}
    found = [-1 if pair.source is None else seen.setdefault(content_hash(pair.source), len(seen)) for pair in pairs]
    return np.array(found, dtype=np.int64)


def _files(pairs: Pairs, side: Side) -> tuple[list[int], list[Item]]:
    rows = list(pairs.where(has=(side,)))
    return rows, [cast(Item, pairs[row].item(side)) for row in rows]


def _by_export(pairs: Pairs, side: Side, entry: Entry, run: Runner, name: str) -> RowVectors:
    rows, files = _files(pairs, side)
    found: list[NDArray[np.float32]] = []
    with track(f"embedding with {name}", len(files)) as task:
        for file in files:  # of any shapes, so one by one: dynamic scales do not depend on the neighbours then
            found.append(run(entry.batch([entry.array(file)])))
            require_finite(found[-1][0], f"The export ({name})", str(file))
            task.advance()
    vectors = np.concatenate(found)
    return RowVectors(np.array(rows, dtype=np.int64), vectors, vectors)


def _by_encoder(pairs: Pairs, side: Side, encoder: Encoder) -> RowVectors:
    rows, files = _files(pairs, side)
    found: list[NDArray[np.float32]] = []
    with track(f"embedding {side} items", len(files)) as task:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            found.append(embedded(encoder, [encoder.modality.decode(file) for file in batch]))
            for vector, file in zip(found[-1], batch, strict=True):
                require_finite(vector, f"The encoder of {side} items", str(file))
            task.advance(len(found[-1]))
    vectors = np.concatenate(found)
    return RowVectors(np.array(rows, dtype=np.int64), vectors, vectors)


def latency(
    run: Runner, entry: Entry, arrays: Sequence[NDArray[Any]], sizes: Sequence[int] = (1, 32)
) -> dict[str, float]:
    """Median milliseconds of a call, by the size of the batch; items of the first one's shape are repeated."""
    same = [array for array in arrays if array.shape == arrays[0].shape]
    found = {}
    for size in sizes:
        batch = entry.batch([same[number % len(same)] for number in range(size)])
        run(batch)
        times = []
        for _ in range(_TIMES):
            started = time.perf_counter()
            run(batch)
            times.append(time.perf_counter() - started)
        found[str(size)] = round(float(np.median(times)) * 1000, 3)
    return found


def graph_bytes(graph: Path) -> int:
    """Bytes of a graph with the data that may lie beside it."""
    return sum(path.stat().st_size for path in (graph, graph.with_name(f"{graph.name}.data")) if path.is_file())
