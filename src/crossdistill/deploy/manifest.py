"""What ``export.json`` says: all that a program in another language has to know."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from crossdistill.deploy.entry import Entry
from crossdistill.deploy.network import OUTPUT
from crossdistill.encoders import Encoder
from crossdistill.files import sha256_file

MANIFEST = "export.json"
FORMAT = 1  # of the manifest
_PACKAGES = ("torch", "torchvision", "timm", "numpy", "onnx", "onnxscript", "onnxruntime", "safetensors")


def described(encoder: Encoder, entry: Entry) -> dict[str, Any]:
    """What a person has to know to use the export in another language."""
    modality = encoder.modality.model_dump(mode="json", by_alias=True, exclude={"augment_with"})
    return {
        "architecture": encoder.architecture.to_json(),
        "weights": encoder.origin,
        "preprocessing": modality,
        "input": {
            "name": entry.input_name, "dtype": str(entry.dtype).removeprefix("torch."), "shape": entry.shape,
            "meaning": entry.meaning,
        },
        "inside": list(entry.inside),
        "outside": list(entry.outside),
        "output": {
            "name": OUTPUT, "dtype": "float32", "shape": ["batch", encoder.width],
            "meaning": "unit vectors: the dot product of two of them, also of different modalities, is their cosine "
            "similarity",
        },
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of crossdistill and of what an export is made and checked with."""
    found = {"crossdistill": version("crossdistill")}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def listed(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of files by name."""
    return {path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in files}
