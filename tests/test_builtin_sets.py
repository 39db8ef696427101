"""What every built-in set has in common, and the command that builds them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict
from typer.testing import CliRunner

from crossdistill.cli.app import app
from crossdistill.errors import ConfigError, MissingDependencyError, PairsError
from crossdistill.modalities import parse_modality
from crossdistill.modalities.image import Image
from crossdistill.pairs import Licence, Pair, open_pairs
from crossdistill.pairs.builtin import builtin_set, known_sets, open_builtin
from crossdistill.pairs.making.build import BuiltinSet, Site, build_set, is_built
from crossdistill.pipeline.config import load_config

# Not those of a package of its own, whose modality is there where it is installed: tests/documentation runs them.
EXAMPLES = sorted(
    path for path in (Path(__file__).parents[1] / "examples").rglob("*.yaml")
    if not (path.parent / "pyproject.toml").is_file()
)  # fmt: skip


@pytest.mark.parametrize("name", known_sets())
def test_every_set_says_what_it_is(name: str) -> None:
    chosen = builtin_set(name)
    assert chosen.name == name
    assert chosen.licence.name
    assert chosen.licence.attribution
    assert chosen.licence.url.startswith("https://")
    chosen.options()  # all options have defaults
    for section in (chosen.source, chosen.target):
        parse_modality(section)
    assert chosen.package is None or chosen.package.name in chosen.package.fetch


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_valid_configuration(path: Path) -> None:
    config = load_config(path)
    if config.pairs.builtin is not None:
        assert config.target.modality == builtin_set(config.pairs.builtin).target["modality"]


def test_every_set_has_an_example() -> None:
    shown = {
        yaml.safe_load(path.read_text())["pairs"].get("builtin") for path in EXAMPLES if path.parent.name == "sets"
    }
    assert shown | {"emoji"} == set(known_sets())


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    count: int = 70


def draw(folder: Path, options: Options, index: int) -> list[Pair]:
    (folder / "log").mkdir(exist_ok=True)
    (folder / "log" / f"{index}-{len(list((folder / 'log').glob(f'{index}-*')))}").touch()
    if index == 60 and (folder.parent / "stop").is_file():
        raise KeyboardInterrupt
    for side in ("source", "target"):
        Image.write_fake(folder / side / f"{index}.png", index % 3, index, rich=side == "source")
    name = f"{index}.png"
    return [Pair(source=folder / "source" / name, target=folder / "target" / name, label=str(index % 3))]


def build(site: Site[Options]) -> Sequence[Pair]:
    return site.each("drawing", draw, range(site.options.count))


TOY = BuiltinSet(
    name="toy", summary="a set", licence=Licence(name="CC0", attribution="us", url="https://example.org"), version="1",
    build=build, options=Options, distributions=("numpy",),
)  # fmt: skip


def test_an_interrupted_build_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        build_set(TOY, tmp_path / "toy", Options(), None, 1)
    assert not is_built(tmp_path / "toy", TOY.identity(Options()))
    (tmp_path / "stop").unlink()
    build_set(TOY, tmp_path / "toy", Options(), None, 1)
    runs = [path.name for path in (tmp_path / "toy" / "log").iterdir()]
    assert sum(name.startswith("5-") for name in runs) == 1
    assert sum(name.startswith("60-") for name in runs) == 2
    pairs = open_pairs(tmp_path / "toy" / "manifest.csv")
    assert len(pairs) == 70
    assert pairs.name == "toy"
    assert pairs.licence == TOY.licence
    about = json.loads((tmp_path / "toy" / "dataset.json").read_text())
    assert about["options"] == {"count": 70}
    assert not (tmp_path / "toy" / ".parts").exists()


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    build_set(TOY, tmp_path / "toy", Options(count=3), None, 1)
    with pytest.raises(PairsError, match=r"another data set(.|\n)*options"):
        is_built(tmp_path / "toy", TOY.identity(Options(count=4)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(PairsError, match="not empty"):
        build_set(TOY, tmp_path / "other", Options(), None, 1)
    (tmp_path / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        build_set(TOY, tmp_path / "begun", Options(), None, 1)
    with pytest.raises(PairsError, match="Another set was begun"):
        build_set(TOY, tmp_path / "begun", Options(count=4), None, 1)


def test_versions_of_packages_are_part_of_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = TOY.identity(Options())
    monkeypatch.setattr("crossdistill.pairs.making.build.version", lambda name: "0.0")
    assert TOY.identity(Options()) != before
    missing = BuiltinSet(**{**vars(TOY), "distributions": ("no-such-package",), "extra": "sets"})
    monkeypatch.undo()
    with pytest.raises(MissingDependencyError, match=r"no-such-package(.|\n)*crossdistill\[sets\]"):
        missing.identity(Options())


class TestCommand:
    def test_builds_with_options_and_says_how_it_is_used(self, tmp_path: Path) -> None:
        out = tmp_path / "dial"
        done = CliRunner().invoke(app, ["data", "build", "dial", "--out", str(out), "pairs=40", "keep=0.5", "side=32"])
        assert done.exit_code == 0
        assert "40 rows, 10 classes" in done.stdout
        assert "target: {modality: image, size: 64, channels: 1}" in done.stdout
        assert len(open_pairs(out / "manifest.csv")) == 40

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (["dial", "pairs"], ConfigError, "key=value"),
            (["dial", "pears=3"], ConfigError, "pairs"),
            (["dail"], ConfigError, "did you mean 'dial'"),
            (["stamps-audio", "--from", "none.deb"], PairsError, "apt-get download tuxpaint-stamps-default"),
            (["stamps-audio"], PairsError, "--from FILE"),
        ],
    )
    def test_refuses(self, tmp_path: Path, arguments: list[str], error: type[Exception], message: str) -> None:
        done = CliRunner().invoke(app, ["data", "build", "--out", str(tmp_path / "out"), *arguments])
        assert isinstance(done.exception, error)
        assert message in str(done.exception)
        assert not (tmp_path / "out").exists()

    def test_lists_every_set(self) -> None:
        done = CliRunner().invoke(app, ["data", "list"])
        assert done.exit_code == 0
        for name in (*known_sets(), "nyu-depth-v2", "sketchy"):
            assert f"  {name}  " in done.stdout

    def test_a_built_set_is_not_built_again(self, tmp_path: Path) -> None:
        folder = tmp_path / "dial"
        open_builtin("dial", folder, options={"pairs": 20, "side": 32})
        before = (folder / "manifest.csv").stat().st_mtime_ns
        open_builtin("dial", folder, options={"pairs": 20, "side": 32})
        assert (folder / "manifest.csv").stat().st_mtime_ns == before
