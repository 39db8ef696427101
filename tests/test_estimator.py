"""The scikit-learn transformer: scikit-learn's own checks, arrays and pairs, pipelines and searches."""

from __future__ import annotations

import csv
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import crossdistill
from crossdistill import CrossModalEmbedder, errors, open_pairs
from crossdistill.modalities.image import Image
from crossdistill.pairs import Licence, PairsConfig
from crossdistill.pipeline import RunFolder, open_run
from crossdistill.pipeline.own_pairs import own_pairs

LABELS = "it passes one-dimensional labels as y, which are refused, as they are no source embeddings"
NOT_APPLICABLE = {
    "check_transformer_general": LABELS,
    "check_transformer_data_not_an_array": LABELS,
    "check_transformer_preserve_dtypes": LABELS,
}


def small(**settings: Any) -> CrossModalEmbedder:
    return CrossModalEmbedder(
        **{"student": "mlp_16x1", "epochs": 1, "batch_size": 32, "device": "cpu", "random_state": 0, **settings}
    )


@pytest.mark.filterwarnings("ignore:source embeddings of one value", "ignore:Can't check dok")
@parametrize_with_checks([small()], expected_failed_checks=lambda _: NOT_APPLICABLE)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Target vectors (240, 12), source embeddings (240, 6) of 8 classes, and the classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 8
    hidden = rng.normal(size=(8, 6))[labels] + 0.5 * rng.normal(size=(240, 6))
    targets = np.tanh(hidden @ rng.normal(size=(6, 12))) + 0.05 * rng.normal(size=(240, 12))
    return targets.astype(np.float32), hidden.astype(np.float32), labels


def trained(**settings: Any) -> CrossModalEmbedder:
    return small(**{"student": "mlp_64x1", "epochs": 20, "batch_size": 60, "lr": 3e-3, **settings})


def test_it_learns_where_partners_are(vectors: Any) -> None:
    items, y, _ = vectors
    embedder = trained().fit(items[:180], y[:180])
    found = embedder.transform(items[180:])
    assert found.shape == (60, 6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    chance = np.mean([1 / rank for rank in range(1, 61)])
    assert embedder.score(items[180:], y[180:]) > 4 * chance
    assert trained(epochs=1, lr=1e-6).fit(items[:180], y[:180]).score(items[180:], y[180:]) < 2 * chance
    np.testing.assert_allclose(embedder.offset_, y[:180].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found[:1], embedder.transform(items[180:181]), atol=1e-6)
    assert list(embedder.get_feature_names_out())[:2] == ["crossmodalembedder0", "crossmodalembedder1"]
    np.testing.assert_array_equal(found, pickle.loads(pickle.dumps(embedder)).transform(items[180:]))  # noqa: S301


def test_the_seed_decides_and_nothing_else_is_disturbed(vectors: Any) -> None:
    items, y, _ = vectors
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = small().fit(items, y).transform(items)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first, small().fit(items, y).transform(items))
    np.testing.assert_array_equal(first, clone(small()).fit_transform(items, y))
    assert not np.array_equal(first, small(random_state=1).fit(items, y).transform(items))


def test_labels_are_not_taken_for_source_embeddings(vectors: Any) -> None:
    items, y, labels = vectors
    with pytest.raises(ValueError, match="one-dimensional, as labels are") as caught:
        small().fit(items, labels)
    assert isinstance(caught.value, errors.ConfigError)
    assert "source=" in str(caught.value)
    with pytest.raises(ValueError, match="requires y to be passed"):
        small().fit(items)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().fit(items, y[:-1])
    with pytest.raises(ValueError, match="nothing to learn"):
        small().fit(items, np.ones((240, 6)))
    with pytest.warns(UserWarning, match="only their sign"):
        small().fit(items, y[:, :1])
    with pytest.raises(ValueError, match="nothing for a teacher to do"):
        small(teacher="efficientnet-lite0").fit(items, y)


def test_in_a_pipeline_with_labels_downstream(vectors: Any) -> None:
    items, y, labels = vectors
    pipeline = Pipeline([("embed", trained()), ("classify", LogisticRegression())])
    pipeline.fit(items[:180], labels[:180], embed__source=y[:180])
    assert pipeline.score(items[180:], labels[180:]) > 0.5
    frozen = Pipeline([("embed", FrozenEstimator(pipeline["embed"])), ("classify", LogisticRegression())])
    few = frozen.fit(items[:40], labels[:40])  # a few labels, an embedder that was fitted on pairs without any
    assert few.score(items[180:], labels[180:]) > 0.5
    assert next(iter(pipeline[:-1].get_feature_names_out())) == "crossmodalembedder0"


def test_a_search_over_the_temperature(vectors: Any) -> None:
    items, y, _ = vectors
    search = GridSearchCV(trained(epochs=4), {"temperature": [0.1, 1.0], "lr": [1e-7, 3e-3]}, cv=2).fit(items, y)
    assert search.best_params_["lr"] == 3e-3
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores.round(6))) >= 3  # the temperature reaches the training too


def test_set_output(vectors: Any) -> None:
    pandas = pytest.importorskip("pandas")
    items, y, _ = vectors
    frame = pandas.DataFrame(items, columns=[f"x{place}" for place in range(12)])
    embedder = small().set_output(transform="pandas").fit(frame, y)
    found = embedder.transform(frame)
    assert list(found.columns) == [f"crossmodalembedder{place}" for place in range(6)]
    assert list(embedder.feature_names_in_) == list(frame.columns)


