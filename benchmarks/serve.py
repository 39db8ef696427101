"""The server under load, on the loopback interface: time to an answer, answers a second, refusals, errors, memory.

    python -m benchmarks.serve [--quick] [--json] [--run RUN]

Without RUN, a small one is made first of 400 pairs of the built-in set `dial` (one epoch: how good the student is
changes nothing here). The server is a process of its own, with its usual limits, and so are the loads' clients, which
ask again as soon as they have an answer; a refused one waits, as the answer says, for a second. The reference is the
same work in one process without any server: read the item, embed it, answer. PyTorch has one thread in either, as
clients, readers and server share the machine; how busy it is with other things is recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks.record import Measurement, below, recorded, save, show_all
from crossdistill.item import MemoryItem
from crossdistill.pipeline import run
from crossdistill.serve.answer import answer
from crossdistill.serve.limits import LIMITS
from crossdistill.serve.student import Student, load_students

CLIENTS = (1, 4, 16, 64)
SECONDS, QUICK_SECONDS = 15.0, 3.0
NEAREST = 12
ITEMS = 20  # different queries
DAMAGED = b"\x89PNG\r\n\x1a\n" + bytes(4000)


@dataclass
class Load:
    """What clients met.

    Attributes:
        clients: how many.
        times: seconds to each answer with status 200.
        statuses: how many answers of each status.
        errors: how many requests had no answer, by what was raised.
        seconds: of the load.
    """

    clients: int
    times: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def quantile(self, share: float) -> float:
        """Of the times, in milliseconds."""
        ordered = sorted(self.times)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.times) / self.seconds

    @property
    def failed(self) -> int:
        """Requests without an answer, or with one that is neither the wanted one nor a refusal for load."""
        return sum(self.errors.values()) + sum(n for status, n in self.statuses.items() if status not in (200, 503))

    def to_json(self) -> dict[str, Any]:
        """For the results."""
        return {
            "clients": self.clients, "answers": len(self.times), "seconds": round(self.seconds, 2),
            "p50_ms": round(self.quantile(0.5), 1), "p95_ms": round(self.quantile(0.95), 1),
            "p99_ms": round(self.quantile(0.99), 1), "per_second": round(self.rate, 1),
            "refused": self.statuses[503], "statuses": dict(sorted(self.statuses.items())),
            "errors": dict(self.errors), "failed": self.failed,
        }  # fmt: skip


def small_run(folder: Path) -> Path:
    """A run to serve."""
    return run(
        {
            "pairs": {"builtin": "dial", "options": {"pairs": 400}},
            "source": {"size": 64}, "target": {"size": 64, "channels": 1},
            "teacher": {"backbone": "tf_efficientnet_lite0", "weights": "random"},
            "student": {"backbone": "test_resnet"}, "train": {"epochs": 1, "batch_size": 64, "device": "cpu"},
            "evaluate": {"protocols": ["retrieval"], "shots": [], "controls": []}, "out": str(folder / "small"),
        }
    ).root  # fmt: skip


@contextmanager
def served(root: Path) -> Any:
    """The server on a free port; gives its process and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "crossdistill", "serve", str(root), "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


async def ask_for(seconds: float, load: Load, ask: Any) -> Load:
    """``load.clients`` at once, each asking as soon as it has an answer."""
    began = time.perf_counter()

    async def client(number: int) -> None:
        turn = number
        while time.perf_counter() - began < seconds:
            started = time.perf_counter()
            try:
                status = await ask(turn)
            except httpx.HTTPError as error:
                load.errors[type(error).__name__] += 1
                continue
            load.statuses[status] += 1
            if status == 200:
                load.times.append(time.perf_counter() - started)
            elif status == 503:
                await asyncio.sleep(1.0)
            turn += 1

    await asyncio.gather(*(client(number) for number in range(load.clients)))
    load.seconds = time.perf_counter() - began
    return load


def searching(client: httpx.AsyncClient, name: str, items: list[MemoryItem]) -> Any:
    """Asks the API for the nearest of an upload."""

    async def ask(turn: int) -> int:
        item = items[turn % len(items)]
        answered = await client.post(
            f"api/v1/runs/{name}/search?k={NEAREST}", files={"file": (item.name, item.content)}
        )  # fmt: skip
        return answered.status_code

    return ask


