"""Whose folder it is that a model is written into, and whose card lies there: no other file is ever overwritten.

Before anything is written or removed, a note of ours is laid there, with the hashes of the cards that are ours. It goes
when the index is written. So what a killed writing left is told from a folder of somebody else, and a card that was
changed by hand from one of ours.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from crossdistill.errors import RunFolderError
from crossdistill.files import read_json, storage_errors, write_text
from crossdistill.hub.card import CARD
from crossdistill.pipeline.published import is_published, read_index

NOTE = ".crossdistill.writing"


class Claim:
    """A folder that a model is written into.

    Args:
        place: the folder; made where it is missing.
        of: the folder that the model itself is in.

    Attributes:
        keeps_card: whether its card was changed by hand, and stays.

    Raises:
        RunFolderError: it holds something else, or the model itself.
        StorageError: it cannot be written.
    """

    def __init__(self, place: Path, of: Path) -> None:
        self._place = place
        self._cards: list[str] = []
        if is_published(place):
            if place.resolve() == of.resolve():
                raise RunFolderError(
                    "A model cannot be published over itself.", where=place, fix="choose another folder"
                )
            self._cards = [str(read_index(place).get("card"))]
        elif (place / NOTE).is_file():
            self._cards = _cards_of(read_json(place / NOTE))
        elif place.exists() and (not place.is_dir() or any(map(_is_foreign, place.iterdir()))):
            raise RunFolderError(
                "The output folder holds something else.", where=place,
                expected="a new or empty folder, or an earlier published model", fix="choose another folder",
            )  # fmt: skip
        card = place / CARD
        self.keeps_card = card.is_file() and hashlib.sha256(card.read_bytes()).hexdigest() not in self._cards
        with storage_errors(place):
            place.mkdir(parents=True, exist_ok=True)
        self._note()

    def expect_card(self, text: str) -> str:
        """Notes that this card, which is about to be written, is ours; its hash."""
        self._cards.append(hashlib.sha256(text.encode()).hexdigest())
        self._note()
        return self._cards[-1]

    @property
    def earlier_card(self) -> str:
        """A hash that the card which stays does not have, so that it stays the next time as well."""
        return self._cards[0] if self._cards else ""

    def done(self) -> None:
        """Takes the note away: the index is there."""
        (self._place / NOTE).unlink(missing_ok=True)

    def _note(self) -> None:
        write_text(self._place / NOTE, json.dumps({"cards": self._cards}) + "\n")


def _cards_of(note: Any) -> list[str]:
    cards = note.get("cards") if isinstance(note, dict) else None
    return [str(each) for each in cards] if isinstance(cards, list) else []


def _is_foreign(path: Path) -> bool:
    """Whether something in a folder without index and note is more than what the killed writing of a note left."""
    return not path.match(f".{NOTE}.*.part")
