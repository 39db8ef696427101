"""Processors, accelerators, memory and disks."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from crossdistill.doctor.finding import Finding, Section, reason, size
from crossdistill.errors import MissingDependencyError, StorageError
from crossdistill.files import cache_folder

_LITTLE_MEMORY, _LITTLE_SPACE, _LITTLE_SHARED = 2 << 30, 1 << 30, 256 << 20
_CGROUP, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60  # what a cgroup says where it has none


def devices() -> Section:
    """The processor, and what torch can compute on beside it."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [Finding("processor", f"{_processor()}, {usable} of {os.cpu_count()} cores for this process")]
    try:
        import torch
    except Exception as error:  # a broken torch raises anything
        return Section(
            "Devices", [*found, Finding("torch", reason(error), "bad", "see Versions", MissingDependencyError)]
        )
    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    few = usable is not None and threads < usable
    advice = f"torch uses {threads} of {usable} cores; OMP_NUM_THREADS says how many" if few else ""
    found.append(Finding("threads", f"{threads}, instructions {capability}", "note" if few else "ok", advice))
    return Section("Devices", [*found, *_cuda(), _mps()])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Hardware"))]
    return named[0] if named and named[0] else platform.processor() or platform.machine()


def _driver() -> str:
    """The NVIDIA driver's version; empty where there is none."""
    try:
        first = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return ""
    return next((word for word in first.split() if word[0].isdigit() and "." in word), "unknown")


def _cuda() -> list[Finding]:
    import torch

    driver = _driver()
    if not torch.cuda.is_available():
        if not driver:
            return [Finding("CUDA", "no GPU", "none")]
        built = torch.version.cuda
        why = f"torch is built for CUDA {built}" if built else "torch is built without CUDA"
        return [
            Finding("CUDA", f"driver {driver}, but torch finds no GPU: {why}", "note",
                    "install torch for this driver: https://pytorch.org/get-started/locally/")
        ]  # fmt: skip
    found = []
    for number in range(torch.cuda.device_count()):
        try:
            known = torch.cuda.get_device_properties(number)
            free, total = torch.cuda.mem_get_info(number)
        except Exception as error:  # a GPU that is in use by others, or broken
            found.append(Finding(f"cuda:{number}", reason(error), "note", "use another device: train.device=cpu"))
            continue
        found.append(
            Finding(
                f"cuda:{number}",
                f"{known.name}, {size(free)} of {size(total)} free, compute {known.major}.{known.minor}, "
                f"CUDA {torch.version.cuda}, driver {driver or 'unknown'}",
            )
        )
    return found


def _mps() -> Finding:
    import torch

    there = torch.backends.mps.is_available()
    return Finding("MPS", "there; train.device=mps takes it" if there else "none", "ok" if there else "none")


def memory() -> Section:
    """Of the machine, or of the container where that allows less; and what processes share."""
    total, free = _of_machine()
    found = []
    if total is None or free is None:
        found.append(Finding("memory", "not known on this system", "none"))
    else:
        found.append(_judged("memory", free, f"{size(free)} of {size(total)} free"))
    limit, used = _of_cgroup()
    if limit is not None and used is not None and (total is None or limit < total):
        found.append(
            _judged("container", limit - used, f"{size(max(0, limit - used))} of its limit of {size(limit)} left")
        )
    shared = Path("/dev/shm")
    if shared.is_dir():
        spare = shutil.disk_usage(shared).free
        little = spare < _LITTLE_SHARED
        advice = "too little for processes that prepare batches: train.workers=0, or docker run --shm-size=2g"
        found.append(
            Finding("shared", f"{size(spare)} in /dev/shm", "note" if little else "ok", advice if little else "")
        )
    return Section("Memory", found)


def _judged(name: str, free: int, value: str) -> Finding:
    if free >= _LITTLE_MEMORY:
        return Finding(name, value)
    return Finding(name, value, "note", "little for training: close other programs, or use smaller batches")


def _of_machine() -> tuple[int | None, int | None]:
    """Total and available bytes."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        said = {line.partition(":")[0]: int(line.split()[1]) << 10 for line in lines if len(line.split()) > 1}
        return said["MemTotal"], said["MemAvailable"]
    except (OSError, KeyError, ValueError):
        pass
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None, None


def _of_cgroup() -> tuple[int | None, int | None]:
    """Limit and use in bytes of the group that leaves this process least, of either version of cgroups; None where
    there is no limit.

    Files that are kept in memory for the case that they are read again are no use: they go when memory is needed.
    """
    found = []
    for folder, (limit, used, cache) in _memory_groups():
        try:
            most, now = (int((folder / name).read_text(encoding="utf-8")) for name in (limit, used))
        except (OSError, ValueError):  # "max" is no number
            continue
        if most < _NO_LIMIT:
            found.append((most, max(0, now - _stated(folder / "memory.stat", cache))))
    return min(found, key=lambda each: each[0] - each[1], default=(None, None))


_V2 = "memory.max", "memory.current", "inactive_file"
_V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def _memory_groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The folders of this process's groups, from its own up to the one that holds all, and the names of their files."""
    own = {"": "/", "memory": "/"}
    try:
        for line in _OWN_CGROUP.read_text(encoding="utf-8").splitlines():
            _, controllers, place = line.split(":", 2)
            own.update(dict.fromkeys(controllers.split(","), place))
    except (OSError, ValueError):  # no Linux, or a line of another kind: the outermost group is looked at
        pass
    for top, place, names in ((_CGROUP, own[""], _V2), (_CGROUP / "memory", own["memory"], _V1)):
        group = PurePosixPath(place.lstrip("/"))
        for part in (group, *group.parents):  # inside of a container its own name may lead nowhere
            if ".." not in part.parts:
                yield top / part, names


def _stated(path: Path, name: str) -> int:
    """A number of ``memory.stat``; 0 where it does not say."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def disks() -> Section:
    """Free space, and whether one can write, where crossdistill writes."""
    places = {"here": Path.cwd(), "cache": cache_folder(), "temporary": Path(tempfile.gettempdir())}
    return Section("Disk", [_disk(name, place) for name, place in places.items()])


def _disk(name: str, place: Path) -> Finding:
    change = {"here": "work in another folder", "cache": "set CROSSDISTILL_CACHE to another folder"}.get(
        name, "set TMPDIR to another folder"
    )
    there = next((folder for folder in (place, *place.absolute().parents) if folder.exists()), Path("/"))
    try:
        with tempfile.TemporaryFile(dir=there) as trial:
            trial.write(b"crossdistill")
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(name, f"{place} cannot be written: {error.strerror}", "bad", change, StorageError)
    little = free < _LITTLE_SPACE
    return Finding(
        name, f"{size(free)} free in {place}", "note" if little else "ok",
        f"little space: free some, or {change}" if little else "",
    )  # fmt: skip
