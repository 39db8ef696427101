"""The whole method in small, with known answers: decoding, training, retrieval, the loss, each device, the disk."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from crossdistill.console import quiet
from crossdistill.doctor.finding import Finding, Section, reason
from crossdistill.errors import CrossDistillError, StorageError, TrainingError
from crossdistill.files import cache_folder, storage_errors

if TYPE_CHECKING:
    import torch

    from crossdistill.encoders import Encoder

_TRAIN, _TEST, _SIDE = 128, 48, 16
_REPORT = "please report this with the output of `crossdistill doctor --json`"


def self_test() -> Section:
    """About ten seconds. Each part says what it found; a part that fails does not end the others."""
    started = time.monotonic()
    try:
        import torch  # noqa: F401
    except Exception as error:  # a broken torch raises anything
        return Section("Self-test", [Finding("all of it", f"needs torch: {reason(error)}", "none")])
    found = []
    parts: list[tuple[str, Callable[[], str]]] = [
        ("decode", _decoding), ("objective", _objective), ("distil", _distillation), ("storage", _storage),
    ]  # fmt: skip
    with quiet(), _undisturbed():
        found += [_tried(name, part) for name, part in parts]
        found += [_tried(f"forward on {device}", lambda device=device: _forward(device)) for device in _devices()]  # type: ignore[misc]
    return Section("Self-test", [*found, Finding("time", f"{time.monotonic() - started:.1f} s")])


def _tried(name: str, part: Callable[[], str]) -> Finding:
    try:
        return Finding(name, part())
    except StorageError as error:
        return Finding(name, f"{error.problem} {error.details.get('where', '')}", "bad",
                       "set CROSSDISTILL_CACHE to another folder", StorageError)  # fmt: skip
    except CrossDistillError as error:
        return Finding(name, error.problem, "bad", error.details.get("fix", _REPORT), type(error))
    except Exception as error:  # whatever it is, it is what this test is for
        return Finding(name, reason(error), "bad", _REPORT, TrainingError)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Leaves torch's random numbers as they were, and computes on one core: for networks this small, more are slower,
    and far slower where others use them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def _require(*, right: bool, problem: str) -> None:
    if not right:
        raise TrainingError(problem, fix=_REPORT)


def _decoding() -> str:
    """A picture whose pixels are known."""
    import numpy as np
    from PIL import Image as Pillow

    from crossdistill.item import MemoryItem
    from crossdistill.modalities.image import Image

    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "PNG")
    decoded = Image(size=24, interpolation="bicubic").decode(MemoryItem("trial.png", stream.getvalue()))
    _require(right=bool((decoded.permute(1, 2, 0).numpy() == pixels).all()), problem="A picture is decoded wrongly.")
    return "a generated PNG, pixel by pixel"


def _objective() -> str:
    """CMC against its definition in plain loops, in double precision."""
    import math

    import torch

    from crossdistill.objectives import CMC

    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(12, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    found = float(CMC(temperature=0.1, symmetric=False)(student, teacher))
    rows = [[float(torch.nn.functional.cosine_similarity(one, other, dim=0)) / 0.1 for other in teacher]
            for one in student]  # fmt: skip
    wanted = sum(math.log(sum(map(math.exp, row))) - row[place] for place, row in enumerate(rows)) / len(rows)
    _require(
        right=abs(found - wanted) < 1e-6 * abs(wanted), problem=f"The CMC loss is {found}, and should be {wanted}."
    )
    return f"CMC {found:.6f}, as by its definition"


def _pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Sources ``(N, 3, S, S)``, and targets ``(N, 1, S, S)`` that show the same in grey and darker."""
    import torch

    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(_TRAIN + _TEST, 3, 4, 4, generator=generator)
    sources = torch.nn.functional.interpolate(coarse, size=(_SIDE, _SIDE), mode="bilinear")
    targets = 0.7 * sources.mean(dim=1, keepdim=True)
    return (255 * sources).to(torch.uint8), (255 * targets).to(torch.uint8)


