"""Items per second by reader and modality against bare decoding, the time a step waits for data, a large manifest.

The competitors take turns in one process on one thread, and the best turn of each counts.

python -m benchmarks.loading [--quick] [--json]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import librosa
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from PIL import Image as Pillow
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from benchmarks.record import Measurement, at_least, below, save, show_table
from crossdistill.encoders import StudentConfig, build_student
from crossdistill.modalities import parse_modality
from crossdistill.modalities.audio import SETTINGS
from crossdistill.objectives import CMCD
from crossdistill.pairs import Pairs, PairsConfig, open_pairs
from crossdistill.pairs.items import Items
from crossdistill.training import TrainConfig, distil, loop
from crossdistill.validation import validated

WORK = Path("runs/benchmarks/loading")
COUNT, SIZE = 192, 224
SETTING = SETTINGS["general"]


# --- what is read


def photographs(folder: Path) -> list[Path]:
    """Smooth random pictures of 320 x 240 pixels as JPEG, as cameras and data sets have them."""
    rng = np.random.default_rng(0)
    paths = []
    for index in range(COUNT):
        coarse = torch.from_numpy(rng.random((1, 3, 15, 20))).float()
        picture = torch.nn.functional.interpolate(coarse, (240, 320), mode="bicubic").clamp(0, 1)[0]
        grain = torch.from_numpy(rng.normal(0, 0.02, (3, 240, 320))).float()
        paths.append(folder / f"photo/{index:04}.jpg")
        F.to_pil_image((picture + grain).clamp(0, 1)).save(paths[-1], quality=90)
    return paths


def depth_maps(folder: Path) -> list[Path]:
    """Planes of 320 x 240 pixels in millimetres, with holes, as 16-bit PNG."""
    rng = np.random.default_rng(1)
    paths = []
    for index in range(COUNT):
        down, right = np.mgrid[0:240, 0:320]
        metres = 2 + rng.uniform(-1, 1) * right / 320 + rng.uniform(0, 1) * down / 240 + rng.normal(0, 0.01, (240, 320))
        stored = (metres * 1000).astype(np.uint16)
        stored[rng.random(stored.shape) < 0.03] = 0
        paths.append(folder / f"depth/{index:04}.png")
        Pillow.fromarray(stored).save(paths[-1])
    return paths


def clips(folder: Path) -> list[Path]:
    """Two seconds of noise and tones at 16 kHz as WAV."""
    rng = np.random.default_rng(2)
    time_ = np.arange(32_000) / 16_000
    paths = []
    for index in range(COUNT):
        wave = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 4000) * time_) + rng.normal(0, 0.05, len(time_))
        paths.append(folder / f"audio/{index:04}.wav")
        soundfile.write(paths[-1], wave, 16_000)
    return paths


def readers(folder: Path, photos: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The same photographs in every form that is read; sources and targets are the same."""
    import datasets
    import webdataset

    contents = [path.read_bytes() for path in photos]
    (folder / "pairs.csv").write_text(
        "\n".join(["source,target", *(f"photo/{path.name},again/{path.name}" for path in photos)])
    )
    shutil.copytree(folder / "photo", folder / "again")
    with webdataset.TarWriter(str(folder / "pairs.tar")) as writer:
        for index, content in enumerate(contents):
            writer.write({"__key__": f"{index:04}", "jpg": content, "target.jpg": content})
    pq.write_table(pa.table({"source": contents, "target": contents}), folder / "pairs.parquet")
    cells = [{"bytes": content, "path": None} for content in contents]
    features = datasets.Features({"source": datasets.Image(), "target": datasets.Image()})
    datasets.Dataset.from_dict({"source": cells, "target": cells}, features=features).save_to_disk(str(folder / "hub"))
    with h5py.File(folder / "pairs.h5", "w") as file:
        pixels = np.stack([np.asarray(Pillow.open(path)) for path in photos])
        for name in ("source", "target"):
            file.create_dataset(name, data=pixels, chunks=(1, *pixels.shape[1:]))
    names = {"source": "source", "target": "target"}
    return {
        "manifest": {"manifest": str(folder / "pairs.csv")},
        "two folders": {"source": str(folder / "photo"), "target": str(folder / "again")},
        "WebDataset": {"webdataset": {"shards": str(folder / "pairs.tar"), "source": "jpg", "target": "target.jpg"}},
        "Parquet with bytes": {"manifest": str(folder / "pairs.parquet")},
        "datasets": {"hub": {"path": str(folder / "hub"), **names}},
        "HDF5": {"arrays": {"file": str(folder / "pairs.h5"), **names}},
    }


