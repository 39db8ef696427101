"""What a rank of the tests in test_many.py runs: the command line, with something going wrong where wanted.

``FAULT``: ``kill:RANK:STEP`` kills a rank at a step, ``nan:RANK:STEP`` makes its loss not a number there; in the first
attempt, or once where ``KILL_ONCE`` names a file to remember it by.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from crossdistill.cli.app import main
from crossdistill.objectives import CMCD
from crossdistill.objectives.core import Batch

fault, _, place = os.environ.get("FAULT", "").partition(":")
if fault:
    rank, step = (int(part) for part in place.split(":"))
    original, calls = CMCD.loss, 0

    def loss(self: CMCD, batch: Batch) -> torch.Tensor:
        """The objective's, until the fault."""
        global calls
        calls += 1
        once = os.environ.get("KILL_ONCE")
        first = not Path(once).exists() if once else os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
        if calls == step and int(os.environ["RANK"]) == rank and first:
            if once:
                Path(once).touch()
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, batch) * float("nan")
        return original(self, batch)

    CMCD.loss = loss  # type: ignore[method-assign]

sys.exit(main())
