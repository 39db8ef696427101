"""One configuration on one, two and three processes: the same curve and the same results; and what ends them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

WORKER = Path(__file__).with_name("many_worker.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("many")


@pytest.fixture(scope="module")
def config(manifest: Path, folder: Path) -> Path:
    """Two students with whole-batch statistics, views, gradient accumulation and every kind of result."""
    settings: dict[str, Any] = {
        "pairs": str(manifest),
        "source": {"modality": "image", "size": 32},
        "target": {"modality": "image", "size": 32, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random"},
        "student": {"backbone": "test_convnext"},
        "baselines": ["l2"],
        "views": {"count": 2},
        "bank": {"shard_rows": 64},
        "train": {"epochs": 3, "batch_size": 11, "accumulate": 2, "lr": 3e-4, "log_every": 1, "device": "cpu"},
        "evaluate": {
            "protocols": ["knn", "linear", "retrieval", "zero_shot", "fine_tune"], "shots": [2], "draws": 2,
            "fine_tune": {"epochs": 1}, "supervised_shots": False, "supervised": {"epochs": 1},
        },
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings | {"out": str(folder / "unused")}))
    return path


def start(processes: int, *arguments: str, restarts: int = 0, **environment: str) -> subprocess.Popen[str]:
    launcher = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0",
        "--max-restarts", str(restarts), "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
    ]  # fmt: skip
    command = [*(launcher if processes > 1 else [sys.executable]), str(WORKER), *arguments]
    return subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def run(processes: int, *arguments: str, **options: Any) -> tuple[int, str]:
    """Exit code and what was said on standard error."""
    process = start(processes, *arguments, **options)
    said = end_of(process, 90)
    return process.returncode, said


def end_of(process: subprocess.Popen[str], seconds: float) -> str:
    """What a launcher had said in the end; one that hangs is stopped with its ranks, which the next test would share
    the processors with."""
    try:
        said, on_error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun hands it on
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    return said if on_error is None else on_error


def losses(out: Path, kind: str = "step") -> list[float]:
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == kind]


@pytest.fixture(scope="module")
def alone(config: Path, folder: Path) -> Path:
    out = folder / "one"
    code, said = run(1, "run", str(config), f"out={out}")
    assert code == 0, said
    return out


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_do_what_one_does(config: Path, folder: Path, alone: Path, processes: int) -> None:
    out = folder / f"of-{processes}"
    code, said = run(processes, "run", str(config), f"out={out}")
    assert code == 0, said
    assert "Warning" not in said
    assert losses(out) == pytest.approx(losses(alone), abs=1e-5)
    assert losses(out, "epoch") == pytest.approx(losses(alone, "epoch"), abs=1e-5)
    theirs, ours = (json.loads((place / "metrics.json").read_text()) for place in (alone, out))
    for expected, found in zip(theirs["outcomes"], ours["outcomes"], strict=True):
        assert found["name"] == expected["name"]
        assert {name: value["value"] for name, value in found["metrics"].items()} == pytest.approx(
            {name: value["value"] for name, value in expected["metrics"].items()}, abs=1e-9
        )
    bank = [load_file(place / "bank" / "embeddings.safetensors")["embeddings"] for place in (alone, out)]
    assert torch.equal(*bank)
    assert (out / "report.html").is_file()


def test_whole_batch_statistics_and_fsdp(config: Path, folder: Path) -> None:
    """Batch normalisation over the ranks; rounding grows through Adam's first steps, so that the tolerance is wider."""
    settings = ["student.backbone=test_resnet", "train.accumulate=1", "train.batch_size=24", "train.lr=1.0e-4",
                "baselines=[]", "views.count=0"]  # fmt: skip
    outs = [folder / name for name in ("norm-1", "norm-2", "norm-fsdp")]
    for processes, out, extra in zip((1, 2, 2), outs, ([], [], ["train.parallel=fsdp"]), strict=True):
        code, said = run(processes, "distill", str(config), f"out={out}", *settings, *extra)
        assert code == 0, said
    assert losses(outs[1])[0] == pytest.approx(losses(outs[0])[0], abs=1e-5)
    assert losses(outs[1]) == pytest.approx(losses(outs[0]), abs=1e-3)
    assert losses(outs[2]) == pytest.approx(losses(outs[1]), abs=1e-4)
    students = [load_file(out / "student" / "model.safetensors") for out in outs]
    assert all(student.keys() == students[0].keys() for student in students)
    for name, value in students[1].items():
        torch.testing.assert_close(students[2][name], value, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_killed_rank_ends_all_and_the_run_goes_on_to_the_same_bits(config: Path, folder: Path, parallel: str) -> None:
    settings = ["baselines=[]", "views.count=0", "train.checkpoint_every=1", f"train.parallel={parallel}"]
    whole, cut, elastic = (folder / f"{name}-{parallel}" for name in ("whole", "cut", "elastic"))
    assert run(2, "distill", str(config), f"out={whole}", *settings)[0] == 0
    code, said = run(2, "distill", str(config), f"out={cut}", *settings, FAULT="kill:1:9")
    assert code != 0
    assert re.search(r"process 1 of 2 has ended without a word|Signal 9 \(SIGKILL\)", said)
    assert said.count("error:") <= 1
    code, said = run(2, "distill", str(config), f"out={cut}", *settings)
    assert code == 0, said
    code, said = run(2, "distill", str(config), f"out={elastic}", *settings, restarts=1, FAULT="kill:0:9")
    assert code == 0, said
    weights = [(out / "student" / "model.safetensors").read_bytes() for out in (whole, cut, elastic)]
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.slow
def test_a_checkpoint_serves_any_number_of_processes(config: Path, folder: Path) -> None:
    """Spread over two ranks or whole on one, and while a part of the network has no optimiser state yet."""
    settings = ["baselines=[]", "views.count=0", "train.checkpoint_every=1", "train.accumulate=1",
                "train.parallel=fsdp", "train.freeze=[backbone.*]", "train.freeze_epochs=2"]  # fmt: skip
    whole = folder / "whole-any"
    assert run(1, "distill", str(config), f"out={whole}", *settings)[0] == 0
    single = {"RANK": "0", "TORCHELASTIC_RESTART_COUNT": "0"}
    for before, after, more in ((2, 2, {}), (2, 1, {}), (1, 2, single)):
        cut = folder / f"any-{before}-{after}"
        code, _ = run(before, "distill", str(config), f"out={cut}", *settings, FAULT="kill:0:5", **more)
        assert code != 0
        code, said = run(after, "distill", str(config), f"out={cut}", *settings)
        assert code == 0, said
        assert losses(cut) == pytest.approx(losses(whole), abs=1e-4)


@pytest.mark.slow
def test_fsdp_leaves_what_is_trained_beside_the_encoder_on_every_rank(config: Path, folder: Path) -> None:
    settings = ["baselines=[]", "views.count=0", "train.accumulate=1", "train.clip_norm=0.5", "objective=crd"]
    outs = [folder / f"beside-{name}" for name in ("1", "fsdp")]
    for processes, out, extra in zip((1, 2), outs, ([], ["train.parallel=fsdp"]), strict=True):
        code, said = run(processes, "distill", str(config), f"out={out}", *settings, *extra)
        assert code == 0, said
    assert losses(outs[1]) == pytest.approx(losses(outs[0]), abs=1e-3)


@pytest.mark.slow
def test_parts_of_uneven_shares_normalise_together(config: Path, folder: Path) -> None:
    settings = ["baselines=[]", "views.count=0", "train.accumulate=1", "student.backbone=test_resnet",
                "train.batch_size=5", "train.embed_at_once=2", "train.batch_norm=per_part"]  # fmt: skip
    code, said = run(2, "distill", str(config), f"out={folder / 'uneven'}", *settings)
    assert code == 0, said


@pytest.mark.slow
def test_labels_too_few_to_share_out_are_learnt_by_one(config: Path, folder: Path) -> None:
    settings = ["baselines=[]", "views.count=0", "evaluate.protocols=[fine_tune]", "evaluate.fine_tune.batch_size=2",
                "evaluate.controls=[]", "train.epochs=1"]  # fmt: skip
    found = []
    for processes in (1, 3):
        out = folder / f"few-{processes}"
        code, said = run(processes, "run", str(config), f"out={out}", *settings)
        assert code == 0, said
        found.append(json.loads((out / "metrics.json").read_text())["outcomes"][0]["metrics"]["fine_tune"]["value"])
    assert found[1] == pytest.approx(found[0], abs=0.1)


@pytest.mark.slow
def test_machines_meet_again_after_a_restart(config: Path, folder: Path) -> None:
    """Two launchers on one machine: only the one whose process died counts a restart."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    out = folder / "machines"
    settings = ["distill", str(config), f"out={out}", "baselines=[]", "views.count=0", "train.checkpoint_every=1"]
    launchers = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts",
             "2", "--rdzv-id", "7", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}",
             "--rdzv-conf", f"is_host={int(node == 0)}", str(WORKER), *settings],
            env={**os.environ, "OMP_NUM_THREADS": "1", "FAULT": "kill:1:4", "CROSSDISTILL_RANK_TIMEOUT": "60",
                 "KILL_ONCE": str(folder / "machine-died")},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        for node in range(2)
    ]  # fmt: skip
    said = [end_of(launcher, 240) for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], "\n".join(said)
    assert (folder / "machine-died").is_file()
    assert (out / "student" / "model.safetensors").is_file()


def test_what_is_not_finite_on_one_rank_is_skipped_on_all(config: Path, folder: Path) -> None:
    out = folder / "nan"
    code, said = run(2, "distill", str(config), f"out={out}", "baselines=[]", "views.count=0", FAULT="nan:1:3")
    assert code == 0, said
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "skip"] == [2]  # the third batch is in the second step
    assert all(bool(torch.isfinite(value).all()) for value in load_file(out / "student" / "model.safetensors").values())


def test_a_mistake_is_told_once_and_names_the_process(config: Path, folder: Path) -> None:
    code, said = run(2, "distill", str(config), f"out={folder / 'wrong'}", "train.lr=high")
    assert code != 0
    assert said.count("A setting is wrong") == 1
    assert re.search(r"error \(process [01] of 2, on .*\): A setting is wrong", said)


def test_sigterm_leaves_a_checkpoint(config: Path, folder: Path) -> None:
    out = folder / "term"
    process = start(2, "distill", str(config), f"out={out}", "train.epochs=400", "baselines=[]", "views.count=0")
    deadline = time.monotonic() + 120
    while not list((out / "checkpoints").rglob("*.sha256")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)  # torchrun hands it on
    said = end_of(process, 60)
    assert process.returncode != 0
    assert said.count("run the same command again: it goes on from here") == 1
    before = len(losses(out, "epoch"))
    assert 0 < before < 400