# --- bare decoding: what one writes by hand to get the same tensor

_resize = v2.Compose([v2.Resize(SIZE, interpolation=v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(SIZE)])


def bare_photo(path: Path) -> torch.Tensor:
    """Pillow and torchvision."""
    with Pillow.open(path) as opened:
        return _resize(F.pil_to_tensor(opened.convert("RGB")))


def bare_array(values: np.ndarray[Any, Any]) -> torch.Tensor:
    """torchvision alone."""
    return _resize(torch.from_numpy(values).permute(2, 0, 1))


def bare_depth(path: Path) -> torch.Tensor:
    """Pillow and torchvision, without a thought for what is missing."""
    with Pillow.open(path) as opened:
        metres = torch.from_numpy(np.asarray(opened).astype(np.float32))[None] / 1000
    return _resize(metres).half()


def bare_audio(path: Path) -> torch.Tensor:
    """soundfile and librosa."""
    wave, rate = soundfile.read(path, dtype="float32")
    power = librosa.feature.melspectrogram(
        y=wave, sr=rate, n_fft=SETTING.window, hop_length=SETTING.hop, n_mels=SETTING.mels, fmin=SETTING.low,
        fmax=SETTING.high,
    )  # fmt: skip
    return torch.from_numpy(librosa.power_to_db(power, ref=np.max)).half()


def turns(contestants: Sequence[Callable[[int], object]], seconds: float) -> list[float]:
    """Items a second of each on one thread: the best of several short turns."""
    best = [0.0] * len(contestants)
    for turn in range(6):
        for place, action in enumerate(contestants):
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < seconds:
                action(count % COUNT)
                count += 1
            if turn:  # the first warms up
                best[place] = max(best[place], count / (time.perf_counter() - started))
    return best


def opened(config: dict[str, Any]) -> Pairs:
    """The pairs of a configuration."""
    return open_pairs(validated(PairsConfig, config))


def throughput(folder: Path, seconds: float) -> list[Measurement]:
    """Readers on photographs, and modalities from files."""
    found = []
    photos, depths, sounds = photographs(folder), depth_maps(folder), clips(folder)
    image = parse_modality({"modality": "image", "size": SIZE, "interpolation": "bicubic"})
    for name, config in readers(folder, photos).items():
        items = [pair.target for pair in opened(config)]
        if name == "HDF5":
            with h5py.File(folder / "pairs.h5") as file:
                data = file["target"]
                ours, bare = turns([lambda i: image.decode(items[i]), lambda i: bare_array(data[i])], seconds)  # type: ignore[arg-type]  # noqa: B023
        else:
            ours, bare = turns([lambda i: image.decode(items[i]), lambda i: bare_photo(photos[i])], seconds)  # type: ignore[arg-type]  # noqa: B023
        found.append(at_least(f"image, {name}", ours, bare, "items/s", 0.9))
    depth = parse_modality({"modality": "depth", "size": SIZE})
    ours, bare = turns([lambda i: depth.decode(depths[i]), lambda i: bare_depth(depths[i])], seconds)
    found.append(at_least("depth, files, holes filled", ours, bare, "items/s", 0.9))
    audio = parse_modality({"modality": "audio", "seconds": 2.0})
    ours, bare = turns([lambda i: audio.decode(sounds[i]), lambda i: bare_audio(sounds[i])], seconds)
    found.append(at_least("audio, files, spectrogram", ours, bare, "items/s", 0.9))
    return found


def waiting(folder: Path, epochs: int) -> list[Measurement]:
    """The share of a distillation's steps that is spent waiting for data: items in memory, and read in each step."""
    found = []
    pairs = opened({"manifest": str(folder / "pairs.csv")})
    modality = parse_modality({"modality": "image", "size": 64, "channels": 1, "interpolation": "bilinear",
                               "mean": [0.5], "std": [0.25]})  # fmt: skip
    embeddings = torch.randn(len(pairs), 1280, generator=torch.Generator().manual_seed(0))
    whole = Items.of(pairs, range(len(pairs)), "target", modality)
    from crossdistill.pairs import items as module

    limit, module.CACHE_BYTES = module.CACHE_BYTES, 0
    from_files = Items.of(pairs, range(len(pairs)), "target", modality)
    module.CACHE_BYTES = limit
    real = loop.load_batches
    for name, items, workers in (("in memory", whole, 0), ("from files, 1 process", from_files, 1)):
        spent = [0.0]

        def timed(*arguments: Any, spent: list[float] = spent) -> Any:
            batches = real(*arguments)
            while True:
                started = time.perf_counter()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                spent[0] += time.perf_counter() - started
                yield batch

        loop.load_batches = timed  # type: ignore[assignment]
        student = build_student(StudentConfig(backbone="resnet18"), modality, 1280)
        started = time.perf_counter()
        config = TrainConfig(epochs=epochs, batch_size=64, workers=workers)
        distil(student, items, embeddings, torch.arange(len(pairs)), CMCD(), config)
        loop.load_batches = real
        share = spent[0] / (time.perf_counter() - started)
        found.append(below(f"share of a step that waits for data, {name}", share, 0.03, "of the time"))
    return found


def large_manifest(folder: Path) -> list[Measurement]:
    """50,000 pairs in 100 folders, opened in a process of its own with splits made."""
    rows = ["source,target,label,group"]
    for side in ("s", "t"):
        for part in range(50):
            (folder / f"large/{side}/{part}").mkdir(parents=True)
    for index in range(50_000):
        names = [f"{side}/{index % 50}/{index:06}.png" for side in ("s", "t")]
        for name in names:
            (folder / "large" / name).touch()
        rows.append(f"{names[0]},{names[1]},c{index % 40},g{index // 5}")
    (folder / "large/pairs.csv").write_text("\n".join(rows))
    text = (
        "import sys, time; from pathlib import Path; from crossdistill.pairs import open_pairs; "
        "started = time.perf_counter(); "
        "open_pairs(sys.argv[1]); print(time.perf_counter() - started, "
        "int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) / 1024)"
    )
    seconds, memory = [], []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", text, str(folder / "large/pairs.csv")], check=True,
                              capture_output=True, text=True)  # fmt: skip
        first, second = done.stdout.split()
        seconds.append(float(first))
        memory.append(float(second))
    return [
        below("50,000 pairs of a manifest opened", min(seconds), 2.0, "s"),
        below("memory of that process", max(memory), 500.0, "MiB"),
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shutil.rmtree(WORK, ignore_errors=True)
    for name in ("photo", "depth", "audio"):
        (WORK / name).mkdir(parents=True)
    measurements = []
    parts: list[Callable[[], list[Measurement]]] = [
        lambda: throughput(WORK, 0.1 if arguments.quick else 1.0),
        lambda: waiting(WORK, 3 if arguments.quick else 20),
        lambda: large_manifest(WORK),
    ]
    for part in parts:
        for measurement in part():
            measurement.show(arguments.json)
            measurements.append(measurement)
    shutil.rmtree(WORK)
    if not arguments.json:
        show_table(measurements)
    if not arguments.quick:
        save("loading", {"measurements": [vars(measurement) for measurement in measurements]})


if __name__ == "__main__":
    main()
