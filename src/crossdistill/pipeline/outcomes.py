"""What was measured on each test item, in a file: two runs on the same pairs can be compared item by item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from crossdistill.errors import RunFolderError
from crossdistill.evaluation.intervals import Estimate
from crossdistill.evaluation.subject import Outcome
from crossdistill.files import write_bytes

_SHARE = "/"  # between subject, metric and array


def write_outcomes(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Writes the items' values of all estimates that can be paired, and the groups of the items."""
    arrays = {}
    for outcome in outcomes:
        for metric, estimate in outcome.metrics.items():
            if not estimate.pairable:
                continue
            key = _SHARE.join((outcome.name, metric))
            arrays[f"{key}{_SHARE}groups"] = estimate.groups.astype(np.int32)
            if estimate.parts is not None:
                arrays[f"{key}{_SHARE}parts"] = estimate.parts.astype(np.float32)
            else:
                arrays[f"{key}{_SHARE}values"] = estimate.outcomes.astype(np.float32)
    write_bytes(path, save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))


def read_outcomes(path: Path) -> dict[str, dict[str, Estimate]]:
    """The estimates by subject and metric; their values and intervals stand in ``metrics.json`` and are not read here.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        arrays = load_file(path)
    except FileNotFoundError as error:
        raise RunFolderError(
            "The items' results are missing.", where=path, fix="evaluate the run again: crossdistill evaluate RUN"
        ) from error
    except (SafetensorError, OSError) as error:
        raise RunFolderError("The items' results are damaged.", where=path, received=error) from error
    found: dict[str, dict[str, Estimate]] = {}
    for name in arrays:
        subject, rest = name.split(_SHARE, 1)
        metric, kind = rest.rsplit(_SHARE, 1)
        if kind == "groups":
            continue
        groups = arrays[f"{subject}{_SHARE}{metric}{_SHARE}groups"].astype(np.int64)
        values = arrays[name].astype(np.float64)
        parts, outcomes = (values, np.empty(0)) if kind == "parts" else (None, values)
        found.setdefault(subject, {})[metric] = Estimate(
            value=float("nan"), low=float("nan"), high=float("nan"), items=len(groups), outcomes=outcomes,
            groups=groups, parts=parts,
        )  # fmt: skip
    return found
