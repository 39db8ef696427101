"""Reading uploads in processes of their own: one that takes too long, or too much memory, is killed alone."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import warnings
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from PIL import Image as Pillow
from torch import Tensor

from crossdistill.errors import CrossDistillError, PairsError
from crossdistill.item import MemoryItem
from crossdistill.modalities import Modality
from crossdistill.serve.limits import Limits, RefusedError, check_header

_START = 120.0  # seconds that a process may take to be there
# What modalities import when they first read an item, where it takes long.
_USED = {"audio": ("soundfile", "librosa.filters", "scipy.signal"), "video": ("av",), "sketch": ("resvg_py",)}


class Decoders:
    """Processes that turn uploads into tensors.

    They are forked from a server that holds nothing but imported modules, where the system can fork; so the death of
    one costs milliseconds, and none inherits anything of the web server.

    Args:
        limits: of time and memory, and how many processes there are.
        samples: an item of each modality that will be read. A process reads them before it is used, so that what a
            first reading imports and computes is not counted as the first request's time.
    """

    def __init__(self, limits: Limits, samples: Sequence[tuple[Modality, MemoryItem]] = ()) -> None:
        self.limits = limits
        methods = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            kinds = {type(modality).__module__ for modality, _ in samples}
            used = {module for modality, _ in samples for module in _USED.get(modality.modality, ())}
            self._context.set_forkserver_preload([__name__, *sorted(kinds), *sorted(used)])
        self._all = [_Decoder(self._context, limits, samples) for _ in range(limits.decoders)]
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        for decoder in self._all:
            self._idle.put(decoder)

    def start(self) -> None:
        """Starts all processes, so that the first request does not wait for them."""
        for decoder in self._all:
            decoder.start()

    def decode(self, modality: Modality, item: MemoryItem) -> Tensor:
        """The item as a tensor ``(*modality.shape)``.

        Raises:
            PairsError: it cannot be read.
            MissingDependencyError: its format needs a package that is not installed.
            RefusedError: it is too large (413), or takes too long (504).
        """
        try:
            decoder = self._idle.get(timeout=self.limits.request_seconds)
        except queue.Empty:
            raise RefusedError("The server is busy.", status=503, fix="ask again in a second") from None
        try:
            return decoder.decode(modality, item)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """Ends all processes."""
        for decoder in self._all:
            decoder.stop()


class _Decoder:
    """One process, started anew after it had to be killed. One thread at a time uses it."""

    def __init__(self, context: Any, limits: Limits, samples: Sequence[tuple[Modality, MemoryItem]]) -> None:
        self._context, self._limits, self._samples = context, limits, samples
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(self) -> Connection:
        if self._pipe is not None and self._process.is_alive():
            return self._pipe
        self.stop()
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_work, args=(theirs, self._limits, self._samples), daemon=True, name="crossdistill-decoder"
        )
        self._process.start()
        theirs.close()
        with suppress(EOFError, OSError):
            if self._pipe.poll(_START) and self._pipe.recv() == "ready":
                return self._pipe
        self.stop()
        raise RefusedError(
            "No process that reads items could be started.", status=503, fix="look at the server's output"
        )

    def decode(self, modality: Modality, item: MemoryItem) -> Tensor:
        pipe = self.start()
        try:
            pipe.send((modality, item))
            if not pipe.poll(self._limits.decode_seconds):
                self.stop()
                raise RefusedError(
                    "Reading the item takes too long.", status=504, where=item,
                    expected=f"at most {self._limits.decode_seconds:g} s", received="no answer",
                    fix="send a smaller or simpler file",
                )  # fmt: skip
            answer = pipe.recv()
        except (EOFError, OSError) as error:  # it ended: killed for its memory, or a decoder's own fault
            self.stop()
            raise PairsError(
                "The item cannot be read: reading it ended the process that did so.", where=item,
                expected=f"an item of the modality {modality.modality}",
            ) from error  # fmt: skip
        if isinstance(answer, CrossDistillError):
            raise answer
        return torch.from_numpy(answer)

    def stop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
            self._process = None


def _work(pipe: Connection, limits: Limits, samples: Sequence[tuple[Modality, MemoryItem]]) -> None:
    """What such a process does: a modality and an item in, an array or an error out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the server, which then ends this one
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    Pillow.MAX_IMAGE_PIXELS = limits.pixels
    warnings.simplefilter("error", Pillow.DecompressionBombWarning)
    for modality, item in samples:
        _decoded(modality, item, limits)
    _limit_memory(limits.decode_bytes)
    pipe.send("ready")
    while True:
        try:
            modality, item = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_decoded(modality, item, limits))


def _decoded(modality: Modality, item: MemoryItem, limits: Limits) -> Any:
    try:
        check_header(item, modality, limits)
        return modality.decode(item).numpy()
    except CrossDistillError as error:
        return error
    except (MemoryError, Pillow.DecompressionBombWarning, Pillow.DecompressionBombError):
        return _too_large(item, limits)
    except RuntimeError as error:
        if "alloc" in str(error):  # torch's own word for no memory
            return _too_large(item, limits)
        return _unforeseen(modality, item, error)
    except Exception as error:  # whatever a decoder makes of hostile bytes is the upload's fault
        return _unforeseen(modality, item, error)


def _too_large(item: MemoryItem, limits: Limits) -> RefusedError:
    return RefusedError(
        "The item is too large once it is unpacked.", status=413, where=item,
        expected=f"at most {limits.pixels:,} values", fix="send a smaller item",
    )  # fmt: skip


def _unforeseen(modality: Modality, item: MemoryItem, error: Exception) -> PairsError:
    return PairsError(
        "The item cannot be read.", where=item, expected=f"an item of the modality {modality.modality}",
        received=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
    )  # fmt: skip


def _limit_memory(most: int) -> None:
    """Bounds what this process may still allocate, on systems that can tell how much it has."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        used = pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + most, used + most))
    except (ImportError, OSError, ValueError):
        return
