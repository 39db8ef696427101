"""Published models: written, read back by us and by timm, with a card that the Hub parses and that hides nothing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard

import crossdistill
from crossdistill import CrossModalModel, errors
from crossdistill.cli import publish as cli_publish
from crossdistill.cli.app import main
from crossdistill.encoders import Encoder
from crossdistill.hub import findings, save_pretrained, saving
from crossdistill.hub.claiming import NOTE
from crossdistill.hub.facts import Facts, facts_of
from crossdistill.hub.licences import conditions, front_matter
from crossdistill.hub.places import without_places
from crossdistill.hub.upload import plan_upload, upload
from crossdistill.modalities.image import Image
from crossdistill.pipeline import make_config, run
from crossdistill.pipeline.folder import RunFolder


def call(*arguments: object) -> int:
    """Runs the command in this process; returns its exit code."""
    sys.argv = ["crossdistill", *map(str, arguments)]
    with pytest.raises(SystemExit) as caught:
        main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


def settings(manifest: Path, out: Path, channels: int = 1) -> dict[str, Any]:
    return {
        "pairs": str(manifest),
        "source": {"size": 32},
        "target": {"size": 32, "channels": channels},
        "teacher": {"backbone": "test_resnet", "weights": "random"},
        "student": {"backbone": "test_resnet"},
        "train": {"epochs": 1, "batch_size": 16},
        "evaluate": {
            "protocols": ["retrieval", "zero_shot"], "shots": [], "controls": ["random_student", "teacher_on_target"],
        },
        "out": str(out),
    }  # fmt: skip


@pytest.fixture(scope="module")
def finished(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(settings(manifest, tmp_path_factory.mktemp("hub") / "polygons"))


@pytest.fixture(scope="module")
def published(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "polygons"
    return crossdistill.load(finished.root).save_pretrained(out, licence="Apache 2.0", repository="someone/polygons")


def pictures(channels: int = 1) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 40) if channels == 1 else (40, 40, 3), dtype=np.uint8) for _ in range(3)]


def test_what_is_read_back_embeds_the_same(finished: RunFolder, published: Path) -> None:
    before, after = crossdistill.load(finished.root), crossdistill.from_pretrained(published)
    for side in ("target", "source"):
        np.testing.assert_array_equal(before.embed(pictures(), side), after.embed(pictures(), side))
    assert after.folder.student.is_dir()
    np.testing.assert_array_equal(
        crossdistill.load(published).embed(pictures()), CrossModalModel.from_pretrained(published).embed(pictures())
    )


@pytest.mark.parametrize(("backbone", "channels"), [("test_resnet", 1), ("test_resnet", 3), ("test_vit", 1)])
def test_timm_gives_the_same_features(backbone: str, channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = 160 if backbone == "test_vit" else 32
    modality = Image(
        size=size, channels=channels, mean=(0.4,) * channels, std=(0.2,) * channels, interpolation="bicubic"
    )  # type: ignore[arg-type]
    options = {"img_size": size} if backbone == "test_vit" else {}
    module = timm.create_model(backbone, num_classes=0, in_chans=channels, **options)
    encoder = Encoder.from_module(module, modality)
    encoder.architecture = type(encoder.architecture)(**{**encoder.architecture.to_json(), "backbone": backbone})
    model = CrossModalModel(RunFolder(tmp_path / "none"), {"target": encoder}, torch.device("cpu"))
    model.save_pretrained(tmp_path / "model", licence="mit")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    items = torch.rand(2, channels, size, size)
    with torch.no_grad():
        assert torch.equal(loaded(items), encoder.features(items))
    assert timm.data.resolve_data_config(model=loaded)["mean"] == [0.4] * channels
    described = json.loads((tmp_path / "model" / "config.json").read_text())
    assert described["architecture"] == backbone
    assert described["num_classes"] == 0
    assert "tag" not in described["pretrained_cfg"]


def test_timm_takes_it_from_the_hubs_cache(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = hub_cache(published, tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    loaded = timm.create_model("hf-hub:someone/polygons", pretrained=True, cache_dir=str(cache)).eval()
    encoder = crossdistill.load(published).encoder("target")
    items = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(items), encoder.features(items))


def hub_cache(published: Path, tmp_path: Path) -> Path:
    """A cache of the Hub's client, as a download of ``someone/polygons`` leaves it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    root = tmp_path / "cache" / "models--someone--polygons"
    shutil.copytree(published, root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    return tmp_path / "cache"


def test_by_name_from_the_hubs_cache(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = hub_cache(published, tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    model = crossdistill.from_pretrained("someone/polygons", cache_dir=cache)
    np.testing.assert_array_equal(model.embed(pictures()), crossdistill.load(published).embed(pictures()))
    with pytest.raises(errors.EncoderError, match="cannot be fetched"):
        crossdistill.from_pretrained("someone/other", cache_dir=cache)


def test_a_download_asks_for_our_files_alone(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(published)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    crossdistill.from_pretrained("someone/polygons", revision="v1")
    assert asked["name"] == "someone/polygons"
    assert asked["revision"] == "v1"
    assert "student/model.safetensors" in asked["allow_patterns"]
    assert not any("*" in pattern or pattern.endswith((".bin", ".pt")) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("./missing", "RunFolderError"), ("/missing", "RunFolderError"), ("../../etc", "RunFolderError"),
     ("a/b/c", "RunFolderError"), (Path("missing"), "RunFolderError"), ("no name!/x", "ConfigError"),
     ("alone", "ConfigError"), ("a/..", "ConfigError")],
)  # fmt: skip
def test_what_is_no_name_is_refused(
    name: str | Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(getattr(errors, kind)):
        crossdistill.from_pretrained(name)


def changed(published: Path, place: Path, **index: Any) -> Path:
    """A copy of the published model with another index."""
    shutil.copytree(published, place)
    kept = json.loads((place / "crossdistill.json").read_text())
    (place / "crossdistill.json").write_text(json.dumps({**kept, **index}))
    return place


@pytest.mark.parametrize("name", ["../outside", "/etc", "student/../..", "C:\\x", "other", 3, None])
def test_a_name_that_leaves_the_folder_is_refused(name: Any, published: Path, tmp_path: Path) -> None:
    shutil.copytree(published / "student", tmp_path / "outside")
    place = changed(published, tmp_path / "model", encoders={"target": name})
    with pytest.raises(errors.RunFolderError, match=r"outside of its folder|unknown encoder"):
        crossdistill.from_pretrained(place)


def test_an_encoder_that_the_index_does_not_name_is_not_opened(
    finished: RunFolder, published: Path, tmp_path: Path
) -> None:
    """Such as the teacher of an earlier model, which is still there."""
    place = changed(published, tmp_path / "model", encoders={"target": "student"})
    for opened in (crossdistill.from_pretrained(place), crossdistill.load(place)):
        assert not opened.has("source")
        with pytest.raises(errors.RunFolderError, match="no copy of its teacher"):
            opened.embed(pictures(), "source")


def test_only_safetensors_are_read(published: Path, tmp_path: Path) -> None:
    place = changed(published, tmp_path / "model")
    (place / "student" / "model.safetensors").unlink()
    torch.save({}, place / "student" / "pytorch_model.bin")
    with pytest.raises(errors.EncoderError, match="form that is not read") as caught:
        crossdistill.from_pretrained(place)
    assert "pytorch_model.bin" in str(caught.value)
    assert "may hold code" in str(caught.value)


def broken(results: dict[str, Any], change: str) -> dict[str, Any]:
    if change == "outcomes":
        return {**results, "outcomes": []}
    if change == "splits":
        return {**results, "pairs": {**results["pairs"], "splits": {"train": 3}}}
    if change == "metrics":
        return {**results, "outcomes": [{**results["outcomes"][0], "metrics": {"linear_all": {"value": "high"}}}]}
    return {name: value for name, value in results.items() if name != change}


@pytest.mark.parametrize("change", ["pairs", "outcomes", "comparisons", "splits", "metrics"])
def test_broken_results_of_somebodys_model_are_told(change: str, published: Path, tmp_path: Path) -> None:
    kept = json.loads((published / "crossdistill.json").read_text())["results"]
    place = changed(published, tmp_path / "model", results=broken(kept, change))
    model = crossdistill.from_pretrained(place)  # embeds all the same
    with pytest.raises(errors.RunFolderError, match="recorded of the run is damaged") as caught:
        model.save_pretrained(tmp_path / "again", licence="mit")
    assert "results" in caught.value.details["where"]
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    "index",
    [{"configuration": {"train": {}}}, {"configuration": [1]}, {"environment": {"packages": 3}}, {"data": {"name": []}},
     {"results": 3}, {"configuration": {"train": {}, "objective": {"terms": 3}}}],
)  # fmt: skip
def test_other_broken_records_are_told(index: dict[str, Any], published: Path, tmp_path: Path) -> None:
    model = crossdistill.from_pretrained(changed(published, tmp_path / "model", **index))
    with pytest.raises(errors.RunFolderError, match="recorded of the run is damaged"):
        model.save_pretrained(tmp_path / "again", licence="mit")


@pytest.mark.parametrize(
    ("index", "message"),
    [({"format": 99}, "another format"), ({"encoders": {}}, "no student"), ({"encoders": []}, "no student"),
     ({"encoders": {"target": "student", "third": "third"}}, "unknown encoder")],
)  # fmt: skip
def test_a_damaged_index_is_told(index: dict[str, Any], message: str, published: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.RunFolderError, match=message):
        crossdistill.from_pretrained(changed(published, tmp_path / "model", **index))


def test_changed_weights_are_refused(published: Path, tmp_path: Path) -> None:
    place = changed(published, tmp_path / "model")
    weights = bytearray((place / "student" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (place / "student" / "model.safetensors").write_bytes(weights)
    with pytest.raises(errors.RunFolderError, match="have been changed"):
        crossdistill.from_pretrained(place)


def test_a_run_folder_is_pointed_to_load(finished: RunFolder) -> None:
    with pytest.raises(errors.RunFolderError) as caught:
        crossdistill.from_pretrained(finished.root)
    assert "crossdistill.load" in str(caught.value)


def test_the_card_is_one_that_the_hub_reads(finished: RunFolder, published: Path) -> None:
    card = ModelCard.load(published / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "crossdistill"
    assert card.data.pipeline_tag == "image-feature-extraction"
    assert {"timm", "cross-modal", "arxiv:2405.03355"} <= set(card.data.tags)
    metrics = json.loads(finished.metrics.read_text())["outcomes"][0]["metrics"]
    results = {each.metric_name.partition(" (")[0]: each for each in card.data.eval_results}
    found = results["R@1, target to source"]
    assert found.metric_value == metrics["target_to_source_r@1"]["value"]
    assert f"{metrics['target_to_source_r@1']['low']:g} to" in found.metric_name
    assert found.metric_type == "recall_at_1"
    assert len(results) == len(metrics)


def test_the_card_says_what_it_has_to(finished: RunFolder, published: Path) -> None:
    text = (published / "README.md").read_text()
    kept = json.loads(finished.metrics.read_text())
    assert 'crossdistill.from_pretrained("someone/polygons")' in text
    assert 'timm.create_model("hf-hub:someone/polygons", pretrained=True)' in text
    assert f"{kept['pairs']['splits']['train']['pairs']} training pairs" in text
    assert "The licence of the data is not known" in text
    assert "One run with one seed" in text
    value = kept["outcomes"][0]["metrics"]["zero_shot"]["value"]
    assert f"{100 * value:.1f} (" in text
    assert str(finished.root.parent) not in text  # nothing of the machine it was made on
    everything = (published / "crossdistill.json").read_text()
    assert str(finished.root.parent) not in everything
    assert str(Path.home()) not in everything


def data_of(text: str) -> str:
    return text.partition("## Data")[2].partition("## Training")[0]


def test_a_run_that_was_not_measured_says_what_it_was_trained_on(
    finished: RunFolder, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = RunFolder(tmp_path / "run")
    shutil.copytree(finished.root, twin.root)
    twin.metrics.unlink()
    content = yaml.safe_load(twin.config.read_text())
    licensed = tmp_path / "pairs" / "pairs.csv"
    shutil.copytree(manifest.parent, licensed.parent)
    about = {"name": "toys", "licence": {"name": "CC BY-NC 4.0", "attribution": "Somebody", "url": "https://x.example"}}
    (licensed.parent / "dataset.json").write_text(json.dumps(about))
    content["pairs"]["manifest"] = str(licensed)
    twin.config.write_text(yaml.safe_dump(content))
    counts = json.loads(finished.metrics.read_text())["pairs"]["splits"]
    said = data_of((save_pretrained(crossdistill.load(twin.root), tmp_path / "a") / "README.md").read_text())
    assert f"toys: {counts['train']['pairs']} training pairs" in said
    assert f"in {counts['train']['groups']}, " in said
    assert "CC BY-NC 4.0" in said
    assert "no commercial use" in said
    again = crossdistill.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b", licence="mit")
    assert data_of((again / "README.md").read_text()) == said  # goes along with the model

    shutil.rmtree(licensed.parent)  # the pairs are gone: what the run itself recorded is left
    capsys.readouterr()
    said = data_of((save_pretrained(crossdistill.load(twin.root), tmp_path / "c") / "README.md").read_text())
    assert "licence" in capsys.readouterr().err
    assert f"{counts['train']['pairs']} training pairs" in said
    assert "licence of the data is not known" in said


def test_the_configuration_of_the_card_makes_the_same_run(finished: RunFolder) -> None:
    facts = facts_of(finished)
    assert facts.changed is not None
    assert facts.configuration is not None
    again = make_config(facts.changed).to_dict()
    again["pairs"]["manifest"] = facts.configuration["pairs"]["manifest"]
    assert again == facts.configuration


def results(value: float, low: float, high: float, **others: Any) -> Facts:
    """Facts of a run whose student differs from the teacher on the target by that much."""
    splits = {name: {"pairs": 40, "groups": 20} for name in ("train", "val", "test")}
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6, "items": 40, "draws": 1}
    return Facts(
        results={
            "pairs": {"name": "toys", "splits": splits, "skipped": 2},
            "left_out": {"zero_shot": "there are no labels"},
            "outcomes": [
                {"name": "cmcd", "role": "objective", "description": "", "metrics": {"knn": estimate}},
                {"name": "teacher_on_target", "role": "control", "description": "as it is",
                 "metrics": {"knn": estimate}},
            ],
            "comparisons": [{"metric": "knn", "first": "cmcd", "second": "teacher_on_target",
                             "difference": {"value": value, "low": low, "high": high}}],
            **others,
        }
    )  # fmt: skip


def test_limits_name_the_control_that_wins() -> None:
    said = " ".join(findings.limits(results(-0.1, -0.15, -0.05), teacher=True))
    assert "*teacher_on_target* (as it is) beats the student in k-NN by 10.0 points" in said
    assert "zero shot, as there are no labels" in said
    assert "2 rows were left out" in said
    assert "beats" not in " ".join(findings.limits(results(0.1, 0.05, 0.15), teacher=True))
    assert "**behind** in k-NN" in findings.comparisons(results(-0.1, -0.15, -0.05))[0]
    assert "not told apart in k-NN" in findings.comparisons(results(0.01, -0.05, 0.07))[0]
    assert "The teacher is not part" in findings.limits(Facts(), teacher=False)[0]


@pytest.mark.parametrize(
    ("total", "vacuous", "guessing", "words"),
    [(1.2, True, True, "vacuous"), (0.9, False, True, "no better than guessing"), (0.3, False, False, "at most 0.30")],
)
def test_limits_say_what_is_certified(total: float, vacuous: bool, guessing: bool, words: str) -> None:
    chain = {"total_certified": total, "delta": 0.05, "vacuous": vacuous, "worse_than_guessing": guessing,
             "bounded": "the error", "form": "within", "name": "held out"}  # fmt: skip
    assert words in findings.limits(results(0, -1, 1, certificates=[chain]), teacher=True)[-1]
    assert "No bound" in findings.limits(results(0, -1, 1), teacher=True)[-1]


def test_licences() -> None:
    assert front_matter("CC BY-SA 4.0") == {"license": "cc-by-sa-4.0"}
    assert front_matter("House rules 2") == {"license": "other", "license_name": "house-rules-2"}
    assert front_matter(None) == {"license": "unknown"}
    assert len(conditions("CC BY-SA 4.0")) == 2
    assert conditions("Apache-2.0") == []
    assert "no commercial use" in conditions("cc-by-nc-4.0")


def test_places_of_the_machine_are_cut_down() -> None:
    assert without_places({"a": ["/home/me/x.csv", "C:\\Users\\me\\y", "b/c", 1]}) == {"a": ["x.csv", "y", "b/c", 1]}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("~/data/{000..127}.tar", "{000..127}.tar"), ("~me/x.csv", "x.csv"), ("file:///srv/me/a.tar", "file:a.tar"),
     ("pipe:curl -H 'Authorization: secret' https://x/a.tar", "pipe:(a command)"),
     ("--cache=/home/me/cache and more", "--cache=cache and more"), ("../../Users/me/x.npy", "x.npy"),
     ("hf://me@x/y", "hf://x/y"), ("https://me:secret@host/a.tar?token=1", "https://host/a.tar"),
     ("https://host/home/a.tar", "https://host/home/a.tar"), ("emoji", "emoji"), ("jpg;png", "jpg;png"),
     ("data/{000..127}.tar", "data/{000..127}.tar"), ("s3://bucket/a.tar", "s3://bucket/a.tar")],
)  # fmt: skip
def test_no_text_names_a_home(text: str, wanted: str) -> None:
    assert without_places([text]) == [wanted]


def test_the_home_of_whoever_publishes_is_cut_down_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/mnt/people/me"))
    assert without_places("take=/mnt/people/me/secret/x.csv") == "take=x.csv"


def test_publishing_again_keeps_a_card_that_was_changed(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = crossdistill.load(finished.root)
    place = save_pretrained(model, tmp_path / "model", teacher=False)
    assert "license: unknown" in (place / "README.md").read_text()
    assert "no licence is given" in capsys.readouterr().err
    assert not (place / "teacher").exists()
    with pytest.raises(errors.RunFolderError, match="no copy of its teacher"):
        crossdistill.from_pretrained(place).embed(pictures(), "source")
    save_pretrained(model, place, licence="mit")
    assert "license: mit" in (place / "README.md").read_text()
    assert (place / "teacher" / "encoder.json").is_file()
    (place / "README.md").write_text("mine")
    for _ in range(2):
        save_pretrained(model, place, licence="mit")
        assert (place / "README.md").read_text() == "mine"
        assert "was changed by hand" in capsys.readouterr().err
    with pytest.raises(errors.RunFolderError, match="over itself"):
        crossdistill.from_pretrained(place).save_pretrained(place)
    again = crossdistill.from_pretrained(place).save_pretrained(tmp_path / "again", licence="mit")
    assert "training pairs" in (again / "README.md").read_text()  # what is known of the run goes along


def test_a_card_that_was_changed_by_hand_survives_a_publishing_that_was_killed(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = crossdistill.load(finished.root)
    place = save_pretrained(model, tmp_path / "model", licence="mit")
    (place / "letter.txt").write_text("dear")  # somebody's own, beside a model
    (place / "README.md").write_bytes(b"mine, in Latin-1: \xe9")
    for name in ("save_encoder", "write_timm_form", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(saving, name, killed)
            with pytest.raises(KeyboardInterrupt):
                save_pretrained(model, place, licence="mit")
        assert not (place / "crossdistill.json").is_file()
    for _ in range(2):
        save_pretrained(model, place, licence="mit")
        assert (place / "README.md").read_bytes() == b"mine, in Latin-1: \xe9"
        assert not (place / NOTE).exists()
    assert (place / "letter.txt").is_file()


def test_a_card_of_a_killed_publishing_is_written_anew_unless_it_was_changed_since(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = crossdistill.load(finished.root)
    for changed_since in (False, True):
        place = tmp_path / f"model-{changed_since}"
        with monkeypatch.context() as patch:
            patch.setattr(saving, "write_json", killed)
            with pytest.raises(KeyboardInterrupt):
                save_pretrained(model, place, licence="mit")
        assert "license: mit" in (place / "README.md").read_text()
        if changed_since:
            (place / "README.md").write_text("mine")
        save_pretrained(model, place, licence="apache-2.0")
        assert ((place / "README.md").read_text() == "mine") is changed_since


def killed(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors", "student"])
def test_files_of_the_same_names_are_left_alone(finished: RunFolder, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    with pytest.raises(errors.RunFolderError, match="holds something else"):
        crossdistill.load(finished.root).save_pretrained(tmp_path / "mine")
    assert (tmp_path / "mine" / name).read_text() == "mine"
    assert len(list((tmp_path / "mine").iterdir())) == 1


def test_other_folders_are_left_alone(finished: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(errors.RunFolderError, match="holds something else"):
        crossdistill.load(finished.root).save_pretrained(tmp_path / "mine")
    with pytest.raises(errors.RunFolderError, match="holds something else"):
        crossdistill.load(finished.root).save_pretrained(tmp_path / "mine" / "letter.txt")


class FakeHub:
    """What stands in for the Hub: it notes what it is given."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failure = failure

    def __call__(self, **options: Any) -> FakeHub:
        return self

    def create_repo(self, name: str, **options: Any) -> str:
        if self.failure is not None:
            raise self.failure
        self.calls.append(("create", {"name": name, **options}))
        return f"https://huggingface.co/{name}"

    def upload_folder(self, **options: Any) -> None:
        self.calls.append(("upload", options))


def test_publish_and_push(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    arguments = ["publish", finished.root, "--out", out, "--licence", "mit", "--push", "someone/polygons"]
    hub = FakeHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert call(*arguments) == 2
    assert "not logged in" in capsys.readouterr().err
    assert (out / "README.md").is_file()  # the folder is there all the same

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "secret")
    monkeypatch.setattr(cli_publish, "save_pretrained", lambda *args, **options: out)
    assert call(*arguments) == 2  # nobody to agree
    assert "--yes" in capsys.readouterr().err
    assert hub.calls == []

    (out / "letter.txt").write_text("dear")  # what lies there besides stays at home
    assert call(*arguments, "--yes") == 0
    shown = capsys.readouterr()
    assert "uploaded: https://huggingface.co/someone/polygons" in shown.out
    assert "student/model.safetensors" in shown.err
    (_, created), (_, uploaded) = hub.calls
    assert created["private"] is True
    assert "letter.txt" not in uploaded["allow_patterns"]
    assert "model.safetensors" in uploaded["allow_patterns"]

    assert uploaded["delete_patterns"] == []  # nothing of an earlier model could be left

    crossdistill.load(finished.root).save_pretrained(out, licence="mit", teacher=False)
    assert call(*arguments, "--yes") == 0
    assert hub.calls[-1][1]["delete_patterns"] == ["teacher/encoder.json", "teacher/model.safetensors"]
    assert "removed, where an earlier upload left it: teacher/encoder.json" in capsys.readouterr().err

    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub(ConnectionError("no route")))
    with pytest.raises(errors.StorageError, match="cannot be uploaded") as caught:
        upload(plan_upload(out, "someone/polygons"))
    assert "no route" in str(caught.value)


def test_a_wrong_name_is_told_before_anything_is_written(finished: RunFolder, tmp_path: Path) -> None:
    assert call("publish", finished.root, "--out", tmp_path / "model", "--push", "a/b/c") == 2
    assert not (tmp_path / "model").exists()


def test_an_encoder_that_is_not_timms_has_a_card_without_timm(tmp_path: Path) -> None:
    encoder = Encoder.from_module(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)),
        Image(size=8, channels=1, mean=(0.5,), std=(0.5,), interpolation="bicubic"),
    )
    model = CrossModalModel(RunFolder(tmp_path / "none"), {"target": encoder}, torch.device("cpu"))
    place = model.save_pretrained(tmp_path / "own", licence="mit")
    text = (place / "README.md").read_text()
    assert "timm" not in text
    assert "Nothing has been measured" in text
    with pytest.raises(errors.EncoderError, match="only you can build"):
        crossdistill.from_pretrained(place)
    again = crossdistill.from_pretrained(place, student=encoder)
    np.testing.assert_array_equal(again.embed(pictures()), model.embed(pictures()))


def test_a_publishing_that_was_cut_off_is_no_model_and_can_be_repeated(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = crossdistill.load(finished.root)
    place = save_pretrained(model, tmp_path / "model", licence="mit")
    for name in ("write_timm_form", "write_card", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(saving, name, lambda *args, **options: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                save_pretrained(model, place, licence="mit")
        with pytest.raises(errors.RunFolderError, match="no published model"):
            crossdistill.from_pretrained(place)
    save_pretrained(model, place, licence="mit")
    np.testing.assert_array_equal(crossdistill.from_pretrained(place).embed(pictures()), model.embed(pictures()))
