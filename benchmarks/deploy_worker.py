"""One form of an encoder in a process of its own: time to load, time of calls, peak memory; see benchmarks/deploy.py.

    python benchmarks/deploy_worker.py KIND PATH ITEMS.npy VECTORS.npy CALLS

Prints one JSON object, and writes the vectors of all items to VECTORS.npy. Imports no more than a program would that
uses this form alone, and works on one thread.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZES = (1, 32)
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def with_pytorch(path: Path) -> Callable[[], Run]:
    """The encoder's folder, as ``crossdistill.load(...).embed`` uses it."""
    import torch

    from crossdistill.encoders import load_encoder

    torch.set_num_threads(1)

    def load() -> Run:
        encoder = load_encoder(path)

        def run(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.no_grad():
                items = torch.stack([encoder.modality.from_array(item) for item in batch])
                found = encoder(encoder.modality.normalise(items))
                return torch.nn.functional.normalize(found, dim=1).numpy()

        return run

    return load


def with_program(path: Path) -> Callable[[], Run]:
    """A file of torch.export."""
    import torch

    torch.set_num_threads(1)

    def load() -> Run:
        module = torch.export.load(path).module()

        def run(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.no_grad():
                found: NDArray[np.float32] = module(torch.from_numpy(batch)).numpy()
            return found

        return run

    return load


def with_onnx(path: Path) -> Callable[[], Run]:
    """A file of ONNX, without PyTorch."""
    import onnxruntime

    def load() -> Run:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def run(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = session.run(None, {"pixels": batch})[0]
            return found

        return run

    return load


KINDS: dict[str, Any] = {"pytorch": with_pytorch, "torch-export": with_program, "onnx": with_onnx, "int8": with_onnx}


def peak_mib() -> float:
    """Of this process since it began; on Linux `ru_maxrss` would begin with that of the process that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Measures and prints."""
    kind, path, items, vectors, calls = sys.argv[1:]
    started = time.perf_counter()
    load = KINDS[kind](Path(path))
    imported = time.perf_counter() - started
    pictures: NDArray[np.uint8] = np.load(items)
    started = time.perf_counter()
    run = load()
    loaded = time.perf_counter() - started
    started = time.perf_counter()
    run(pictures[:1])
    first = time.perf_counter() - started
    times: dict[str, list[float]] = {}
    for size in SIZES:
        run(pictures[:size])
        times[str(size)] = []
        for turn in range(int(calls) if size == 1 else -(-int(calls) // 3)):
            batch = pictures[[(turn * size + place) % len(pictures) for place in range(size)]]
            started = time.perf_counter()
            run(batch)
            times[str(size)].append(time.perf_counter() - started)
    peak = peak_mib()
    np.save(vectors, np.concatenate([run(picture[None]) for picture in pictures]), allow_pickle=False)
    print(json.dumps({"import": imported, "load": loaded, "first": first, "times": times, "peak_mib": peak}))


if __name__ == "__main__":
    main()
