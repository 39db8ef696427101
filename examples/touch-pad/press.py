"""Makes pairs to try the modality on: emoji in colour, and what a pad feels of their embossed outlines.

python examples/touch-pad/press.py --out data/touch
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossdistill import open_pairs


def pressed(outline: Image.Image, rng: np.random.Generator) -> NDArray[np.int16]:
    """The counts of a 16 x 16 pad under an outline: a little off its middle, by an unsteady hand, with a dead cell."""
    ink = 255 - np.asarray(outline.convert("L").resize((48, 48), Image.Resampling.BOX), dtype=np.float64)
    moved = np.roll(ink, rng.integers(-2, 3, 2), axis=(0, 1))
    force = moved.reshape(16, 3, 16, 3).mean(axis=(1, 3)) * rng.uniform(2, 6)
    counts = np.clip(force + rng.normal(0, 10, force.shape), 0, 1023).astype(np.int16)
    counts[tuple(rng.integers(0, 16, 2))] = -1
    return counts


def main() -> None:
    """Writes pairs.csv, source/ and target/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/touch"))
    parser.add_argument("--most", type=int, help="take the first so many pairs alone")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for side in ("source", "target"):
        (options.out / side).mkdir(parents=True, exist_ok=True)
    rows = open_pairs("emoji").rows[: options.most]
    with (options.out / "pairs.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["source", "target", "label", "group"])
        for row in rows:
            with Image.open(row.source) as colour, Image.open(row.target) as outline:
                colour.convert("RGB").save(options.out / f"source/{row.source.stem}.png")
                np.save(options.out / f"target/{row.target.stem}.npy", pressed(outline, rng))
            writer.writerow([f"source/{row.source.stem}.png", f"target/{row.target.stem}.npy", row.label, row.group])
    print(f"{len(rows)} pairs: {options.out / 'pairs.csv'}")


if __name__ == "__main__":
    main()
