"""Search in an index: exact against approximate, in recall, latency, time to build, bytes on disk and memory.

    python -m benchmarks.search [--quick] [--json] [--run RUN]

Two kinds of vectors. `made`: of 128 dimensions, drawn around 3,000 random centres, few of which have most of the
vectors; queries are further draws. `real`: the embeddings of a run's own source items, each many times over with a
random vector of a length of 0.5 added; queries are those of its target items likewise, so these are searched across
modalities. Without a run there are `made` ones alone.

Every index is built, and then asked, by a process of its own. Times are those of the processor, in one thread (where
OMP_NUM_THREADS is 1), with the files in memory: what a query takes where nobody else is at work; the raw results have
those of the clock as well. Recall is the share of the true ten nearest that are found. The reference is
`argsort(-(q @ g.T))` on all vectors in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import crossdistill
from benchmarks.record import Measurement, at_least, at_most, recorded, save, show_all
from benchmarks.search_vectors import NOISE, PIECE, Draw, made, real, write_vectors
from crossdistill.search import Index, graph, own_items, storage
from crossdistill.search.description import Description, Kind, VectorFile

WORK = Path("runs/benchmarks")
K, SINGLE, BATCH = 10, 200, 256
BREADTHS = (256, graph.BREADTH, 4096)
SIZES = {"made": (10_000, 100_000, 1_000_000), "real": (10_000, 100_000)}
QUICK = {"made": (10_000, 30_000), "real": (10_000,)}
NAIVE_SCORES = 50_000_000  # of a batch of the reference, which has them all at once


def build(folder: Path, vectors: Path, kind: Kind) -> dict[str, Any]:
    """Makes an index of an NPY file, with a graph over all rows where it is approximate."""
    graph.TAIL_ROWS = 0
    values = np.load(vectors, mmap_mode="r")
    none = VectorFile(file="vectors-000000.f32", parts=[])
    storage.create(folder, Description(
        run="", run_absolute="", modality="source", width=values.shape[1], kind=kind, half_built=True,
        encoders={}, rows=0, generation=0, vectors=none, tables=[], graph=None,
    ))  # fmt: skip
    index, before, started = Index.open(folder), _peak(), Clock()
    for start in range(0, len(values), PIECE):
        ids = [f"photos/{number:07d}.jpg" for number in range(start, min(start + PIECE, len(values)))]
        index.add(np.asarray(values[start : start + PIECE]), ids, contents=ids)
    index.finish()
    seconds = started.read()
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {**seconds, "bytes": size, "memory": _peak() - before}


def ask(folder: Path, queries: Path, truth: Path, kind: str) -> dict[str, Any]:
    """Asks an index; the exact one writes down what is true."""
    asked, before, started = np.load(queries), _peak(), Clock()
    index = Index.open(folder)
    found: dict[str, Any] = {"open": started.read()}
    for breadth in BREADTHS if kind == "hnsw" else (BREADTHS[1],):
        index.query(asked[:3], K, breadth=breadth)
        single = []
        for query in asked[:SINGLE]:
            started = Clock()
            index.query(query[None], K, breadth=breadth)
            single.append(started.read())
        started = Clock()
        answers = index.query(asked[:BATCH], K, breadth=breadth)
        batch = {name: value / BATCH for name, value in started.read().items()}
        rows = np.array([[hit.row for hit in hits] for hits in answers])
        if kind == "exact":
            np.save(truth, rows)
        hits = [len(set(one) & set(other)) / K for one, other in zip(np.load(truth), rows, strict=True)]
        about = {"batch": batch, "recall": float(np.mean(hits)), "single": single}
        found[str(breadth)] = {**quantiles(single), **about}
    return {**found, "memory": _peak() - before}


def naive(vectors: Path, queries: Path) -> dict[str, Any]:
    """The reference, on vectors in memory."""
    asked, before = np.load(queries), _peak()
    values, single = np.load(vectors), []
    for query in asked[:20]:
        started = Clock()
        np.argsort(-(query @ values.T))[:K]
        single.append(started.read())
    few = min(BATCH, NAIVE_SCORES // len(values))
    started = Clock()
    np.argsort(-(asked[:few] @ values.T), axis=1)[:, :K]
    batch = {name: value / few for name, value in started.read().items()}
    return {**quantiles(single), "batch": batch, "batch_size": few, "memory": _peak() - before}


class Clock:
    """Seconds of the processor and of the clock since it was made."""

    def __init__(self) -> None:
        self.clock, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Both."""
        return {"seconds": time.process_time() - self.processor, "wall": time.perf_counter() - self.clock}


def quantiles(times: list[dict[str, float]]) -> dict[str, float]:
    """Of the processor's seconds."""
    seconds = [each["seconds"] for each in times]
    return {"p50": float(np.quantile(seconds, 0.5)), "p95": float(np.quantile(seconds, 0.95))}


