"""Pairs from WebDataset shards: tar files in which the members of one sample share a name up to the first dot.

Shards are indexed, not streamed: one pass over the headers finds every member, and items are read by their offset. So
the teacher's bank, exact shuffling and exact resumption work as they do for files. Remote shards are fetched into the
cache.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from crossdistill.console import say
from crossdistill.errors import MissingDependencyError, PairsError
from crossdistill.files import atomic_path, cache_folder
from crossdistill.pairs.readers.stores import MOST_BYTES, Store, StoredItem
from crossdistill.pairs.table import Pair, Pairs, Split

_BLOCK = 512
_MOST_TEXT = 1 << 20  # bytes of a label or description
_NAME = re.compile(r"^((?:.*/)?[^./][^./]*)\.([^/]+)$")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


class WebDatasetConfig(BaseModel):
    """Shards, and what of a sample is what. Endings stand without their first dot; several are divided by ``;``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shards: str | tuple[str, ...] | dict[Split, str | tuple[str, ...]] = Field(
        description="paths or URLs, with {000..009} for a range; a mapping gives those of each split"
    )
    source: str = Field(description="ending of the source member, such as jpg;png")
    target: str = Field(description="ending of the target member, such as depth.png")
    label: str | None = Field(None, description="ending of a text member, or json.FIELD")
    group: str | None = Field(None, description="likewise")
    mask: str | None = Field(None, description="ending of the dense labels")

    def resolved(self, base: Path) -> Self:
        """The same with absolute paths; URLs stay as they are."""

        def full(name: str) -> str:
            return name if len(urlsplit(name).scheme) > 1 else str((base / name).resolve())

        def every(names: str | Sequence[str]) -> str | tuple[str, ...]:
            return full(names) if isinstance(names, str) else tuple(full(name) for name in names)

        shards = self.shards
        chosen = {split: every(names) for split, names in shards.items()} if isinstance(shards, dict) else every(shards)
        return self.model_copy(update={"shards": chosen})


class TarStore(Store):
    """One shard; keys are ``(offset, size)``."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def read(self, key: tuple[int, int]) -> bytes:
        """Reads a member's bytes."""
        offset, size = key
        with self.path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(size)
        if len(content) < size:
            raise OSError(f"the shard ends {size - len(content)} bytes too early")
        return content


@dataclass(frozen=True)
class _Sample:
    where: str
    members: Mapping[str, StoredItem]  # by ending, in lower case


def read_shards(config: WebDatasetConfig) -> Pairs:
    """The samples of all shards as rows. A sample that lacks one side is an unpaired item.

    Raises:
        PairsError: a shard is missing, damaged or no plain tar file; a sample stands twice or has neither side; no
            sample at all has one of the sides.
    """
    by_split: Mapping[Split | None, Any] = (
        cast(Any, config.shards) if isinstance(config.shards, dict) else {None: config.shards}
    )
    rows: list[Pair] = []
    seen: dict[str, str] = {}
    for split, shards in by_split.items():
        for shard in expand(shards):
            store = TarStore(local_shard(shard))
            for key, sample in _samples(store):
                name = f"{split or ''}:{key}"
                if name in seen:
                    raise PairsError("A sample stands twice.", where=f"{seen[name]} and {sample.where}")
                seen[name] = sample.where
                rows.append(_pair(config, sample, split))
    for side in ("source", "target"):
        if rows and all(getattr(row, side) is None for row in rows):
            raise PairsError(
                f"No sample has a {side}.", where=f"pairs.webdataset.{side}", expected=getattr(config, side),
                received=f"for instance {rows[0].where} with {', '.join(_endings(rows[0]))}",
            )  # fmt: skip
    first = expand(next(iter(by_split.values())))[0] if by_split else "shards"
    return Pairs(tuple(rows), name=Path(urlsplit(first).path).stem)


def expand(shards: str | Sequence[str]) -> list[str]:
    """Names with ``{000..012}`` written out, in order."""
    names = [shards] if isinstance(shards, str) else list(shards)
    found: list[str] = []
    for name in names:
        match = _BRACES.search(name)
        if match is None:
            found.append(name)
            continue
        first, last = int(match[1]), int(match[2])
        if last < first or last - first > 1_000_000:
            raise PairsError("A range of shards is empty or far too long.", where=name)
        width = len(match[1])
        every = [f"{name[: match.start()]}{number:0{width}}{name[match.end() :]}" for number in range(first, last + 1)]
        found += expand(every)
    return found


