"""Encoders: any backbone and channels, weights from everywhere, and a teacher that stays frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from crossdistill.encoders import (
    Encoder,
    StudentConfig,
    Teacher,
    TeacherConfig,
    build_student,
    build_teacher,
    load_encoder,
    save_encoder,
    weights_hash,
)
from crossdistill.encoders import store as encoders
from crossdistill.errors import CrossDistillError, EncoderError, MissingDependencyError, RunFolderError
from crossdistill.modalities.embedding import Embedding
from crossdistill.modalities.image import Image

SMALL = Image(size=32)


def teacher_encoder(weights: str = "random", backbone: str | None = "test_resnet", **image: object) -> Encoder:
    modality = Image.model_validate({"size": 32, **image})
    return build_teacher(TeacherConfig(backbone=backbone, weights=weights), modality)


class TestTeacher:
    def test_is_frozen_in_eval_mode_and_without_gradients(self) -> None:
        teacher = Teacher(teacher_encoder())
        assert not teacher.encoder.training
        assert not any(parameter.requires_grad for parameter in teacher.encoder.parameters())
        embedded = teacher.embed(torch.randint(0, 255, (3, 3, 32, 32), dtype=torch.uint8))
        assert embedded.shape == (3, teacher.width)
        assert not embedded.requires_grad

    def test_cannot_be_reached_by_a_parent_or_an_optimiser(self) -> None:
        class Parent(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.teacher = Teacher(teacher_encoder())

        parent = Parent().train()
        assert not parent.teacher.encoder.training
        assert list(parent.parameters()) == []

    def test_does_not_change_when_it_embeds(self) -> None:
        teacher = Teacher(teacher_encoder())
        before = weights_hash(teacher.encoder)  # covers the running statistics of batch norm
        items = torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8)
        first = teacher.embed(items)
        assert torch.equal(teacher.embed(items), first)
        assert torch.allclose(teacher.embed(items[:1]), first[:1], atol=1e-5)  # no batch statistics
        assert weights_hash(teacher.encoder) == before

    def test_refuses_to_work_when_it_has_been_thawed(self) -> None:
        teacher = Teacher(teacher_encoder())
        teacher.encoder.train()
        with pytest.raises(RuntimeError, match="training mode"):
            teacher.embed(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))

    def test_its_fingerprint_follows_weights_and_preprocessing_but_not_augmentation(self) -> None:
        torch.manual_seed(0)
        encoder = teacher_encoder()
        same = Teacher(encoder).fingerprint()
        assert Teacher(encoder).fingerprint() == same
        encoder.modality = encoder.modality.model_copy(update={"augment_with": Image().contrastive().augment_with})
        assert Teacher(encoder).fingerprint() == same
        encoder.modality = encoder.modality.model_copy(update={"mean": (0.0, 0.0, 0.0)})
        changed = Teacher(encoder).fingerprint()
        assert changed != same
        with torch.no_grad():
            next(encoder.parameters()).view(-1)[0] += 1
        assert Teacher(encoder).fingerprint() != changed


class TestBackbones:
    @pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_any_timm_name_and_channels(self, name: str, channels: int) -> None:
        encoder = teacher_encoder(backbone=name, channels=channels)
        assert encoder.eval()(torch.zeros(2, channels, 32, 32)).shape == (2, encoder.width)

    def test_takes_the_preprocessing_of_the_weights(self) -> None:
        modality = teacher_encoder(backbone="tf_efficientnet_lite0").modality
        assert isinstance(modality, Image)
        assert modality.mean == (0.5, 0.5, 0.5)
        assert modality.interpolation == "bicubic"

    def test_refuses_unknown_names_and_sizes_that_do_not_fit(self) -> None:
        with pytest.raises(EncoderError, match="did you mean 'resnet18'"):
            teacher_encoder(backbone="resnet_18")
        with pytest.raises(EncoderError, match="size"):
            teacher_encoder(backbone="test_vit", size=33)

    def test_explains_weights_that_cannot_be_fetched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def offline(*arguments: object, **options: object) -> None:
            raise ConnectionError("no route to host")

        monkeypatch.setattr(timm, "create_model", offline)
        with pytest.raises(EncoderError, match=r"cannot be fetched(.|\n)*no route to host(.|\n)*local file"):
            teacher_encoder("pretrained")


class TestWeights:
    @pytest.fixture
    def state(self) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        return dict(timm.create_model("test_resnet", pretrained=False).state_dict())

    @pytest.mark.parametrize("kind", ["safetensors", "pt", "prefixed", "wrapped"])
    def test_reads_files_of_all_kinds(self, tmp_path: Path, state: dict[str, torch.Tensor], kind: str) -> None:
        path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
        if kind == "safetensors":
            save_file(state, path)
        elif kind == "pt":
            torch.save(state, path)
        elif kind == "prefixed":
            torch.save({**{f"module.backbone.{k}": v for k, v in state.items()}, "module.loss.x": torch.ones(1)}, path)
        else:
            torch.save({"epoch": 3, "state_dict": state}, path)
        encoder = teacher_encoder(str(path))
        loaded = encoder.backbone.state_dict()
        assert all(torch.equal(loaded[name], state[name]) for name in loaded)
        assert "sha256" in encoder.origin

    def test_adapts_the_first_convolution_to_grey_input(self, tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
        torch.save(state, tmp_path / "w.pt")
        grey = teacher_encoder(str(tmp_path / "w.pt"), channels=1, mean=[0.5], std=[0.5]).eval()
        colour = teacher_encoder(str(tmp_path / "w.pt"), mean=[0.5] * 3, std=[0.5] * 3).eval()
        pixels = torch.randn(2, 1, 32, 32)
        torch.testing.assert_close(grey(pixels), colour(pixels.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)

    def test_refuses_code_damage_and_strangers(self, tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
        torch.save(nn.Linear(1, 1), tmp_path / "module.pt")
        (tmp_path / "damaged.safetensors").write_bytes(b"12345678nonsense")
        torch.save([1, 2], tmp_path / "list.pt")
        torch.save(dict(list(state.items())[3:]), tmp_path / "part.pt")
        torch.save({**state, "conv1.0.weight": torch.zeros(5, 5)}, tmp_path / "shape.pt")
        for name, message in [
            ("module.pt", "no pickled objects"),
            ("damaged.safetensors", "cannot be read"),
            ("list.pt", "no state dict"),
            ("part.pt", "missing"),
            ("none.pt", "neither a known name nor a file"),
        ]:
            with pytest.raises(EncoderError, match=message):
                teacher_encoder(str(tmp_path / name))

    def test_the_packaged_weights_are_whole_and_refused_when_they_are_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from crossdistill.encoders import weights

        encoder = teacher_encoder("efficientnet-lite0", backbone=None)
        assert encoder.architecture.backbone == "tf_efficientnet_lite0"
        assert encoder.width == 1280
        with pytest.raises(EncoderError, match="another backbone"):
            teacher_encoder("efficientnet-lite0", backbone="resnet18")
        packaged = weights.PACKAGED["efficientnet-lite0"]
        changed = weights.PackagedWeights(**{**packaged.__dict__, "sha256": "0" * 64})
        monkeypatch.setitem(weights.PACKAGED, "efficientnet-lite0", changed)
        with pytest.raises(EncoderError, match="not the ones we checked"):
            teacher_encoder("efficientnet-lite0", backbone=None)
        absent = weights.PackagedWeights(**{**packaged.__dict__, "module": "no_such_package"})
        monkeypatch.setitem(weights.PACKAGED, "efficientnet-lite0", absent)
        with pytest.raises(MissingDependencyError, match=r"crossdistill\[demo\]"):
            teacher_encoder("efficientnet-lite0", backbone=None)


class TestStudent:
    @pytest.mark.parametrize("head", ["linear", "mlp"])
    def test_heads_lead_into_the_teachers_space(self, head: str) -> None:
        student = build_student(StudentConfig.model_validate({"backbone": "test_resnet", "head": head}), SMALL, 33)
        assert student(torch.randn(4, 3, 32, 32)).shape == (4, 33)
        assert student.features(torch.randn(4, 3, 32, 32)).shape == (4, student.architecture.features)

    def test_without_a_head_the_widths_must_agree(self) -> None:
        with pytest.raises(EncoderError, match="linear or mlp"):
            build_student(StudentConfig(backbone="test_resnet", head="none"), SMALL, 33)

    def test_random_weights_are_normalised_by_the_data(self) -> None:
        sample = torch.full((10, 3, 32, 32), 51, dtype=torch.uint8)
        sample[:5] = 0
        modality = build_student(StudentConfig(backbone="test_resnet"), SMALL, 8, sample).modality
        assert isinstance(modality, Image)
        assert modality.mean == pytest.approx((0.1, 0.1, 0.1), abs=1e-4)


class TestStore:
    def test_an_encoder_comes_back_the_same(self, tmp_path: Path) -> None:
        student = build_student(StudentConfig(backbone="test_vit", head="mlp"), Image(size=48, channels=1), 7).eval()
        student.offset += 0.5
        save_encoder(tmp_path / "e", student, {"stage": "test"})
        again = load_encoder(tmp_path / "e")
        pixels = torch.randn(2, 1, 48, 48)
        assert torch.equal(again(pixels), student(pixels))
        assert again.modality == student.modality

    def test_an_earlier_run_serves_as_teacher_and_as_start_of_a_student(self, tmp_path: Path) -> None:
        student = build_student(StudentConfig(backbone="test_resnet"), Image(size=32, mean=(0, 0, 0)), 7)
        save_encoder(tmp_path / "student", student, {})
        teacher = teacher_encoder(str(tmp_path), backbone=None)
        assert teacher.width == 7
        assert isinstance(teacher.modality, Image)
        assert teacher.modality.mean == (0, 0, 0)
        further = build_student(StudentConfig(backbone=None, weights=str(tmp_path)), SMALL, 9)
        assert further.width == 9
        assert torch.equal(next(further.parameters()), next(student.parameters()))
        with pytest.raises(EncoderError, match="another backbone"):
            teacher_encoder(str(tmp_path), backbone="resnet18")
        with pytest.raises(EncoderError, match="number of channels"):
            teacher_encoder(str(tmp_path), backbone=None, channels=1)

    def test_damage_is_noticed(self, tmp_path: Path) -> None:
        save_encoder(tmp_path, build_student(StudentConfig(backbone="test_resnet"), SMALL, 7), {})
        blob = bytearray((tmp_path / "model.safetensors").read_bytes())
        blob[-3] ^= 0xFF
        (tmp_path / "model.safetensors").write_bytes(bytes(blob))
        with pytest.raises(RunFolderError, match="changed"):
            load_encoder(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        with pytest.raises(RunFolderError, match="missing"):
            load_encoder(tmp_path)

    @pytest.mark.parametrize(
        ("change", "kind", "message"),
        [
            ({"architecture": {"width": 10**13}}, RunFolderError, "less than or equal to 131072"),
            ({"architecture": {"features": 10**5}}, EncoderError, "do not fit"),
            ({"architecture": {"width": 131072}}, EncoderError, "offset of shape"),
            ({"architecture": {"width": "x"}}, RunFolderError, "architecture.width"),
            ({"architecture": {"head": "deep"}}, RunFolderError, "architecture.head"),
            ({"architecture": {"layers": 3}}, RunFolderError, "unknown key layers"),
            ({"architecture": {"backbone": "vit_giant_patch14_dinov2"}}, EncoderError, "do not fit"),
            ({"architecture": {"backbone": "no_such"}}, EncoderError, "Unknown backbone"),
            ({"architecture": {"patch_size": 10**9}}, RunFolderError, "patch_size"),
            ({"architecture": []}, RunFolderError, "architecture"),
            ({"provenance": None}, RunFolderError, "provenance"),
            ({"preprocessing": {"size": 10**9}}, RunFolderError, "preprocessing.size"),
            ({"preprocessing": {"size": None}}, RunFolderError, "size is still open"),
            ({"preprocessing": {"pixels": 3}}, RunFolderError, "unknown key pixels"),
            ({"format": "one"}, RunFolderError, "another format"),
        ],
    )
    def test_a_hostile_description_is_told_before_memory_is_taken(
        self, tmp_path: Path, change: dict[str, Any], kind: type[CrossDistillError], message: str
    ) -> None:
        student = build_student(StudentConfig(backbone="test_resnet"), SMALL, 7)
        save_encoder(tmp_path, student, {})
        content = json.loads((tmp_path / "encoder.json").read_text())
        for name, value in change.items():
            whole = {**content[name], **value} if isinstance(value, dict) else value
            content[name] = whole
        (tmp_path / "encoder.json").write_text(json.dumps(content))
        with pytest.raises(kind) as caught:
            load_encoder(tmp_path)
        assert message in str(caught.value)
        assert str(tmp_path) in str(caught.value) or "Unknown backbone" in str(caught.value)

    @pytest.mark.parametrize("content", ["[]", "3", '"x"', "null", "{}", '{"format": 1}'])
    def test_what_is_no_description_is_told(self, tmp_path: Path, content: str) -> None:
        save_encoder(tmp_path, build_student(StudentConfig(backbone="test_resnet"), SMALL, 7), {})
        (tmp_path / "encoder.json").write_text(content)
        with pytest.raises(RunFolderError):
            load_encoder(tmp_path)

    def test_a_backbone_of_other_features_is_told(self, tmp_path: Path) -> None:
        """Head and description agree with one another, and not with the backbone."""
        student = build_student(StudentConfig(backbone="test_resnet"), SMALL, 7)
        save_encoder(tmp_path, student, {})
        state = {**student.state_dict(), "head.weight": torch.zeros(7, 50)}
        save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "model.safetensors")
        content = json.loads((tmp_path / "encoder.json").read_text())
        content["architecture"]["features"] = 50
        (tmp_path / "encoder.json").write_text(json.dumps(content))
        with pytest.raises(EncoderError, match=r"do not fit(.|\n)*a backbone of 50 features(.|\n)*one of 96"):
            load_encoder(tmp_path)

    @pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "mlp_20x2", "identity"])
    def test_loading_draws_no_more_random_numbers_than_building(self, tmp_path: Path, name: str) -> None:
        modality = Embedding(width=12) if "test" not in name else Image(size=32, mean=(0,) * 3, std=(1,) * 3)
        student = build_student(StudentConfig(backbone=name), modality, 7).eval()
        save_encoder(tmp_path, student, {})
        torch.manual_seed(0)
        encoders.build_network(student.architecture, student.modality.shape)
        encoders.build_head("linear", student.architecture.features, 7)
        expected = torch.rand(3)
        torch.manual_seed(0)
        again = load_encoder(tmp_path)
        assert torch.equal(torch.rand(3), expected)
        items = torch.randn(2, *student.modality.shape)
        assert torch.equal(again(items), student(items))

    def test_a_module_of_ones_own_needs_to_be_given_again(self, tmp_path: Path) -> None:
        module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
        modality = Image(size=8, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear")
        encoder = Encoder.from_module(module, modality).eval()
        save_encoder(tmp_path, encoder, {})
        with pytest.raises(EncoderError, match="Sequential"):
            load_encoder(tmp_path)
        fresh = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
        pixels = torch.randn(2, 3, 8, 8)
        assert torch.equal(load_encoder(tmp_path, fresh)(pixels), encoder(pixels))
        with pytest.raises(EncoderError, match="one vector per item"):
            Encoder.from_module(nn.Conv2d(3, 4, 3), modality)
