"""Starting victims, ending them from outside, and what they said."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VICTIM = Path(__file__).with_name("victim.py")
ROOT = Path(__file__).parents[2]
LIMIT = 180.0  # seconds after which a victim counts as hanging


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code, or minus the signal that ended it.
        text: all that it said.
        seconds: how long it took.
        hung: whether it had to be ended as it took too long.
    """

    code: int
    text: str
    seconds: float
    hung: bool = False

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it, and we sent it."""
        return self.code == -signal.SIGKILL and not self.hung


class Launcher:
    """Forks victims from one process that has everything imported: a start costs milliseconds.

    Args:
        folder: for their output.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        self._server = subprocess.Popen(
            [sys.executable, str(VICTIM), "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=ROOT, env=environment(), start_new_session=True,
        )  # fmt: skip
        if "ready" not in self._answer(LIMIT):
            raise RuntimeError("the victims' server did not start")

    def close(self) -> None:
        """Ends the server."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(10)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(
        self, arguments: list[str], hooks: list[dict[str, Any]] | None = None, *, kill_after: float | None = None,
        limit: float = LIMIT,
    ) -> Ended:  # fmt: skip
        """Runs ``crossdistill`` with some arguments.

        Args:
            arguments: of the command line.
            hooks: faults within it.
            kill_after: seconds after which it gets SIGKILL from outside.
            limit: seconds after which it counts as hanging.
        """
        self._count += 1
        output = self.folder / f"output-{self._count:03d}.txt"
        assert self._server.stdin is not None
        self._server.stdin.write(
            json.dumps({"arguments": arguments, "hooks": hooks or [], "output": str(output)}) + "\n"
        )
        self._server.stdin.flush()
        started = time.monotonic()
        pid = self._answer(LIMIT)["pid"]
        timers = []
        if kill_after is not None:
            timers.append(threading.Timer(kill_after, _end, (pid,)))
        for timer in timers:
            timer.start()
        answer = self._answer(limit)
        hung = not answer
        if hung:
            _end(pid)
            answer = self._answer(LIMIT)
        for timer in timers:
            timer.cancel()
        text = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
        return Ended(answer["code"], text, time.monotonic() - started, hung)

    def _answer(self, limit: float) -> dict[str, Any]:
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], limit)[0]:
            return {}
        found: dict[str, Any] = json.loads(self._server.stdout.readline() or "{}")
        return found


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def environment(**more: str) -> dict[str, str]:
    """One thread for each process, and our source before any that is installed."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **more}


def run_real(arguments: list[str], limit: float = LIMIT) -> Ended:
    """The same as a user would start it: ``python -m crossdistill``."""
    return _finished([sys.executable, "-m", "crossdistill", *arguments], environment(), limit)


def run_ranks(
    arguments: list[str], hooks: list[dict[str, Any]] | None = None, *, ranks: int = 2, restarts: int = 0
) -> Ended:
    """The same as ``ranks`` processes under ``torchrun``."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
             "--max-restarts", str(restarts)]  # fmt: skip
    told = environment(CROSSDISTILL_FAULTS=json.dumps(hooks or []), CROSSDISTILL_RANK_TIMEOUT="60")
    return _finished([*start, str(VICTIM), *arguments], told, 2 * LIMIT)


def _finished(command: list[str], told: dict[str, str], limit: float) -> Ended:
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=told, start_new_session=True
    )
    hung = False
    try:
        text, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        hung = True
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
    return Ended(process.returncode, text, time.monotonic() - started, hung)
