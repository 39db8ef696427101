"""The work behind page and API: bounded reading, one computation at a time, and what the page remembers."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from crossdistill.errors import nearest
from crossdistill.evaluation.probes import Vectors
from crossdistill.item import MemoryItem
from crossdistill.modalities import Modality
from crossdistill.pairs import Side
from crossdistill.serve.answer import Answer, answer
from crossdistill.serve.decoding import Decoders
from crossdistill.serve.gallery import webp
from crossdistill.serve.limits import Admission, Deadline, Limits, RefusedError
from crossdistill.serve.student import SIDES, Student

_SEEN_SIDE = 224  # pixels of what the encoder was given


class Kept:
    """Queries of the page, in memory alone, bounded in number, size and time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items: OrderedDict[str, tuple[float, MemoryItem]] = OrderedDict()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None  # runs while anything is kept

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: MemoryItem) -> str:
        """Keeps an item, the oldest ones giving way; returns the word to ask for it by."""
        token = secrets.token_urlsafe(18)
        with self._lock:
            self._items[token] = (time.monotonic(), item)
            while len(self._items) > 1 and (
                len(self._items) > self._limits.kept
                or sum(len(kept.content) for _, kept in self._items.values()) > self._limits.kept_bytes
            ):
                self._items.popitem(last=False)
            self._forget_in_time()
        return token

    def get(self, token: str) -> MemoryItem:
        """The item of a word.

        Raises:
            RefusedError: it has been forgotten, or never was there (404).
        """
        with self._lock:
            since, item = self._items.get(token, (-np.inf, MemoryItem("", b"")))
        if time.monotonic() - since > self._limits.kept_seconds:
            raise RefusedError("The query is no longer kept.", status=404, fix="draw or upload it again")
        return item

    def close(self) -> None:
        """Forgets all."""
        with self._lock:
            self._items.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _forget(self) -> None:
        with self._lock:
            self._timer = None
            while self._items and self._age() >= self._limits.kept_seconds:
                self._items.popitem(last=False)
            self._forget_in_time()

    def _forget_in_time(self) -> None:
        """Sets the clock to the moment when the oldest is to be forgotten."""
        if self._items and self._timer is None:
            self._timer = threading.Timer(max(self._limits.kept_seconds - self._age(), 0.01), self._forget)
            self._timer.daemon = True
            self._timer.start()

    def _age(self) -> float:
        return time.monotonic() - next(iter(self._items.values()))[0]


class Service:
    """Answers queries of several threads.

    Args:
        students: that can be asked.
        limits: on what a request may take.
    """

    def __init__(self, students: Sequence[Student], limits: Limits) -> None:
        self.students = {student.id: student for student in students}
        self.limits = limits
        self.admission = Admission(limits.waiting)
        self.kept = Kept(limits)
        self.decoders = Decoders(limits, _samples(students))
        self._compute = threading.Lock()  # torch uses all processors for one of them

    def admit(self) -> AbstractContextManager[None]:
        """Around a request's work; RefusedError when there is too much of it."""
        return self.admission.enter()

    def student(self, name: str) -> Student:
        """A student by its id.

        Raises:
            RefusedError: there is none (404).
        """
        if name not in self.students:
            raise RefusedError(
                "There is no such run.", status=404, received=name[:80], expected=nearest(name, self.students),
                fix="ask /api/v1/runs for their names",
            )  # fmt: skip
        return self.students[name]

    def deadline(self) -> Deadline:
        """Of a request that begins now."""
        return Deadline(self.limits.request_seconds)

    def embed(
        self, student: Student, items: Sequence[MemoryItem], side: Side, deadline: Deadline | None = None
    ) -> Vectors:
        """Embeddings of uploads, ``(n, d)``, unit length.

        Raises:
            PairsError: one cannot be read.
            RefusedError: one is too large (413), or it takes too long (504).
        """
        deadline = deadline or self.deadline()
        decoded = [self.decoders.decode(student.modality(side), item, deadline) for item in items]
        return self._vectors(student, decoded, side, deadline)

    def ask(
        self, student: Student, item: MemoryItem, side: Side, k: int, deadline: Deadline | None = None
    ) -> Answer:  # fmt: skip
        """The answer to an upload; raises as :meth:`embed` does."""
        deadline = deadline or self.deadline()
        return self.ask_vector(student, self.embed(student, [item], side, deadline)[0], side, k, deadline)

    def look(
        self, student: Student, item: MemoryItem, side: Side, k: int, deadline: Deadline | None = None
    ) -> tuple[Answer, bytes]:
        """The same, and a picture of what the encoder was given, as WebP."""
        deadline = deadline or self.deadline()
        modality = student.modality(side)
        decoded = self.decoders.decode(modality, item, deadline)
        vector = self._vectors(student, [decoded], side, deadline)[0]
        return self.ask_vector(student, vector, side, k, deadline), webp(modality.draw(decoded, _SEEN_SIDE))

    def ask_vector(
        self, student: Student, vector: NDArray[np.floating], side: Side, k: int, deadline: Deadline | None = None
    ) -> Answer:
        """The answer to a vector ``(d,)`` of the student's space, of any length but zero.

        Raises:
            RefusedError: it is of another width, or not finite, or zero (400), or it takes too long (504).
        """
        width = student.model.width
        if vector.shape != (width,) or not np.isfinite(vector).all() or not np.any(vector):
            raise RefusedError(
                "This is no embedding of the run.", status=400, where="embedding",
                expected=f"{width} finite numbers, not all zero", received=f"{vector.size} numbers",
            )  # fmt: skip
        if not 1 <= k <= self.limits.results:
            raise RefusedError(
                "The number of results is out of range.", status=400, where="k",
                expected=f"1 to {self.limits.results}", received=k,
            )  # fmt: skip
        scaled = vector.astype(np.float64)
        scaled /= np.abs(scaled).max()  # the squares of very long and very short ones are no numbers
        unit = (scaled / np.linalg.norm(scaled)).astype(np.float32)
        with self._computing(deadline or self.deadline()):
            return answer(student, unit, side, k)

    @contextmanager
    def _computing(self, deadline: Deadline) -> Iterator[None]:
        if not self._compute.acquire(timeout=deadline.left()):
            raise deadline.refusal
        try:
            yield
        finally:
            self._compute.release()

    def _vectors(
        self, student: Student, decoded: Sequence[torch.Tensor], side: Side, deadline: Deadline
    ) -> Vectors:  # fmt: skip
        encoder = student.model.encoder(side)
        with self._computing(deadline), torch.no_grad():
            batch = encoder.modality.normalise(torch.stack(list(decoded)).to(student.model.device))
            found: Vectors = torch.nn.functional.normalize(encoder(batch).float(), dim=1).cpu().numpy()
        return found

    def close(self) -> None:
        """Ends the processes that read items, and forgets what was kept."""
        self.decoders.close()
        self.kept.close()


def _samples(students: Sequence[Student]) -> list[tuple[Modality, MemoryItem]]:
    """An item of each modality, for the processes that read items to begin with."""
    found: dict[str, tuple[Modality, MemoryItem]] = {}
    for student in students:
        for side in SIDES:
            modality, entries = student.modality(side), student.own[side].gallery.entries
            item = entries[0].item if len(entries) else None
            if item is not None and modality.decoding not in found:
                found[modality.decoding] = (modality, MemoryItem(item.name, item.read_bytes()))
    return list(found.values())
