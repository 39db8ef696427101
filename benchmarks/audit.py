"""Does the audit find what is wrong? Known faults are put into a copy of a built-in set.

    python -m benchmarks.audit               # 3 seeds and the set as it is
    python -m benchmarks.audit --quick       # 1 seed, half of the rows
    python -m benchmarks.audit --set emoji-glyph

Faults: 5% of the pairs swap their targets in a ring, 3% are copied under new names as new rows (half of them byte by
byte, half re-encoded, brightened, resized, shifted or noisy; half of the copies stand in another split), 1% of the rows
have a file cut short. No row has two faults. The audit has the packaged teacher.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.emoji import interval
from benchmarks.record import Measurement, at_least, below, save, show_table
from crossdistill.audit import Audit, audit
from crossdistill.audit.mismatch import Matching
from crossdistill.audit.rows import SIDES
from crossdistill.encoders import Encoder, TeacherConfig, build_teacher
from crossdistill.modalities import Modality, parse_modality
from crossdistill.pairs import SPLITS, Pair, Pairs, SplitConfig, assign_splits
from crossdistill.pairs.builtin import builtin_set, open_builtin
from crossdistill.pairs.readers.manifest import read_manifest
from crossdistill.pairs.table import unchecked

WORK = Path("runs/benchmarks/audit")
SWAPPED, COPIED, CUT = 0.05, 0.03, 0.01  # shares of the rows
TOP = 0.10  # share of the pairs, the most suspicious, among which a swapped one counts as found
KEPT_BYTES = 0.6  # of a file that is cut short


@dataclass
class Faults:
    """Row numbers of what was put in."""

    swapped: list[int] = field(default_factory=list)
    copied: dict[int, int] = field(default_factory=dict)  # new row: original
    changed: set[int] = field(default_factory=set)  # new rows whose files are not equal byte by byte
    crossing: set[int] = field(default_factory=set)  # new rows in another split
    cut: list[int] = field(default_factory=list)


def spoil(pairs: Pairs, folder: Path, seed: int) -> tuple[Pairs, Faults]:
    """A copy of the set in ``folder`` with known faults."""
    rng = np.random.default_rng(seed)
    shutil.rmtree(folder, ignore_errors=True)
    for side in SIDES:
        (folder / side).mkdir(parents=True)
    rows: list[Pair] = []
    for number, pair in enumerate(pairs):
        files = {}
        for side in SIDES:
            item = pair.item(side)
            assert isinstance(item, Path)
            files[side] = folder / side / f"{number:05}{item.suffix}"
            shutil.copyfile(item, files[side])
        rows.append(replace(pair, source=files["source"], target=files["target"]))
    order = iter(rng.permutation(len(rows)).tolist())
    faults = Faults(swapped=[next(order) for _ in range(round(SWAPPED * len(rows)))])
    targets = [rows[row].target for row in faults.swapped]
    for place, row in enumerate(faults.swapped):
        rows[row] = replace(rows[row], target=targets[place - 1])
    for _ in range(round(CUT * len(rows))):
        row = next(order)
        file = rows[row].source if rng.random() < 0.5 else rows[row].target
        assert isinstance(file, Path)
        content = file.read_bytes()
        file.write_bytes(content[: round(KEPT_BYTES * len(content))])
        faults.cut.append(row)
    for _ in range(round(COPIED * len(pairs))):
        original, new = next(order), len(rows)
        rows.append(_copy(rows[original], folder, new, changed=new % 2 == 0, rng=rng))
        faults.copied[new] = original
        if new % 2 == 0:
            faults.changed.add(new)
        if new % 4 < 2:
            others = [split for split in SPLITS if split != rows[original].split]
            rows[new] = replace(rows[new], split=others[int(rng.integers(2))])
            faults.crossing.add(new)
    with unchecked():
        Pairs(tuple(rows), name=pairs.name).to_csv(folder / "manifest.csv", base=folder)
        return read_manifest(folder / "manifest.csv"), faults


def _copy(pair: Pair, folder: Path, number: int, *, changed: bool, rng: np.random.Generator) -> Pair:
    """The pair under new names and in a group of its own; with ``changed`` both pictures are altered a little."""
    files = {}
    for side in SIDES:
        item = pair.item(side)
        assert isinstance(item, Path)
        files[side] = folder / side / f"{number:05}-copy{'.jpg' if changed else item.suffix}"
        if changed:
            with Image.open(item) as opened:
                altered(opened.convert("RGB"), rng).save(files[side], quality=75)
        else:
            shutil.copyfile(item, files[side])
    return replace(pair, source=files["source"], target=files["target"], group=None)


def altered(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One of: as it is (the caller stores it as JPEG), brightened, resized, shifted, zoomed out, noisy."""
    width, height = picture.size
    kind = int(rng.integers(6))
    if kind == 1:
        return ImageEnhance.Brightness(picture).enhance(float(rng.uniform(0.8, 0.95)))
    if kind == 2:
        return picture.resize((round(width * 0.8), round(height * 0.8)), Image.Resampling.BILINEAR)
    if kind in (3, 4):
        small = picture if kind == 3 else picture.resize((round(width * 0.95), round(height * 0.95)))
        moved = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
        moved.paste(small, (1, 1) if kind == 3 else (round(width * 0.025), round(height * 0.025)))
        return moved
    if kind == 5:
        noisy = np.asarray(picture) + rng.normal(0, 6, (height, width, 3))
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return picture