def local_shard(name: str) -> Path:
    """The shard as a local file; a URL is fetched into the cache, once.

    Raises:
        PairsError: it cannot be fetched.
        MissingDependencyError: its kind of URL needs a package.
    """
    scheme = urlsplit(name).scheme
    if len(scheme) < 2:  # one letter is a drive of Windows
        return Path(name)
    if scheme == "file":
        return Path(urllib.request.url2pathname(urlsplit(name).path))
    if scheme == "pipe":
        raise PairsError("Shards are not read from commands.", where=name, fix="fetch them first, or give their URL")
    place = cache_folder() / "shards" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.tar"
    if not place.is_file():
        say(f"fetching {name}")
        try:
            with _remote(name, scheme) as stream, atomic_path(place) as temporary, temporary.open("wb") as out:
                shutil.copyfileobj(stream, out, 1 << 20)
        except (OSError, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise PairsError(
                "A shard cannot be fetched.", where=name, received=getattr(error, "reason", None) or error
            ) from error
    return place


def _remote(name: str, scheme: str) -> BinaryIO:
    if scheme in ("http", "https"):
        return cast(BinaryIO, urllib.request.urlopen(name, timeout=60))
    import fsspec  # comes with torch

    try:
        return cast(BinaryIO, fsspec.open(name, "rb").open())
    except ImportError as error:
        raise MissingDependencyError(f"URLs that begin with {scheme}: need a package.", where=name, received=error,
                                     fix="install the package that is named") from error  # fmt: skip


def _samples(store: TarStore) -> Iterator[tuple[str, _Sample]]:
    """The samples of a shard in their order. Members of a sample stand together, as WebDataset demands."""
    key, members = "", dict[str, StoredItem]()
    for name, item in _members(store):
        match = _NAME.match(name)
        if match is None:
            continue  # a folder's own files, such as README or .nfo, belong to no sample
        stem, ending = match[1], match[2].lower()
        if stem != key:
            if members:
                yield key, _Sample(f"{store.path.name}, sample {key}", members)
            key, members = stem, {}
        if ending in members:
            raise PairsError("A sample has two members of one ending.", where=f"{store.path}, {name}")
        members[ending] = item
    if members:
        yield key, _Sample(f"{store.path.name}, sample {key}", members)


def _members(store: TarStore) -> Iterator[tuple[str, StoredItem]]:
    expected = "a plain tar file (not compressed), as WebDataset writes"
    try:
        size = store.path.stat().st_size
        with tarfile.open(store.path, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                if member.offset_data + member.size > size or member.size > MOST_BYTES:
                    raise PairsError(
                        "A shard is truncated or has a member that is far too large.",
                        where=f"{store.path}, {member.name}",
                        expected=f"{member.size:,} bytes",
                        received=f"{max(0, size - member.offset_data):,}",
                        fix="fetch or write it again",
                    )
                item = StoredItem(store, (member.offset_data, member.size), member.name)
                yield member.name, item
                cast(Any, tar).members.clear()  # it keeps every header otherwise
            end = cast(Any, tar).offset
    except FileNotFoundError as error:
        raise PairsError("A shard is missing.", where=store.path, expected=expected) from error
    except (tarfile.TarError, OSError, ValueError) as error:
        raise PairsError("A shard cannot be read.", where=store.path, expected=expected, received=error) from error
    with store.path.open("rb") as stream:
        stream.seek(end)
        mark = stream.read(2 * _BLOCK)
        if len(mark) < _BLOCK or mark.strip(b"\0"):
            raise PairsError("A shard has no end mark, so it was cut off.", where=store.path,
                             fix="fetch or write it again")  # fmt: skip


def _pair(config: WebDatasetConfig, sample: _Sample, split: Split | None) -> Pair:
    source, target = _find(sample, config.source), _find(sample, config.target)
    if source is None and target is None:
        raise PairsError(
            "A sample has neither a source nor a target.", where=sample.where,
            expected=f"a member ending in {config.source} or {config.target}", received=", ".join(sample.members),
        )  # fmt: skip
    return Pair(
        source=source,
        target=target,
        label=_text(sample, config.label),
        group=_text(sample, config.group),
        mask=_find(sample, config.mask) if config.mask else None,
        split=split,
        where=sample.where,
    )


def _find(sample: _Sample, endings: str) -> StoredItem | None:
    wanted = [ending.strip().lstrip(".").lower() for ending in endings.split(";")]
    return next((sample.members[ending] for ending in wanted if ending in sample.members), None)


def _text(sample: _Sample, name: str | None) -> str | None:
    """A text member's content, or a field of the JSON member."""
    if name is None:
        return None
    ending, _, field = name.partition(".") if name.startswith("json.") else (name, "", "")
    item = _find(sample, ending)
    if item is None:
        return None
    try:
        if cast(tuple[int, int], item.key)[1] > _MOST_TEXT:
            raise ValueError(f"more than {_MOST_TEXT:,} bytes")
        text = item.read_bytes().decode("utf-8").strip()
        if field:
            value = json.loads(text)[field]
            return None if value is None else str(value)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PairsError("A member holds no text as expected.", where=f"{sample.where}, {name}",
                         received=repr(error)) from error  # fmt: skip
    return text or None


def _endings(row: Pair) -> list[str]:
    item = row.source or row.target
    return [item.name] if item is not None else ["nothing"]