def test_wrong_parameters_are_told(vectors: Any) -> None:
    items, y, _ = vectors
    with pytest.raises(errors.ConfigError, match="Unknown objective"):
        small(objective="cmx").fit(items, y)
    with pytest.raises(errors.ConfigError, match="no temperature of its own"):
        small(objective=["cmc", "l2"], temperature=0.1).fit(items, y)
    with pytest.raises(errors.ConfigError, match="Unknown key"):
        small(objective="l2", temperature=0.1).fit(items, y)
    with pytest.raises(errors.ConfigError, match="Unknown key"):
        small(train={"epoch": 3}).fit(items, y)
    with pytest.raises(errors.EncoderError, match="another kind of input"):
        small(student="test_resnet").fit(items, y)


def polygons(count: int = 24) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20, 20), dtype=np.uint8) for _ in range(count)]


def test_pictures_with_source_embeddings(vectors: Any, tmp_path: Path) -> None:
    _, y, _ = vectors
    target = {"modality": "image", "size": 16, "channels": 1}
    embedder = small(target=target, student="test_resnet", batch_size=8).fit(polygons(), y[:24])
    assert embedder.transform(np.stack(polygons(3))).shape == (3, 6)
    assert not hasattr(embedder, "n_features_in_")
    Image.write_fake(tmp_path / "a.png", 1, 1, rich=False)
    assert embedder.transform([tmp_path / "a.png", str(tmp_path / "a.png")]).shape == (2, 6)
    assert 0 < embedder.score(polygons(), y[:24]) <= 1
    embedder.model_.save_pretrained(tmp_path / "model", licence="mit")
    again = crossdistill.from_pretrained(tmp_path / "model")
    np.testing.assert_allclose(again.embed(polygons(3)), embedder.transform(polygons(3)), atol=1e-5)


def on_pairs(**settings: Any) -> CrossModalEmbedder:
    return CrossModalEmbedder(
        teacher={"backbone": "test_resnet", "weights": "random"}, student="test_resnet",
        source={"size": 32}, target={"size": 32, "channels": 1}, epochs=1, batch_size=16, device="cpu", **settings,
    )  # fmt: skip


def test_fit_on_pairs(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = open_pairs(manifest)
    embedder = on_pairs(random_state=0).fit(manifest)
    assert capsys.readouterr().err == ""  # a transformer is quiet
    found = embedder.transform(pairs)
    assert found.shape == (64, 96)
    same = on_pairs(random_state=0, out=tmp_path / "kept").fit(pairs)
    np.testing.assert_allclose(same.transform([pair.target for pair in pairs][:5]), found[:5], atol=1e-6)
    assert (tmp_path / "kept" / "student" / "encoder.json").is_file()
    assert embedder.model_.embed(polygons(2), "source").shape == (2, 96)
    assert 0 < embedder.score(pairs) <= 1


def sharded(folder: Path, manifest: Path) -> dict[str, Any]:
    """The pairs in a shard; the section that opens them."""
    with manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with tarfile.open(folder / "a.tar", "w") as shard:
        for number, row in enumerate(rows):
            for side in ("source", "target"):
                shard.add(manifest.parent / row[side], f"{number:04}.{side}.png")
    return {"webdataset": {"shards": str(folder / "a.tar"), "source": "source.png", "target": "target.png"}}


def test_open_pairs_out_of_shards_and_the_section_of_them(manifest: Path, tmp_path: Path) -> None:
    section = sharded(tmp_path, manifest)
    pairs = open_pairs(PairsConfig.model_validate(section))
    with pytest.raises(errors.ConfigError, match="parts of larger files") as caught:
        on_pairs(random_state=0).fit(pairs)
    assert "pass the pairs section itself" in caught.value.details["fix"]
    assert on_pairs(random_state=0).fit(section).transform(pairs).shape == (64, 96)


def test_a_kept_run_of_open_pairs_finds_them_again(manifest: Path, tmp_path: Path) -> None:
    pairs = open_pairs(manifest)
    on_pairs(random_state=0, out=tmp_path / "kept").fit(pairs)
    found = own_pairs(RunFolder(tmp_path / "kept"))
    assert [(pair.source, pair.split) for pair in found] == [(pair.source, pair.split) for pair in pairs]
    on_pairs(random_state=0, out=tmp_path / "kept").fit(pairs)  # goes on with the same run


def test_a_model_of_pairs_is_published_with_what_is_known_of_them(manifest: Path, tmp_path: Path) -> None:
    """Also when the run folder is gone: whose data it was has to go along with the weights."""
    licence = Licence(name="CC BY-SA 4.0", attribution="Somebody", url="https://x.example")
    pairs = replace(open_pairs(manifest), name="toys", licence=licence)
    model = on_pairs(random_state=0).fit(pairs).model_
    assert not model.folder.root.exists()
    text = (model.save_pretrained(tmp_path / "model", licence="mit") / "README.md").read_text()
    trained = len(pairs.where("train", has=("source", "target")))
    assert f"toys: {trained} training pairs" in text
    assert "CC BY-SA 4.0" in text
    assert "same licence" in text
    assert "1 epochs" in text


def test_a_configuration_says_what_the_parameters_leave_open(manifest: Path, tmp_path: Path) -> None:
    content = {
        "pairs": str(manifest), "source": {"size": 32}, "target": {"size": 24, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random"}, "student": {"backbone": "test_resnet"},
        "objective": {"name": "cmc", "temperature": 0.2}, "train": {"epochs": 1, "batch_size": 8, "seed": 5},
    }  # fmt: skip
    CrossModalEmbedder(temperature=0.3, batch_size=16, out=tmp_path / "run").fit(content)
    _, config = open_run(tmp_path / "run")
    assert config.objective.model_dump().items() >= {"name": "cmc", "temperature": 0.3}.items()
    assert (config.train.batch_size, config.train.seed) == (16, 5)
    assert config.target.model_dump()["size"] == 24