def _peak() -> int:
    """Bytes that were ever resident in this process, those of mapped files among them; 0 where nobody knows."""
    try:  # what getrusage tells includes the process that started this one
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def in_process(task: str, *arguments: object) -> dict[str, Any]:
    """One of the functions above in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.search", "--task", task, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{task} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def one_size(name: str, count: int, gallery: Draw, queries: NDArray[np.float32], folder: Path) -> dict[str, Any]:
    """Everything about indices of one size."""
    vectors, asked, truth = (folder / f"{each}.npy" for each in ("vectors", "queries", "truth"))
    write_vectors(vectors, count, gallery)
    np.save(asked, queries)
    found: dict[str, Any] = {"vectors": name, "count": count, "width": queries.shape[1]}
    found["naive"] = in_process("naive", vectors, asked)
    for kind in ("exact", "hnsw"):
        place = folder / kind
        found[kind] = {"build": in_process("build", place, vectors, kind)}
        found[kind]["ask"] = in_process("ask", place, asked, truth, kind)
    return found


def measured(sizes: dict[str, tuple[int, ...]], run: Path | None) -> list[dict[str, Any]]:
    """All sizes of all vectors, smallest first."""
    sources: dict[str, tuple[Draw, NDArray[np.float32]]] = {"made": (made, made(BATCH, 0))}
    if run is not None:
        model = crossdistill.load(run, device="cpu")
        source, target = (
            model.embed([own.item for own in own_items(run, side)], side) for side in ("source", "target")
        )
        sources["real"] = (lambda count, seed: real(source, count, seed)), real(target, BATCH, 0)
    found = []
    WORK.mkdir(parents=True, exist_ok=True)
    for name, (gallery, queries) in sources.items():
        for count in sizes[name]:
            with tempfile.TemporaryDirectory(dir=WORK) as folder:
                found.append(one_size(name, count, gallery, queries, Path(folder).resolve()))
            print(f"{name}, {count:,}: done", file=sys.stderr, flush=True)
    return found


def measurements(results: list[dict[str, Any]]) -> list[Measurement]:
    """What is shown of them."""
    found = []
    for each in results:
        what, middle = f"{each['vectors']}, {each['count']:,} x {each['width']}", str(BREADTHS[1])
        reference, exact = each["naive"], each["exact"]["ask"][middle]
        hnsw = each["hnsw"]["ask"]
        # Of few vectors the product is nearly all of the time, and a call's own costs are not nothing.
        single, batch = (1.5, 0.75) if each["count"] >= 100_000 else (4.0, 1.5)
        found.append(at_most(f"{what}: exact, one query", exact["p50"] * 1e3, reference["p50"] * 1e3, "ms", single))
        found.append(
            at_most(
                f"{what}: exact, of a batch",
                exact["batch"]["seconds"] * 1e3,
                reference["batch"]["seconds"] * 1e3,
                "ms",
                batch,
            )
        )
        for breadth in map(str, BREADTHS):
            name = f"{what}: hnsw, breadth {breadth}"
            found.append(recorded(f"{name}, one query", hnsw[breadth]["p50"] * 1e3, exact["p50"] * 1e3, "ms"))
            if breadth == middle:
                found.append(at_least(f"{name}, recall@10", hnsw[breadth]["recall"], 1.0, "", 0.9))
        for kind in ("exact", "hnsw"):
            found.append(
                recorded(
                    f"{what}: {kind}, build", each[kind]["build"]["seconds"], each["exact"]["build"]["seconds"], "s"
                )
            )
    return found


def markdown(results: list[dict[str, Any]]) -> str:
    """The table of docs/search.md."""
    lines = [
        "| vectors | index | recall@10 | one query, p50 / p95 | of a batch | build | on disk | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in results:
        what = f"{each['vectors']}, {each['count']:,} x {each['width']:,}"
        reference = each["naive"]
        lines.append(f"| {what} | *argsort* | | {_ms(reference['p50'])} | {_ms(reference['batch']['seconds'])} | | "
                     f"| {_mb(reference['memory'])} |")  # fmt: skip
        for kind in ("exact", "hnsw"):
            built, asked = each[kind]["build"], each[kind]["ask"]
            for breadth in [key for key in asked if key.isdigit()]:
                at, default = asked[breadth], breadth == str(BREADTHS[1])
                name = kind if kind == "exact" else f"hnsw, breadth {breadth}"
                rest = (f"{built['seconds']:.1f} s | {_mb(built['bytes'])} | {_mb(asked['memory'])}" if default else
                        " | | ")  # fmt: skip
                lines.append(f"| | {name} | {at['recall']:.3f} | {_ms(at['p50'])} / {_ms(at['p95'])} | "
                             f"{_ms(at['batch']['seconds'])} | {rest} |")  # fmt: skip
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2g} ms" if seconds < 0.0995 else f"{seconds * 1e3:.0f} ms"


def _mb(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--run", type=Path, help="a finished run, for `real` vectors (default: runs/demo, if it is there)"
    )
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of recorded results, and no more")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        task, *paths = arguments.task
        kind = paths.pop() if task != "naive" else ""
        places = [Path(path) for path in paths]
        functions: dict[str, Callable[..., dict[str, Any]]] = {"naive": naive, "build": build, "ask": ask}
        print(json.dumps(functions[task](*places, *([kind] if kind else []))))
        return
    if arguments.show:
        print(markdown(json.loads(arguments.show.read_text(encoding="utf-8"))["results"]))
        return
    run = arguments.run or (Path("runs/demo") if Path("runs/demo/student/encoder.json").is_file() else None)
    busy, started = os.getloadavg()[0], time.perf_counter()
    results = measured(QUICK if arguments.quick else SIZES, run)
    show_all(measurements(results), arguments.json)
    if not arguments.quick:
        threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        about = {"load_before": busy, "threads": threads, "seconds": time.perf_counter() - started, "noise": NOISE}
        save("search", {**about, "results": results})


if __name__ == "__main__":
    main()
