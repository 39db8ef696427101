"""Reading uploads in processes of their own: one that takes too long, or too much memory, is killed alone."""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from PIL import Image as Pillow
from torch import Tensor

from crossdistill.errors import CrossDistillError, PairsError
from crossdistill.item import MemoryItem
from crossdistill.modalities import Modality
from crossdistill.serve.headers import check_header
from crossdistill.serve.limits import Deadline, Limits, RefusedError

_START = 120.0  # seconds that a process may take to be there
_LONGEST = 60  # letters of a folder for sockets: their names, with two parts of Python's own, have at most 107
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
        forks = "forkserver" in multiprocessing.get_all_start_methods() and _short_folder() is not None
        self._context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        # For libraries that read files alone. A killed reader leaves its file; the next one, or the end, removes it.
        self._folder = tempfile.TemporaryDirectory(prefix="crossdistill-serve-", ignore_cleanup_errors=True)
        if forks:
            kinds = {type(modality).__module__ for modality, _ in samples}
            used = {module for modality, _ in samples for module in _USED.get(modality.modality, ())}
            self._context.set_forkserver_preload([__name__, *sorted(kinds), *sorted(used)])
        self._all = [
            _Decoder(self._context, limits, samples, Path(self._folder.name) / str(number))
            for number in range(limits.decoders)
        ]
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        for decoder in self._all:
            self._idle.put(decoder)

    def start(self) -> None:
        """Starts all processes, so that the first request does not wait for them."""
        for decoder in self._all:
            decoder.start()

    def decode(self, modality: Modality, item: MemoryItem, deadline: Deadline | None = None) -> Tensor:
        """The item as a tensor ``(*modality.shape)``.

        Raises:
            PairsError: it cannot be read.
            MissingDependencyError: its format needs a package that is not installed.
            RefusedError: it is too large (413), or takes too long (504).
        """
        deadline = deadline or Deadline(self.limits.request_seconds)
        try:
            decoder = self._idle.get(timeout=deadline.left())
        except queue.Empty:
            raise RefusedError("The server is busy.", status=503, fix="ask again in a second") from None
        try:
            return decoder.decode(modality, item, deadline)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """Ends all processes."""
        for decoder in self._all:
            decoder.stop()
        self._folder.cleanup()


class _Decoder:
    """One process, started anew after it had to be killed. One thread at a time uses it."""

    def __init__(
        self, context: Any, limits: Limits, samples: Sequence[tuple[Modality, MemoryItem]], folder: Path
    ) -> None:
        self._context, self._limits, self._samples, self._folder = context, limits, samples, folder
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(self) -> Connection:
        if self._pipe is not None and self._process.is_alive():
            return self._pipe
        self.stop()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_work, args=(theirs, self._limits, self._samples, str(self._folder)), daemon=True,
            name="crossdistill-decoder",
        )  # fmt: skip
        with _short_names():
            self._process.start()
        theirs.close()
        with suppress(EOFError, OSError):
            if self._pipe.poll(_START) and self._pipe.recv() == "ready":
                return self._pipe
        self.stop()
        raise RefusedError(
            "No process that reads items could be started.", status=503, fix="look at the server's output"
        )

    def decode(self, modality: Modality, item: MemoryItem, deadline: Deadline) -> Tensor:
        pipe = self.start()
        patience = min(self._limits.decode_seconds, deadline.left())
        try:
            pipe.send((modality, item))
            if not pipe.poll(patience):
                self.stop()
                deadline.left()  # it may be the request that takes too long, and not this item
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
        shutil.rmtree(self._folder, ignore_errors=True)


def _short_folder() -> str | None:
    """A folder for temporary files that sockets can be in; None where there is none."""
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if len(os.fsencode(folder)) <= _LONGEST and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


@contextmanager
def _short_names() -> Iterator[None]:
    """Processes are forked by way of sockets in the folder for temporary files, whose names cannot be long."""
    before = tempfile.tempdir
    tempfile.tempdir = _short_folder() or before
    try:
        yield
    finally:
        tempfile.tempdir = before


def _work(pipe: Connection, limits: Limits, samples: Sequence[tuple[Modality, MemoryItem]], folder: str) -> None:
    """What such a process does: a modality and an item in, an array or an error out."""
    tempfile.tempdir = folder
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
