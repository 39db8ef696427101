"""A graph in 8 bits beside the whole one, with what it loses and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossdistill.console import say
from crossdistill.deploy.entry import Entry
from crossdistill.deploy.parity import Sample, measure_parity
from crossdistill.deploy.quantised import graph_bytes, latency, loss_of, quantise
from crossdistill.deploy.runners import onnx_runner
from crossdistill.encoders import Encoder
from crossdistill.evaluation import EvaluateConfig
from crossdistill.pairs import Pairs, Side

WHOLE, SMALL = "model.onnx", "model.int8.onnx"


@dataclass(frozen=True)
class Measured:
    """What the loss of 8 bits is measured on.

    Attributes:
        pairs: of the run.
        side: whose encoder is exported.
        other: the encoder of the other side, at rest; None where the run has none.
        evaluate: the run's own section.
    """

    pairs: Pairs
    side: Side
    other: Encoder | None
    evaluate: EvaluateConfig


def add_eight_bits(folder: Path, entry: Entry, samples: list[Sample], measured: Measured) -> dict[str, Any]:
    """Writes ``model.int8.onnx`` beside ``model.onnx``; the section ``int8`` of ``export.json``.

    Raises:
        EncoderError: it gives values that are not finite.
    """
    say("quantising, and measuring what it loses")
    whole, small = folder / WHOLE, folder / SMALL
    quantise(whole, small)
    runs = {"fp32": onnx_runner(whole), "int8": onnx_runner(small)}
    parity = measure_parity(entry, runs["int8"], samples, tolerance=2.0)  # no two unit vectors differ by more
    found = loss_of(runs, entry, measured.side, measured.pairs, measured.other, measured.evaluate)
    arrays = [sample.array for sample in samples]
    return {
        **found,
        "difference": parity.difference,
        "cosine": parity.cosine,
        "milliseconds": {name: latency(run, entry, arrays) for name, run in runs.items()},
        "bytes": {"fp32": graph_bytes(whole), "int8": graph_bytes(small)},
    }
