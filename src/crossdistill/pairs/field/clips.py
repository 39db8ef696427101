"""Clips of web videos, some of which are always gone: their pictures and their sounds, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossdistill.console import warn
from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.pairs.field.field_files import PICTURES, SOUNDS, files_below
from crossdistill.pairs.field.media import VIDEOS, VideoFrame, VideoSound

CLIP_FOLDERS = ("videos", "video", "clips")


@dataclass(frozen=True)
class Clips:
    """What there is of clips, by the names of the files without their endings."""

    videos: dict[str, Path]
    pictures: dict[str, Path]
    sounds: dict[str, Path]

    @classmethod
    def below(cls, clips: Path | None, frames: Path | None, audio: Path | None) -> Clips:
        """Looks through the folders and their sub-folders.

        Args:
            clips: of videos, and of sound files where there are such.
            frames: of pictures.
            audio: of sound files.

        Raises:
            PairsError: a folder is missing, or holds two files of one name.
        """
        sounds = files_below(audio, SOUNDS) if audio is not None else {}
        if clips is not None:
            sounds = {**files_below(clips, SOUNDS), **sounds}
        return cls(
            videos=files_below(clips, VIDEOS) if clips is not None else {},
            pictures=files_below(frames, PICTURES) if frames is not None else {},
            sounds=sounds,
        )

    def find(self, names: Sequence[str], picture: Literal["frame", "video"]) -> tuple[Item | None, Item | None]:
        """Picture and sound of the clip that has one of the names; files of their own go before parts of a video."""
        video = _first(self.videos, names)
        source: Item | None = video if picture == "video" else _first(self.pictures, names)
        target: Item | None = _first(self.sounds, names)
        if video is not None:
            source, target = source or VideoFrame(video), target or VideoSound(video)
        return source, target


def clip_folders(
    root: Path, clips: Path | None, frames: Path | None, audio: Path | None
) -> tuple[Path | None, Path | None, Path | None]:
    """The folders of videos, pictures and sounds: those given, else those of the usual names that are there."""
    if clips is None:
        clips = next((root / name for name in CLIP_FOLDERS if (root / name).is_dir()), None)
    if frames is None and (root / "frames").is_dir():
        frames = root / "frames"
    if audio is None and (root / "audio").is_dir():
        audio = root / "audio"
    if clips is None and audio is None:
        raise PairsError(
            "The data set lacks its clips.", where=root,
            expected=f"{' or '.join(CLIP_FOLDERS)} with videos or sounds, or audio (and frames)",
            fix="give their folder as clips, or as audio and frames",
        )  # fmt: skip
    return clips, frames, audio


def tell_gone(name: str, gone: Sequence[str], listed: int) -> None:
    """Says how many clips are not there, which is usual for videos of the web.

    Raises:
        PairsError: none is there.
    """
    if len(gone) == listed:
        raise PairsError("None of the clips that the lists name is there.", where=name, expected=f"such as {gone[0]}",
                         fix="check clips, frames and audio")  # fmt: skip
    if gone:
        warn(f"{name}: {len(gone):,} of {listed:,} clips are not there and left out, such as {gone[0]}")


def _first(files: dict[str, Path], names: Sequence[str]) -> Path | None:
    return next((files[name] for name in names if name in files), None)
