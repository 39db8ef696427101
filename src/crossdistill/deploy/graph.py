"""From a module to the graphs of other programs: torch.export, and ONNX made of it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from crossdistill.deploy.network import OUTPUT, Deployed
from crossdistill.errors import EncoderError, MissingDependencyError

OPSET = 18
"""Version of ONNX's operators that graphs are written in; the only place that says so."""

SCOPES = "pkg.torch.onnx.name_scopes"
"""Key of a node's note that says which module it comes from."""

_EXTERNAL_ABOVE = 2_000_000_000  # bytes of weights; a file of ONNX cannot hold 2 GiB
ONNX_EXTRA = "pip install 'crossdistill[onnx]'"


def traced(module: Deployed) -> ExportedProgram:
    """The module as a graph whose batch, and whatever else its entry leaves open, may have any size.

    Raises:
        EncoderError: something in the network cannot be put into a graph.
    """
    entry = module.entry
    dimensions = {0: Dim.DYNAMIC} | {
        number: Dim.DYNAMIC for number, axis in enumerate(entry.axes, start=1) if axis.size is None
    }
    with _quiet():
        try:
            program = torch.export.export(module, (entry.sample(),), dynamic_shapes=(dimensions,), strict=False)
        except Exception as error:  # of many kinds, from whatever the network's code does
            raise _refusal(module, "torch.export", error) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def save_program(program: ExportedProgram, path: Path) -> None:
    """Writes a graph as torch's own file, which :func:`torch.export.load` reads."""
    with _quiet():
        torch.export.save(program, path)


def load_program(path: Path) -> Any:
    """The module that :func:`save_program` wrote."""
    with _quiet():
        return torch.export.load(path).module()


def save_onnx(module: Deployed, program: ExportedProgram, path: Path) -> None:
    """Writes a graph as ONNX, its weights inside unless they are larger than such a file may be.

    Raises:
        EncoderError: an operation of the network has no counterpart in ONNX.
        MissingDependencyError: a package is missing.
    """
    require_onnx()
    entry = module.entry
    with _quiet():
        try:
            made = torch.onnx.export(
                program, (), input_names=[entry.input_name], output_names=[OUTPUT], opset_version=OPSET, dynamo=True,
                optimize=True, verbose=False,
            )  # fmt: skip
            if made is None:
                raise RuntimeError("the exporter gave nothing")
            _tidy(made, module)
            size = sum(each.numel() * each.element_size() for each in program.state_dict.values())
            made.save(path, external_data=size > _EXTERNAL_ABOVE)
        except Exception as error:  # of many kinds: the exporter's own, onnxscript's, ...
            raise _refusal(module, "the ONNX exporter", error) from error


def require_onnx() -> None:
    """Refuses to begin without the packages that write and check ONNX."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError as error:
            raise MissingDependencyError(
                f"The format onnx needs the package {name}.", where="--format onnx", fix=ONNX_EXTRA
            ) from error


def _tidy(made: Any, module: Deployed) -> None:
    """Gives open dimensions the names that export.json uses, and leaves of the exporter's notes the scopes alone."""
    graph = made.model.graph
    for number, name in enumerate(module.entry.shape):
        if isinstance(name, str):
            graph.inputs[0].shape[number] = name
    graph.outputs[0].shape[0] = "batch"
    made.model.producer_name, made.model.producer_version = "crossdistill", version("crossdistill")
    for node in graph.all_nodes():
        for key in [key for key in node.metadata_props if key != SCOPES]:
            del node.metadata_props[key]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides what torch's exporters say to their own developers; what goes wrong is raised all the same."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Deprecations inside of torch, onnxscript and copyreg that this code does not cause and cannot avoid.
        for kind in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.filterwarnings("ignore", category=kind, module=r"(torch|onnxscript|onnx_ir|onnx|copyreg)\b.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _refusal(module: Deployed, who: str, error: Exception) -> EncoderError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    telling = [
        line for line in lines if "translating node" in line or "No ONNX function" in line or "Unsupported" in line
    ]
    return EncoderError(
        "This encoder cannot be exported in this format.", where=module.encoder.architecture.backbone,
        expected=f"operations that {who} knows", received=f"{type(error).__name__}: {(telling or lines)[0][:300]}",
        fix="use --format safetensors, which holds the weights alone, or another backbone",
    )  # fmt: skip
