"""The three stages end to end on generated pairs: learning, repeating, resuming, and keeping earlier results whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Pillow
from torch import nn

import crossdistill
from conftest import write_pairs
from crossdistill.encoders import Encoder, load_encoder
from crossdistill.errors import (
    ConfigError,
    EncoderError,
    PairsError,
    RunFolderError,
    StoppedError,
    StorageError,
    TrainingError,
)
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMCD, known_objectives
from crossdistill.pipeline import RunFolder, evaluate, load_config, make_config, run, run_stage_one, run_stage_two


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """All three stages on 160 pairs, long enough to learn something."""
    manifest = write_pairs(tmp_path_factory.mktemp("more"), variants=40)
    return run(
        {
            "pairs": {"manifest": str(manifest), "split": {"test": 0.3}},
            "source": {"modality": "image", "size": 32},
            "target": {"modality": "image", "size": 32, "channels": 1},
            "pretrain": {"backbone": "test_resnet", "epochs": 20, "batch_size": 32, "lr": 3e-3},
            "teacher": {"weights": "pretrain"},
            "student": {"backbone": "test_resnet"},
            "baselines": ["cosine"],
            "train": {"epochs": 40, "batch_size": 32, "lr": 3e-3, "monitor_every": 10},
            "evaluate": {
                "protocols": ["knn", "linear", "retrieval", "zero_shot", "fine_tune"],
                "shots": [2],
                "fine_tune": {"epochs": 2},
                "supervised": {"epochs": 2},
            },
            "out": str(tmp_path_factory.mktemp("runs") / "learned"),
        }
    )


def metrics_of(folder: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(folder.metrics.read_text())
    return content


def by_name(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {outcome["name"]: outcome["metrics"] for outcome in metrics["outcomes"]}


class TestEndToEnd:
    def test_the_student_learns_what_the_random_one_does_not_know(self, learned: RunFolder) -> None:
        results = by_name(metrics_of(learned))
        distilled, control = results["cmcd"], results["random_student"]
        assert distilled["target_to_source_r@10"]["low"] > control["target_to_source_r@10"]["value"]
        assert distilled["target_to_source_median_rank"]["value"] < control["target_to_source_median_rank"]["low"]
        curve = metrics_of(learned)["curves"]["distil/cmcd"]
        assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
        assert "val_r@1" in curve[-1]

    def test_the_theory_is_measured_over_training_and_on_the_test_pairs(self, learned: RunFolder) -> None:
        metrics = metrics_of(learned)
        for stage in ("distil/cmcd", "distil/cosine"):
            for line in metrics["curves"][stage]:
                if "val_mrr" in line:
                    assert 0 <= line["theory_tv"] <= line["theory_certificate"] + 1e-5
                    assert line["theory_target_risk"] <= line["theory_bound"] + 2e-5
        theory = metrics["theory"]
        assert list(theory["students"]) == ["cmcd", "cosine"]
        for terms in theory["students"].values():
            form = terms["forms"]["to_teacher"]
            assert form["slack"] >= -1e-12
            assert form["chains"][0]["delta"] == pytest.approx(0.05)
            assert {term["name"] for term in form["chains"][0]["terms"]} >= {"source risk", "tv", "pair sample"}
            assert terms["probe"]["held_out"]["value"] >= terms["probe"]["error"]
            assert terms["probe"]["rademacher"]["delta"] == pytest.approx(0.05 / 2)
        page = (learned.root / "report.html").read_text()
        assert "The theory at work" in page
        assert "source risk + total variation" in page

    def test_every_subject_and_interval_is_there(self, learned: RunFolder) -> None:
        metrics = metrics_of(learned)
        results = by_name(metrics)
        assert list(results) == [
            "cmcd",
            "cosine",
            "random_student",
            "teacher_on_target",
            "teacher_on_source",
            "supervised",
        ]
        for outcome in results.values():
            for name, estimate in outcome.items():
                assert estimate["low"] <= estimate["value"] <= estimate["high"], name
                assert estimate["items"] > 0
        assert set(results["cmcd"]) >= {
            "knn",
            "linear",
            "linear_2_shot",
            "zero_shot",
            "fine_tune",
            "source_to_target_r@10",
        }
        kinds = ("", "_macro_f1", "_ece")
        assert set(results["supervised"]) == {name + kind for name in ("fine_tune", "linear_2_shot") for kind in kinds}
        assert "retrieval" in next(o for o in metrics["outcomes"] if o["name"] == "teacher_on_source")["skipped"]

    def test_the_split_is_recorded_and_reads_back(self, learned: RunFolder) -> None:
        pairs = crossdistill.open_pairs(learned.pairs)
        assert {pair.split for pair in pairs} == {"train", "val", "test"}
        assert metrics_of(learned)["pairs"]["splits"] == pairs.counts()

    def test_the_configuration_is_resolved_and_reads_back(self, learned: RunFolder) -> None:
        content = yaml.safe_load(learned.config.read_text())
        assert content["objective"] == {
            "name": "cmcd", "label": "cmcd", "temperature": 0.05, "cmd_weight": 0.1, "symmetric": True,
            "teacher_temperature": None, "learnable_temperature": False, "cmd_form": "within", "against": "batch",
            "memory_mb": 64,
        }  # fmt: skip
        assert load_config(learned.config).to_dict() == content

    def test_nothing_half_done_is_left(self, learned: RunFolder) -> None:
        assert not (learned.root / "checkpoints").exists()
        assert not [path for path in learned.root.rglob("*") if path.name.endswith(".part")]

    def test_the_teacher_was_not_changed_by_distillation(self, learned: RunFolder) -> None:
        pretrained = crossdistill.encoders.load_encoder(learned.pretrained).state_dict()  # type: ignore[attr-defined]
        teacher = crossdistill.encoders.load_encoder(learned.teacher).state_dict()  # type: ignore[attr-defined]
        for name, value in pretrained.items():
            if name != "offset":  # the origin of the common space is not a weight
                assert torch.equal(value, teacher[name]), name

    def test_a_complete_run_is_left_alone(self, learned: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        before = learned.metrics.read_bytes()
        monkeypatch.setattr("crossdistill.pipeline.commands.run_evaluation", lambda *_: pytest.fail("again"))
        run(load_config(learned.config))
        assert learned.metrics.read_bytes() == before

    def test_an_evaluation_can_be_repeated_with_other_settings(self, learned: RunFolder, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(learned.root, copy)
        evaluate(copy, ["evaluate.shots=[1]", "evaluate.controls=[]", "evaluate.protocols=[linear]"])
        results = by_name(metrics_of(RunFolder(copy)))
        assert set(results) == {"cmcd", "cosine"}
        assert {name for name in results["cmcd"] if not name.endswith(("_macro_f1", "_ece"))} == {
            "linear", "linear_1_shot",
        }  # fmt: skip
        with pytest.raises(RunFolderError, match=r"train\.epochs"):
            evaluate(copy, ["train.epochs=3"])


class TestLoad:
    def test_embeds_both_modalities_into_one_space(self, learned: RunFolder) -> None:
        model = crossdistill.load(learned.root)
        pairs = [pair for pair in crossdistill.open_pairs(learned.pairs) if pair.split == "train"]
        sources = model.embed([pair.source for pair in pairs], modality="source")
        targets = model.embed([pair.target for pair in pairs])
        assert sources.shape == targets.shape == (len(pairs), model.width)
        np.testing.assert_allclose(np.linalg.norm(sources, axis=1), 1, atol=1e-5)
        similarity = targets @ sources.T
        assert float(np.diag(similarity).mean()) > float(similarity.mean()) + 0.02

    def test_takes_paths_arrays_and_pictures_alike(self, learned: RunFolder, manifest: Path) -> None:
        path = manifest.parent / "target" / "1-1.png"
        model = crossdistill.load(str(learned.root))
        with Pillow.open(path) as picture:
            vectors = model.embed([path, str(path), picture, np.asarray(picture)])
        assert all(np.allclose(vectors[0], vector, atol=1e-5) for vector in vectors)
        np.testing.assert_allclose(model.embed(path), vectors[:1], atol=1e-5)
        assert model.embed([]).shape == (0, model.width)
        assert model.embed(np.zeros((3, 20, 20, 3), np.uint8), "source").shape == (3, model.width)

    def test_refuses_what_it_cannot_do(self, learned: RunFolder, tmp_path: Path) -> None:
        model = crossdistill.load(learned.root)
        with pytest.raises(ConfigError, match="source or target"):
            model.embed([], "depth")  # type: ignore[arg-type]
        with pytest.raises(PairsError, match=r"none\.png"):
            model.embed([tmp_path / "none.png"])
        with pytest.raises(RunFolderError, match="no run folder"):
            crossdistill.load(tmp_path)


class TestObjectives:
    def test_every_objective_runs_by_name_and_in_the_forms_that_yaml_gives_it(self, tiny: dict[str, Any]) -> None:
        forms = [
            [{"name": "cmc"}, {"name": "l2", "weight": 0.5}],
            {"name": "cmcd", "against": "bank", "cmd_form": "to_teacher", "label": "cmcd-bank"},
            {"name": "cmc", "learnable_temperature": True, "label": "cmc-learnable"},
        ]
        tiny["objective"] = "cmcd"
        tiny["baselines"] = [*(name for name in known_objectives() if name != "cmcd"), *forms]
        tiny["train"]["epochs"] = 1
        tiny["evaluate"] = {"protocols": ["retrieval"], "controls": []}
        folder = run(tiny)
        names = [outcome["name"] for outcome in metrics_of(folder)["outcomes"]]
        assert names == [
            "cmcd",
            *(n for n in known_objectives() if n != "cmcd"),
            "cmc+l2",
            "cmcd-bank",
            "cmc-learnable",
        ]
        assert (folder.baseline("cmc+l2") / "model.safetensors").is_file()
        written = yaml.safe_load(folder.config.read_text())
        assert load_config(folder.config).to_dict() == written
        assert [term["weight"] for term in written["baselines"][-3]["terms"]] == [1.0, 0.5]

    def test_pairs_of_one_group_need_not_be_told_apart(self, tiny: dict[str, Any]) -> None:
        """With two pairs a group the other one is no negative: another loss from the first epoch on."""
        manifest = Path(tiny["pairs"])
        lines = manifest.read_text().splitlines()
        grouped = manifest.with_name("grouped.csv")
        grouped.write_text("\n".join([f"{lines[0]},group", *(f"{row},{n // 2}" for n, row in enumerate(lines[1:]))]))
        tiny |= {"pairs": str(grouped), "baselines": [], "evaluate": {"protocols": ["retrieval"], "controls": []}}
        losses = []
        for negatives in ("item", "group"):
            folder = run({**tiny, "negatives": negatives, "out": f"{tiny['out']}-{negatives}"})
            losses.append(metrics_of(folder)["curves"]["distil/cmcd"][0]["loss"])
        assert losses[1] < losses[0]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"baselines": ["l2", {"name": "cmc", "temperture": 1}]}, "baselines: objective.temperture"),
            ({"baselines": ["cmcd"]}, "label of its own"),
            ({"negatives": "group", "baselines": ["crd"]}, "one memory row per item"),
            ({"negatives": "group", "objective": [{"name": "crd"}, {"name": "l2"}]}, "one memory row per item"),
            ({"objective": {"name": "cmd", "against": "bank"}}, "to_teacher"),
            ({"train": {"embed_at_once": 4}}, r"train.embed_at_once(.|\n)*batch_norm: per_part"),
            ({"pretrain": {"backbone": "test_resnet", "embed_at_once": 4}}, r"pretrain.embed_at_once"),
        ],
        ids=str,
    )
    def test_mistakes_are_told_before_anything_begins(
        self, tiny: dict[str, Any], changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            run({**tiny, **changes})
        assert not Path(tiny["out"]).exists()


class TestSameSeed:
    def test_gives_the_same_metrics_and_another_one_does_not(self, tiny: dict[str, Any], tmp_path: Path) -> None:
        outs = [run(tiny, [f"out={tmp_path / name}", *more]) for name, more in
                (("a", []), ("b", []), ("c", ["train.seed=1"]))]  # fmt: skip
        first, again, other = (out.metrics.read_text() for out in outs)
        assert first == again
        assert first != other

    @pytest.mark.parametrize("stage", ["pretraining", "distilling with l2"])
    def test_stopped_in_any_stage_and_resumed_equals_uninterrupted(
        self, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
    ) -> None:
        whole = run(tiny, [f"out={tmp_path / 'whole'}"])
        from crossdistill.training import loop

        original, seen = loop.seed_batch, []

        def stop_in_the_middle(seed: int, step: int, rank: int = 0) -> None:
            seen.append(step)
            original(seed, step, rank)
            # Steps begin anew in every training: pretraining, then cmcd, then l2.
            trainings = sum(number == 0 for number in seen)
            if step == 1 and trainings == (1 if stage == "pretraining" else 3) and len(seen) < 12:
                os.kill(os.getpid(), signal.SIGINT)

        with monkeypatch.context() as patched:
            patched.setattr(loop, "seed_batch", stop_in_the_middle)
            with pytest.raises(StoppedError, match=stage):
                run(tiny, [f"out={tmp_path / 'cut'}"])
        assert not (tmp_path / "cut" / "metrics.json").exists()
        resumed = run(tiny, [f"out={tmp_path / 'cut'}"])
        assert resumed.metrics.read_text() == whole.metrics.read_text()


class TestStages:
    def test_can_be_run_one_by_one(self, tiny: dict[str, Any]) -> None:
        tiny["evaluate"]["protocols"] = ["retrieval"]
        tiny["evaluate"]["controls"] = []
        tiny["baselines"] = []
        folder = run_stage_one(tiny)
        assert (folder.pretrained / "encoder.json").is_file()
        assert not folder.student.exists()
        with pytest.raises(RunFolderError, match="has not ended"):
            evaluate(folder.root)
        run_stage_two(tiny)
        assert (folder.student / "encoder.json").is_file()
        assert not folder.metrics.exists()
        evaluate(folder.root)
        assert folder.report.is_file()

    def test_a_run_without_labels_says_what_it_leaves_out(
        self, tiny: dict[str, Any], manifest: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        unlabelled = manifest.parent / "unlabelled.csv"
        lines = manifest.read_text().splitlines()
        unlabelled.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
        folder = run(tiny, [f"pairs={unlabelled}", "baselines=[]"])
        assert metrics_of(folder)["left_out"]["knn"] == "the pairs have no labels"
        assert "zero_shot is left out: the pairs have no labels" in capsys.readouterr().err
        assert "was left out: the pairs have no labels" in folder.report.read_text()

    def test_two_folders_without_the_teachers_copy(self, tiny: dict[str, Any], manifest: Path) -> None:
        tiny["pairs"] = {"source": str(manifest.parent / "source"), "target": str(manifest.parent / "target")}
        tiny["teacher"]["save"] = False
        tiny["baselines"] = []
        folder = run(tiny)
        with pytest.raises(RunFolderError, match="keeps no copy"):
            crossdistill.load(folder.root).embed([], "source")

    def test_unpaired_items_have_their_place(self, tiny: dict[str, Any], manifest: Path) -> None:
        text = manifest.read_text().splitlines()
        changed = [text[0]]
        for number, line in enumerate(text[1:]):
            source, target, label = line.split(",")
            changed.append(
                f"{source},,{label}" if number % 5 == 0 else f",{target},{label}" if number % 5 == 1 else line
            )
        mixed = manifest.parent / "mixed.csv"
        mixed.write_text("\n".join(changed))
        folder = run(tiny, [f"pairs={mixed}", "baselines=[]"])
        train = metrics_of(folder)["pairs"]["splits"]["train"]
        assert train["source_only"] > 0
        assert train["target_only"] > 0
        results = by_name(metrics_of(folder))["cmcd"]
        assert results["knn"]["items"] > results["target_to_source_r@1"]["items"]  # target-only items are tested too

    @pytest.mark.parametrize("share", [0.3, 0.01])
    def test_stage_one_sees_the_share_of_sources_that_it_is_given(self, tiny: dict[str, Any], share: float) -> None:
        folder = run_stage_one(tiny, [f"pretrain.share={share}"])
        pairs = crossdistill.open_pairs(folder.pairs)
        sources = {str(pairs[row].source) for row in pairs.where("train", has=("source",))}
        seen = int(load_encoder(folder.pretrained).origin.split(" on ")[1].split()[0])
        assert 0 < seen < len(sources)
        assert seen == pytest.approx(share * len(sources), abs=4)

    def test_modules_of_ones_own(self, tiny: dict[str, Any], tmp_path: Path) -> None:
        def network(channels: int) -> nn.Module:
            torch.manual_seed(channels)
            return nn.Sequential(
                nn.Conv2d(channels, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1)
            )

        options: dict[str, Any] = {"size": 32, "std": (0.5,), "mean": (0.5,), "interpolation": "bilinear"}
        grey = Image(channels=1, **options)
        colour = Image(**{**options, "std": (0.5,) * 3, "mean": (0.5,) * 3})
        del tiny["pretrain"]
        tiny["teacher"] = {"backbone": "test_resnet", "weights": "random"}
        tiny["baselines"] = []

        def both() -> dict[str, Encoder]:
            return {
                "teacher": Encoder.from_module(network(3), colour),
                "student": Encoder.from_module(network(1), grey, nn.Linear(32, 32)),
            }

        folder = run(tiny, **both())
        control = next(o for o in metrics_of(folder)["outcomes"] if o["name"] == "supervised")
        assert "from the module as it was given" in control["description"]  # not from random weights
        with pytest.raises(EncoderError, match="Sequential"):
            crossdistill.load(folder.root)
        model = crossdistill.load(folder.root, **both())
        picture = np.zeros((32, 32, 3), np.uint8)
        assert model.embed([picture]).shape == model.embed([picture], "source").shape == (1, 32)
        assert run(tiny, **both()).metrics.is_file()  # complete: goes through again


class TestBadInput:
    def test_a_different_run_in_the_folder_is_named_and_left_whole(self, tiny: dict[str, Any], manifest: Path) -> None:
        folder = run_stage_one(tiny)
        before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
        with pytest.raises(RunFolderError, match=r"settings differ: train\.epochs \(2 -> 7\), train\.lr"):
            run(tiny, ["train.epochs=7", "train.lr=0.5"])
        other = manifest.parent / "other.csv"
        other.write_text("\n".join(manifest.read_text().splitlines()[:-1]))
        with pytest.raises(RunFolderError, match=r"pairs\.manifest"):
            run(tiny, [f"pairs={other}"])
        assert {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()} == before

    def test_a_run_from_before_a_setting_was_there_is_gone_on_with(self, tiny: dict[str, Any]) -> None:
        folder = run_stage_one(tiny)
        recorded = yaml.safe_load(folder.config.read_text())
        del recorded["pairs"]["measure_on"], recorded["train"]["ema"]
        folder.config.write_text(yaml.safe_dump(recorded))
        with pytest.raises(RunFolderError, match=r"settings differ: pairs\.measure_on \(test -> val\)"):
            run_stage_one({**tiny, "pairs": {"manifest": tiny["pairs"], "measure_on": "val"}})
        assert run_stage_one(tiny).root == folder.root

    def test_changed_pairs_under_the_same_name_are_noticed(self, tiny: dict[str, Any], manifest: Path) -> None:
        own = manifest.parent / "changing.csv"
        own.write_text(manifest.read_text())
        run_stage_one(tiny, [f"pairs={own}"])
        own.write_text("\n".join(manifest.read_text().splitlines()[:-1]))
        with pytest.raises(RunFolderError, match="pairs have changed"):
            run(tiny, [f"pairs={own}"])

    def test_a_folder_with_other_files_is_not_touched(self, tiny: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.tex").write_text("precious")
        with pytest.raises(RunFolderError, match="something else"):
            run(tiny)
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]

    @pytest.mark.parametrize(
        ("overrides", "error", "message"),
        [
            (["train.epoch=3"], ConfigError, r"train\.epoch(.|\n)*did you mean 'epochs'"),
            (["trian.epochs=3"], ConfigError, "did you mean 'train'"),
            (["train.epochs=0"], ConfigError, "greater than or equal to 1"),
            (["train.lr=high"], ConfigError, r"train\.lr"),
            (["target.sise=32"], ConfigError, "did you mean 'size'"),
            (["objective.name=cmdc"], ConfigError, "Unknown objective"),
            (["baselines=[cmcd]"], ConfigError, "twice"),
            (["teacher.weights=random"], ConfigError, "does not use it"),
            (["pretrain=null"], ConfigError, "no pretrain section"),
            (["evaluate.protocols=[knnn]"], ConfigError, r"evaluate\.protocols"),
            (["epochs"], ConfigError, "no key=value"),
            (["out.x=1"], ConfigError, "no section"),
            (["train.device=tpu9"], ConfigError, r"train\.device"),
            (["pairs=none.csv"], PairsError, "manifest is missing"),
            (["evaluate.shots=[50]"], PairsError, r"too small for the shots(.|\n)*at least 50"),
            (["student.backbone=resnet_18"], EncoderError, "did you mean 'resnet18'"),
            (["student.backbone=test_vit", "target.size=40"], EncoderError, "cannot take input of this size"),
            (["student.head=none", "student.backbone=resnet18"], EncoderError, "another width"),
        ],
    )
    def test_ends_with_one_message_before_anything_is_written(
        self, tiny: dict[str, Any], tmp_path: Path, overrides: list[str], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            run(tiny, overrides)
        assert not (tmp_path / "run").exists()

    def test_a_truncated_image_is_named_by_its_row(self, tiny: dict[str, Any], tmp_path: Path, manifest: Path) -> None:
        shutil.copytree(manifest.parent, tmp_path / "data")
        broken = tmp_path / "data" / "target" / "2-3.png"
        broken.write_bytes(broken.read_bytes()[:100])
        with pytest.raises(PairsError, match=r"pairs\.csv, row 37, column target: .*2-3\.png"):
            run(tiny, [f"pairs={tmp_path / 'data' / 'pairs.csv'}"])

    def test_a_loss_that_is_not_finite_leaves_the_run_resumable(
        self, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(CMCD, "forward", lambda *_: torch.tensor(float("nan"), requires_grad=True))
            with pytest.raises(TrainingError, match=r"not finite, 4 steps in a row(.|\n)*distilling with cmcd"):
                run(tiny)
        assert run(tiny).metrics.is_file()

    def test_a_full_disk_ends_with_a_message_and_earlier_results_are_whole(
        self, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = run_stage_two(tiny)
        before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
        original = Path.open

        def full(self: Path, mode: str = "r", *options: Any, **named: Any) -> Any:
            stream = original(self, mode, *options, **named)
            if "metrics.json" in self.name and "w" in mode:
                stream.close()
                raise OSError(errno.ENOSPC, "No space left on device")
            return stream

        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", full)
            with pytest.raises(StorageError, match=r"disk is full(.|\n)*metrics\.json"):
                run(tiny)
        after = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
        assert {path: after[path] for path in before if path.name != "environment.json"} == {
            path: blob for path, blob in before.items() if path.name != "environment.json"
        }
        assert not folder.metrics.exists()
        assert run(tiny).metrics.is_file()

    def test_too_few_pairs_are_refused(self, tiny: dict[str, Any], manifest: Path) -> None:
        few = manifest.parent / "few.csv"
        few.write_text("\n".join(manifest.read_text().splitlines()[:5]))
        with pytest.raises(PairsError, match="too few training pairs"):
            run(tiny, [f"pairs={few}", "evaluate.protocols=[retrieval]"])

    def test_what_is_no_configuration_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="missing"):
            load_config(tmp_path / "none.yaml")
        (tmp_path / "bad.yaml").write_text("a: [1")
        with pytest.raises(ConfigError, match="not valid YAML"):
            load_config(tmp_path / "bad.yaml")
        (tmp_path / "list.yaml").write_text("- 1")
        with pytest.raises(ConfigError, match="no mapping"):
            load_config(tmp_path / "list.yaml")
        with pytest.raises(ConfigError, match=r"pairs(.|\n)*Field required"):
            make_config({"out": "x"})