def _distillation() -> str:
    """A small student of a small teacher: its loss has to fall, and partners have to be found."""
    import torch

    from crossdistill.encoders import StudentConfig, build_student
    from crossdistill.evaluation import embed_items, ranks
    from crossdistill.modalities.image import Image
    from crossdistill.objectives import CMCD
    from crossdistill.pairs.items import Items
    from crossdistill.training import TrainConfig, TrainLog, distil, read_epochs

    sources, targets = _pictures()
    teacher = sources.float().reshape(len(sources), 3, 4, 4, 4, 4).mean(dim=(3, 5)).reshape(len(sources), -1)
    teacher = teacher.reshape(len(sources), 3, 16).mean(dim=1)
    teacher = teacher - teacher[:_TRAIN].mean(dim=0)
    torch.manual_seed(0)
    modality = Image.model_validate({"size": _SIDE, "channels": 1, "interpolation": "bicubic", "augment": _GENTLE})
    student = build_student(StudentConfig(backbone="test_resnet"), modality, 16, targets[:_TRAIN])
    items = Items.of_tensor(targets, student.modality)
    train, test = items.subset(range(_TRAIN)), items.subset(range(_TRAIN, len(items)))
    settings = TrainConfig(epochs=12, batch_size=32, lr=3e-3, device="cpu", log_every=10**9, monitor_every=10**9)
    with tempfile.TemporaryDirectory() as name:
        log = TrainLog(Path(name) / "train.jsonl", "doctor", [])
        distil(student, train, teacher[:_TRAIN], torch.arange(_TRAIN), CMCD(temperature=0.1), settings, log=log)
        losses = [epoch["loss"] for epoch in read_epochs(Path(name) / "train.jsonl")["doctor"]]
    found = ranks(embed_items(student, test, torch.device("cpu"))[0], teacher[_TRAIN:].numpy(),
                  torch.arange(_TEST).numpy(), torch.arange(_TEST).numpy())  # fmt: skip
    share, chance = float((found <= 5).mean()), 5 / _TEST
    _require(
        right=losses[-1] < 0.8 * losses[0], problem=f"The loss does not fall: {losses[0]:.3f} to {losses[-1]:.3f}."
    )
    _require(
        right=share > 2 * chance, problem=f"Partners are not found: R@5 {100 * share:.0f}%, chance {100 * chance:.0f}%."
    )
    seen = f"R@5 {100 * share:.0f}% of {_TEST} unseen, chance {100 * chance:.0f}%"
    return f"loss {losses[0]:.2f} to {losses[-1]:.2f}, {seen}"


_GENTLE = {"flip": 0, "rotate": 0, "translate": 0, "scale": [1, 1], "brightness": 0.05, "contrast": 0.05}


def _small_encoder() -> Encoder:
    import torch

    from crossdistill.encoders import TeacherConfig, build_teacher
    from crossdistill.modalities.image import Image

    torch.manual_seed(0)
    return build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), Image(size=32))


def _storage() -> str:
    """An encoder, written into the cache folder and read back."""
    from crossdistill.encoders import load_encoder, save_encoder
    from crossdistill.encoders.encoder import weights_hash

    encoder, cache = _small_encoder(), cache_folder()
    with storage_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="doctor-", dir=cache))
    try:
        save_encoder(place, encoder, {"stage": "doctor"})
        same = weights_hash(load_encoder(place)) == weights_hash(encoder)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    _require(right=same, problem="An encoder is read back with other weights.")
    return f"an encoder written to {cache} and read back"


def _devices() -> list[str]:
    import torch

    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def _forward(device: str) -> str:
    """The same network on each device gives the same embeddings, but for rounding."""
    import torch

    encoder = _small_encoder().eval()
    items = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(encoder(items), dim=1)
        started = time.monotonic()
        found = torch.nn.functional.normalize(encoder.to(device)(items.to(device)), dim=1).cpu()
        seconds = time.monotonic() - started
    worst = float((found - wanted).abs().max())
    _require(right=worst < 1e-2, problem=f"The network gives other embeddings on {device}: they differ by {worst:.2g}.")
    return f"8 pictures in {1000 * seconds:.0f} ms" + (
        "" if device == "cpu" else f", differs by {worst:.1g} from the CPU"
    )