def paging(client: httpx.AsyncClient, name: str, items: list[MemoryItem], function: int) -> Any:
    """Does what the page does: keeps the query, joins the queue, and reads the stream until the answer has come."""

    async def ask(turn: int) -> int:
        item, session = items[turn % len(items)], f"s{turn}x{time.perf_counter_ns()}"
        kept = await client.post(f"page/queries?name={item.name}", content=item.content)
        if kept.status_code != 200:
            return kept.status_code
        value = json.dumps({"query": {"token": kept.json()["token"]}})
        body = {"data": [value, name, [], "target", NEAREST], "fn_index": function, "session_hash": session}
        joined = await client.post("gradio_api/queue/join", json=body)
        if joined.status_code != 200:
            return joined.status_code
        async with client.stream("GET", f"gradio_api/queue/data?session_hash={session}") as stream:
            async for line in stream.aiter_lines():
                if "process_completed" in line:
                    text = json.dumps(json.loads(line.removeprefix("data: "))["output"])
                    return 200 if "cd-verdict" in text else 500
        return 500

    return ask


def annoying(client: httpx.AsyncClient, name: str) -> Any:
    """Sends damaged pictures; being told so is what counts as right."""

    async def ask(turn: int) -> int:
        answered = await client.post(f"api/v1/runs/{name}/search", files={"file": ("damaged.png", DAMAGED)})
        return 200 if answered.status_code == 400 else answered.status_code

    return ask


def memory(process: int) -> float:
    """MiB of a process and its children, without what they share."""
    total = 0.0
    for each in family(process):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:
            continue
        total += sum(int(found) for found in re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)) / 1024
    return total


def family(process: int) -> list[int]:
    """A process and its descendants."""
    found = [process]
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in task.read_text(encoding="utf-8").split():
            found += family(int(child))
    return found


def reference(student: Student, items: list[MemoryItem], times: int) -> list[float]:
    """Seconds of the same work without a server."""
    found = []
    for turn in range(times + 1):
        started = time.perf_counter()
        vector = student.model.embed([items[turn % len(items)]])[0]
        answer(student, vector, "target", NEAREST)
        if turn:
            found.append(time.perf_counter() - started)
    return found


async def loads(address: str, name: str, items: list[MemoryItem], seconds: float) -> dict[str, Load]:
    """All loads, one after the other."""
    found: dict[str, Load] = {}
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        search = searching(client, name, items)
        await ask_for(min(seconds, 2), Load(1), search)  # warm
        for clients in CLIENTS:
            found[f"search, {clients} at once"] = await ask_for(seconds, Load(clients), search)
        config = (await client.get("config")).json()
        function = next(each["id"] for each in config["dependencies"] if len(each["outputs"]) == 1)
        for clients in (1, 4, 16):
            page = paging(client, name, items, function)
            found[f"the page, {clients} at once"] = await ask_for(seconds, Load(clients), page)
        calm, wild = Load(4), Load(8)
        await asyncio.gather(ask_for(seconds, calm, search), ask_for(seconds, wild, annoying(client, name)))
        found["search, 4 at once, beside 8 that send damaged files"], found["damaged files, 8 at once"] = calm, wild
        await ask_for(min(seconds, 2), Load(1), search)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three seconds a load; saves nothing")
    parser.add_argument("--json", action="store_true", help="an object a line instead of a table")
    parser.add_argument("--run", type=Path, help="a finished run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = options.run or small_run(Path(folder))
        student = load_students([root], None, "cpu")[0]
        entries = student.own["target"].gallery.entries
        chosen = [entries[row].item for row in student.examples["target"] + list(range(ITEMS))][:ITEMS]
        items = [MemoryItem(item.name, item.read_bytes()) for item in chosen if item is not None]
        alone = reference(student, items, 20 if options.quick else 100)
        with served(root) as (process, address):
            before = memory(process.pid)
            found = asyncio.run(loads(address, student.id, items, QUICK_SECONDS if options.quick else SECONDS))
            after = memory(process.pid)
            ended = time.perf_counter()
        ended = time.perf_counter() - ended
    plain = 1000 * statistics.median(alone)
    measurements: list[Measurement] = []
    for name, load in found.items():
        measurements += [
            recorded(f"{name}: p50", load.quantile(0.5), plain, "ms"),
            recorded(f"{name}: p95", load.quantile(0.95), plain, "ms"),
            recorded(f"{name}: a second", load.rate, 1000 / plain, "answers"),
            recorded(f"{name}: refused", load.statuses[503], sum(load.statuses.values()), "requests"),
            below(f"{name}: failed", load.failed, 0, "requests"),
        ]
    measurements.append(recorded("memory after all of it, against before", after, before, "MiB"))
    measurements.append(below("memory that grew", after / before, 1.5, "times"))
    show_all(measurements, options.json)
    if not options.quick:
        about = {
            "run": "dial, 400 pairs" if options.run is None else options.run.name, "limits": asdict(LIMITS),
            "reference_ms": round(plain, 2), "memory_mib": {"before": round(before), "after": round(after)},
            "seconds_to_end": round(ended, 1), "load_before": round(busy, 1),
            "items_found_among": len(student.sources.gallery),
        }  # fmt: skip
        save("serve", {**about, "loads": {name: load.to_json() for name, load in found.items()}})
    if not all(each.holds for each in measurements):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
