"""A modality whose reader misbehaves, in a module that another process can import."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import torch
from torch import Tensor

from crossdistill.item import MemoryItem, local_file


class SlowReader:
    """What the content says is what happens."""

    modality = "slow"

    def decode(self, item: MemoryItem) -> Tensor:
        if item.content == b"sleep":
            time.sleep(60)
        if item.content == b"nap":
            time.sleep(0.4)
        if item.content == b"leave":
            with local_file(item):
                os.kill(os.getpid(), signal.SIGKILL)
        if item.content == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        if item.content == b"eat":
            np.ones(1 << 40)
        return torch.zeros(3)