def found(result: Audit, faults: Faults) -> dict[str, float]:
    """Shares of the faults that the audit found, in percent, and what it named beside them."""
    unreadable = {row for each in result.findings if each.check == "unreadable" for row in each.rows}
    twins = [set(cluster.rows) for cluster in result.clusters if cluster.side is None]
    leaks = [set(each.rows) for each in result.findings if each.check == "leak" and each.severity == "severe"]

    def together(sets: list[set[int]], rows: set[int] | dict[int, int]) -> float:
        return _percent([any({new, faults.copied[new]} <= each for each in sets) for new in rows])

    measured = {
        "cut files found": _percent([row in unreadable for row in faults.cut]),
        "whole files called unreadable": float(len(unreadable - set(faults.cut))),
        "copies found": together(twins, faults.copied),
        "changed copies found": together(twins, faults.changed),
        "copies across splits called severe": together(leaks, faults.crossing),
    }
    matching = result.matching
    assert isinstance(matching, Matching)
    ranked = matching.rows[matching.ranked].tolist()
    top = set(ranked[: int(TOP * len(ranked))])
    named = [int(matching.rows[place]) for place in matching.named]
    swapped = set(faults.swapped)
    return {
        **measured,
        "swapped pairs in the top 10%": _percent([row in top for row in swapped]),
        "swapped pairs named": _percent([row in named for row in swapped]),
        "named pairs": float(len(named)),
        "named pairs that were swapped": _percent([row in swapped for row in named]),
        "estimated share": 100 * matching.pairing.share.value,
        "true share": 100 * len(swapped) / len(ranked),
        "interval holds the true share": 100.0
        * (matching.pairing.share.low <= len(swapped) / len(ranked) <= matching.pairing.share.high),
    }


def _percent(outcomes: list[bool]) -> float:
    return 100 * float(np.mean(outcomes)) if outcomes else 100.0


def _timed(pairs: Pairs, source: Modality, target: Modality, teacher: Encoder, workers: int) -> tuple[Audit, float]:
    start = time.perf_counter()
    with unchecked():
        result = audit(pairs, source, target, teacher=teacher, workers=workers)
    return result, time.perf_counter() - start


def main() -> None:
    """Runs and prints the comparison with what was put in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", default="emoji")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    known = builtin_set(arguments.set)
    source, target = parse_modality(known.source), parse_modality(known.target)
    teacher = build_teacher(TeacherConfig(weights="efficientnet-lite0"), source)
    pairs = assign_splits(open_builtin(arguments.set), SplitConfig())
    if arguments.quick:
        pairs = assign_splits(pairs.with_rows(replace(pair, split=None) for pair in pairs.rows[::2]), SplitConfig())
    seeds = list(range(1 if arguments.quick else arguments.seeds))
    by_seed: list[dict[str, Any]] = []
    for seed in seeds:
        spoiled, faults = spoil(pairs, WORK / f"{arguments.set}-{seed}", seed)
        result, seconds = _timed(spoiled, source, target, teacher, arguments.workers)
        by_seed.append({**found(result, faults), "seconds": seconds, "rows": len(spoiled)})
    summary = {name: interval([each[name] for each in by_seed]) for name in by_seed[0]}
    measurements = measure(summary)
    clean: dict[str, Any] = {}
    if not arguments.quick:
        result, seconds = _timed(pairs, source, target, teacher, arguments.workers)
        assert isinstance(result.matching, Matching)
        share = result.matching.pairing.share
        clean = {
            "named": len(result.matching.named), "estimated share": 100 * share.value, "upper end": 100 * share.high,
            "unreadable": sum(each.check == "unreadable" for each in result.findings),
            "clusters of both sides": sum(each.side is None for each in result.clusters), "seconds": seconds,
        }  # fmt: skip
        measurements += [
            below("clean set: pairs named", clean["named"], 0.005 * len(pairs), "pairs"),
            below("clean set: estimated share of mismatched pairs", clean["estimated share"], 1.0, "%"),
            below("clean set: files called unreadable", clean["unreadable"], 0, "files"),
        ]
        save(
            "audit" if arguments.set == "emoji" else f"audit-{arguments.set}",
            {"set": arguments.set, "rows": len(pairs), "seeds": seeds, "by_seed": by_seed, "clean": clean,
             "mean_low_high": summary},
        )  # fmt: skip
    for each in measurements:
        each.show(arguments.json)
    if not arguments.json:
        for name, (mean, low, high) in summary.items():
            print(f"{name}: {mean:.2f} (95% over seeds: {low:.2f} to {high:.2f})")
        show_table(measurements)


def measure(summary: dict[str, tuple[float, float, float]]) -> list[Measurement]:
    """The targets, and the values that are only recorded."""
    wanted = {
        "cut files found": 1.0, "copies found": 1.0, "copies across splits called severe": 1.0,
        "swapped pairs in the top 10%": 0.8,
    }  # fmt: skip
    recorded = ("changed copies found", "swapped pairs named", "named pairs that were swapped", "estimated share")
    return [
        *(at_least(name, summary[name][0], 100, "%", ratio) for name, ratio in wanted.items()),
        below("whole files called unreadable", summary["whole files called unreadable"][0], 0, "files"),
        below("time of an audit", summary["seconds"][0], 120, "s"),
        *(below(name, summary[name][0], float("inf"), "%") for name in recorded),
    ]


if __name__ == "__main__":
    main()
