"""Where a run was made: versions, hardware, and how long its stages took."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from crossdistill import ranks
from crossdistill.files import read_json, write_json
from crossdistill.pipeline.folder import RunFolder

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow")


def describe_environment() -> dict[str, Any]:
    """Versions and hardware of this process."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "unknown"
    return {
        "crossdistill": version("crossdistill"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": ranks.world(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


@contextmanager
def timed(folder: RunFolder, stage: str) -> Iterator[None]:
    """Adds the block's seconds to ``environment.json``; a resumed stage adds up."""
    started = time.monotonic()
    try:
        yield
    finally:
        if ranks.is_first():
            _add(folder, stage, time.monotonic() - started)


def _add(folder: RunFolder, stage: str, seconds: float) -> None:
    known = read_json(folder.environment) if folder.environment.is_file() else {}
    spent = known.get("seconds", {})
    spent[stage] = round(spent.get(stage, 0.0) + seconds, 1)
    write_json(folder.environment, {**describe_environment(), "seconds": spent})
