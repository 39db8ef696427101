"""The command line as a user meets it: outputs, messages, exit codes, quick help."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from crossdistill import __version__, errors
from crossdistill.cli.app import main
from crossdistill.pipeline import demo_config, run
from crossdistill.pipeline.folder import RunFolder


def call(*arguments: object) -> int:
    """Runs the command in this process; returns its exit code."""
    sys.argv = ["crossdistill", *map(str, arguments)]
    with pytest.raises(SystemExit) as caught:
        main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture(scope="module")
def finished(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A quick run with retrieval alone."""
    return run(
        {
            "pairs": str(manifest),
            "source": {"size": 32},
            "target": {"size": 32, "channels": 1},
            "teacher": {"backbone": "test_resnet", "weights": "random"},
            "student": {"backbone": "test_resnet"},
            "train": {"epochs": 1, "batch_size": 16},
            "evaluate": {"protocols": ["retrieval", "linear"], "shots": [2], "controls": ["random_student"]},
            "out": str(tmp_path_factory.mktemp("cli") / "run"),
        }
    )


def test_version_and_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert __version__ in capsys.readouterr().out
    for command in ("demo", "run", "pretrain", "distill", "evaluate", "report", "embed"):
        assert call(command, "--help") == 0
        assert f"Example: crossdistill {command}" in " ".join(capsys.readouterr().out.split())
    assert call("data", "--help") == 0


def test_help_imports_nothing_heavy() -> None:
    """What keeps `--help` under half a second, checked without a clock."""
    code = (
        "import sys; sys.argv = ['crossdistill', '--help']\n"
        "from crossdistill.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'timm', 'pydantic', 'sklearn', 'plotly', 'kornia'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_run_prints_the_table_and_where_the_report_is(finished: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", finished.config) == 0
    output = capsys.readouterr()
    assert "R@1" in output.out
    assert "random_student" in output.out
    assert output.out.strip().splitlines()[-1] == f"report: {finished.report}"
    assert "nothing to compute" in output.err
    assert "\x1b[" not in output.out + output.err  # plain where there is no terminal


def test_report_and_evaluate(finished: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    finished.report.unlink()
    assert call("report", finished.root) == 0
    assert finished.report.is_file()
    assert call("evaluate", finished.root) == 0
    assert "report:" in capsys.readouterr().out


def test_embed_writes_vectors_that_the_library_gives_too(
    finished: RunFolder, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import crossdistill

    folder, single = manifest.parent / "target", manifest.parent / "source" / "0-0.png"
    out = tmp_path / "vectors.parquet"
    assert call("embed", finished.root, "--modality", "target", folder, single, "--out", out) == 0
    table = pq.read_table(out)
    assert table.num_rows == len(list(folder.iterdir())) + 1
    vectors = np.stack(table["embedding"].to_numpy())
    expected = crossdistill.load(finished.root).embed(table["path"].to_pylist())
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert table.schema.metadata[b"modality"] == b"target"
    assert call("embed", finished.root, "--modality", "source", single, "--out", out) == 0
    assert pq.read_table(out).num_rows == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "none.yaml"], 2, "The configuration is missing"),
        (["run", "{config}", "trian.epochs=1"], 2, "did you mean 'train'"),
        (["run", "{config}", "out={run}", "train.epochs=9"], 6, "different run"),
        (["run", "{config}", "out=fresh", "pairs=none.csv"], 3, "manifest is missing"),
        (["run", "{config}", "out=fresh", "student.backbone=resnet99"], 4, "Unknown backbone"),
        (["run", "{config}", "out=/proc/no"], 7, "cannot be written"),
        (["evaluate", "none"], 6, "no run folder"),
        (["report", "none"], 6, "no results yet"),
        (["embed", "{run}", "--modality", "depth", "x.png", "--out", "x.parquet"], 2, "source or target"),
        (["embed", "{run}", "--modality", "target", "none.png", "--out", "x.parquet"], 3, "none.png"),
        (["embed", "{run}", "--modality", "target", "x.png", "--out", "x.csv"], 2, "NAME.parquet"),
        (["data", "build", "emojis", "--out", "x"], 2, "did you mean 'emoji'"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_a_users_mistake_ends_in_one_message_and_its_code(
    finished: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    if "/proc/no" in arguments[-1] and not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    monkeypatch.chdir(tmp_path)
    filled = [text.format(config=finished.config, run=finished.root) for text in arguments]
    assert call(*filled) == code
    output = capsys.readouterr().err
    assert message in " ".join(output.split())
    assert "Traceback" not in output
    assert not (tmp_path / "fresh").exists()


def test_exit_codes_are_distinct_and_documented() -> None:
    family = [
        value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    codes = {kind.exit_code for kind in family}
    assert len(codes) == len(family)
    documented = (Path(__file__).parents[1] / "docs" / "cli.md").read_text()
    assert all(f"| {code} |" in documented for code in codes)


def test_data_list_names_the_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "list") == 0
    assert "emoji  " in (output := capsys.readouterr().out)
    assert "CC BY-SA 4.0" in output


def test_ctrl_c_leaves_a_run_that_goes_on(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**tiny, "train": {"epochs": 500, "batch_size": 16}, "baselines": []}))
    command = [sys.executable, "-m", "crossdistill", "run", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    checkpoints = tmp_path / "run" / "checkpoints" / "distil-cmcd"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("*.sha256")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Stopped by SIGINT" in output
    assert "run the same command again" in output
    assert "Traceback" not in output
    assert all(path.stat().st_size > 0 for path in checkpoints.glob("*.pt"))
    assert len(list(checkpoints.glob("*.sha256"))) == 2


@pytest.fixture(scope="module")
def emoji_subset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of four classes of the built-in set."""
    from crossdistill.pairs.builtin import open_builtin

    folder = tmp_path_factory.mktemp("emoji")
    pairs = open_builtin("emoji", folder)
    chosen = {"animal-mammal", "clothing", "transport-ground", "food-prepared"}
    assert chosen <= set(pairs.classes)
    assert pairs.licence is not None
    pairs.with_rows(pair for pair in pairs if pair.label in chosen).to_csv(folder / "subset.csv", base=folder)
    return folder / "subset.csv"


class TestDemo:
    """`crossdistill demo` itself, on a part of the emoji and with a short training."""

    def test_its_configuration_is_valid_and_has_the_baseline(self) -> None:
        content = demo_config()
        assert content["pairs"] == "emoji"
        assert content["baselines"] == ["l2"]

    def test_runs_to_its_table(self, emoji_subset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        short = ["train.epochs=1", "evaluate.fine_tune.epochs=1", "evaluate.supervised.epochs=1", "train.batch_size=32"]
        assert call("demo", "--out", tmp_path / "demo", f"pairs={emoji_subset}", *short) == 0
        output = capsys.readouterr().out
        for name in ("cmcd", "l2", "random_student", "teacher_on_target", "teacher_on_source", "supervised"):
            assert name in output
        assert (tmp_path / "demo" / "report.html").is_file()
