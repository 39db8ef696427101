"""Search: exact and approximate, on a disk that breaks, by the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.typing import NDArray

import crossdistill
from conftest import write_pairs
from crossdistill.cli import adding
from crossdistill.cli.app import main
from crossdistill.errors import (
    ConfigError,
    MissingDependencyError,
    PairsError,
    RunFolderError,
    StorageError,
)
from crossdistill.item import MemoryItem
from crossdistill.pipeline import CrossModalModel, run
from crossdistill.search import Hit, Index, changes, graph, own_items, storage
from crossdistill.search.exact import nearest

Vectors = NDArray[np.float32]


def settings(manifest: Path, out: Path, seed: int = 0) -> dict[str, Any]:
    return {
        "pairs": str(manifest),
        "source": {"size": 32},
        "target": {"size": 32, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random"},
        "student": {"backbone": "test_resnet"},
        "train": {"epochs": 1, "batch_size": 16, "seed": seed},
        "evaluate": {"protocols": [], "controls": []},
        "out": str(out),
    }


@pytest.fixture(scope="module")
def folder(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run."""
    return run(settings(manifest, tmp_path_factory.mktemp("search") / "run")).root


@pytest.fixture(scope="module")
def model(folder: Path) -> CrossModalModel:
    return crossdistill.load(folder)


@pytest.fixture(scope="module")
def other(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same teacher with another student."""
    place = tmp_path_factory.mktemp("search") / "other"
    changed = settings(manifest, place)
    changed["train"]["lr"] = 0.01
    return run(changed).root


def draw(count: int, width: int, seed: int = 0, centres: int = 20) -> Vectors:
    """Unit vectors around some centres."""
    drawn = np.random.default_rng(seed)
    middle = np.random.default_rng(99).normal(size=(centres, width))
    values = middle[drawn.integers(0, centres, count)] + 0.7 * drawn.normal(size=(count, width))
    unit: Vectors = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


def plain(queries: Vectors, vectors: Vectors, k: int) -> tuple[list[list[int]], list[list[float]]]:
    """The reference: every product in double precision, sorted by score and then by row."""
    rows, scores = [], []
    for query in queries:
        products = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
        products = np.clip(products, -1, 1)
        order = sorted(range(len(vectors)), key=lambda row, products=products: (-products[row], row))[:k]
        rows.append(order)
        scores.append([float(products[row]) for row in order])
    return rows, scores


def names(count: int, start: int = 0) -> list[str]:
    return [f"item-{number}" for number in range(start, start + count)]


def rows_of(hits: Sequence[Sequence[Hit]]) -> list[list[int]]:
    return [[hit.row for hit in each] for each in hits]


# Exact search


@pytest.mark.parametrize(
    ("count", "asked", "k"),
    [(1, 1, 1), (3, 2, 9), (5000, 3, 10), (9000, 140, 5), (70000, 2, 300), (70000, 2, 66000), (9000, 2, 8999)],
)
def test_exact_search_finds_what_a_plain_loop_finds(count: int, asked: int, k: int) -> None:
    vectors, queries = draw(count, 24), draw(asked, 24, seed=1)
    if count > 4:
        vectors[count // 2 :: 7] = vectors[2]  # equal scores go by row, also across blocks
        queries[0] = vectors[2]
    rows, scores = nearest(queries, vectors, k)
    few = min(asked, 4)
    wanted = plain(queries[:few], vectors, k)
    assert rows[:few].tolist() == wanted[0]
    assert scores[:few].tolist() == wanted[1]
    assert rows.shape == (asked, min(k, count))


def test_an_answer_does_not_depend_on_what_else_is_asked() -> None:
    vectors, queries = draw(20000, 40, centres=3), draw(130, 40, seed=1, centres=3)
    together = nearest(queries, vectors, 20)
    for number in (0, 77, 129):
        alone = nearest(queries[number : number + 1], vectors, 20)
        assert np.array_equal(alone[0][0], together[0][number])
        assert np.array_equal(alone[1][0], together[1][number])
    fewer = nearest(queries, vectors, 5)
    assert np.array_equal(fewer[0], together[0][:, :5])


def test_rows_that_are_all_alike_are_found_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossdistill.search.exact._MOST", 1000)
    vectors = np.repeat(draw(1, 16), 9000, axis=0)
    vectors[8500] = draw(2, 16, seed=3)[1]
    rows, _ = nearest(draw(3, 16, seed=1), vectors, 4)
    for found in rows.tolist():
        assert found in ([0, 1, 2, 3], [8500, 0, 1, 2])


def test_many_queries_for_many_rows_are_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = draw(6000, 8), draw(9, 8, seed=1)
    wanted = nearest(queries, vectors, 5000)
    monkeypatch.setattr("crossdistill.search.exact._BLOCK", 500)
    monkeypatch.setattr("crossdistill.search.exact._FIRST", 50)
    monkeypatch.setattr("crossdistill.search.exact._QUERIES", 20)  # for 5000 rows: two
    found = nearest(queries, vectors, 5000)
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1])


def test_exact_search_never_has_all_scores_in_memory() -> None:
    vectors, queries = draw(100_000, 8), draw(256, 8, seed=1)
    tracemalloc.start()
    try:
        nearest(queries, vectors, 10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * len(queries) * len(vectors) * 4


# Indices in memory and on a disk


@pytest.fixture(params=["memory", "disk"])
def index(request: pytest.FixtureRequest, model: CrossModalModel, tmp_path: Path) -> Index:
    return Index.create(None if request.param == "memory" else tmp_path / "index", model, "source")


def again(index: Index) -> Index:
    """The same index, as another process finds it."""
    return index if index.folder is None else Index.open(index.folder)


def test_an_index_answers_with_ids_scores_and_metadata(index: Index, model: CrossModalModel) -> None:
    vectors = draw(50, index.width)
    about = pa.table({"label": [None, *("abc"[i % 3] for i in range(49))], "year": range(50)})
    assert index.add(vectors, names(50), about) == 50
    index = again(index)
    assert (len(index), index.modality, index.width) == (50, "source", model.width)
    assert index.vectors.tolist() == vectors.tolist()
    assert index.columns == ["label", "year"]
    found = index.query(vectors[:2], 3)
    assert rows_of(found) == plain(vectors[:2], vectors, 3)[0]
    assert found[0][0] == Hit("item-0", 0, 1.0, {"label": None, "year": 0})
    assert found[1][0].metadata == {"label": "a", "year": 1}
    index.check(model)


def test_an_index_without_items_finds_nothing(index: Index) -> None:
    assert index.add(np.empty((0, index.width), np.float32), []) == 0
    assert again(index).query(draw(2, index.width), 3) == [[], []]
    index.add(draw(2, index.width), names(2))
    assert again(index).query(np.empty((0, index.width), np.float32), 3) == []
    assert [len(hits) for hits in again(index).query(draw(1, index.width), 7)] == [2]


def test_an_id_is_left_replaced_or_added_by_its_content(index: Index) -> None:
    vectors, others = draw(6, index.width), draw(4, index.width, seed=5)
    index.add(vectors, names(6), pa.table({"n": range(6)}), contents=list("abcdef"))
    before = again(index)
    added = index.add(
        others, ["item-4", "new", "item-1", "item-2"], pa.table({"n": [40, 60, 10, 20]}), contents=["E", "g", "b", "C"]
    )
    assert added == 3
    now = again(index)
    expected = vectors.copy()
    expected[[4, 2]] = others[[0, 3]]
    assert now.vectors.tolist() == [*expected.tolist(), others[1].tolist()]
    assert now.ids == [*names(6), "new"]
    assert [hits[0].metadata["n"] for hits in now.query(now.vectors, 1)] == [0, 1, 20, 3, 40, 5, 60]
    assert index.holds(["item-4", "item-1", "item-3", "nowhere"], ["e", "b", "x", "y"]).tolist() == [0, 1, 0, 0]
    if index.folder is not None:  # whoever had it open keeps what it opened
        assert before.vectors.tolist() == vectors.tolist()
        assert before.query(vectors[4:5], 1)[0][0].row == 4
    assert index.add(vectors[:1], ["item-0"]) == 1  # its own content now is that of the vector
    assert index.add(vectors[:1], ["item-0"]) == 0


def test_metadata_of_several_additions_come_together(index: Index) -> None:
    index.add(draw(2, index.width), names(2), pa.table({"n": [1, 2], "only": ["x", None]}))
    index.add(draw(2, index.width, seed=1), names(2, 2), pa.table({"n": [0.5, None], "late": [True, False]}))
    index.add(draw(1, index.width, seed=2), names(1, 4))
    index = again(index)
    found = {hit.id: hit.metadata for hit in index.query(draw(1, index.width), 9)[0]}
    assert found["item-0"] == {"n": 1.0, "only": "x", "late": None}
    assert found["item-2"] == {"n": 0.5, "only": None, "late": True}
    assert found["item-4"] == {"n": None, "only": None, "late": None}
    with pytest.raises(ConfigError, match="another type") as caught:
        index.add(draw(1, index.width, seed=3), ["z"], pa.table({"only": [3]}))
    assert "column only" in caught.value.details["where"]
    assert len(again(index)) == 5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda vectors: (vectors[:, :-1], names(4)), "another shape"),
        (lambda vectors: (vectors[0], names(4)), "another shape"),
        (lambda vectors: ("words", names(4)), "another shape"),
        (lambda vectors: (vectors * 1.1, names(4)), "unit length"),
        (lambda vectors: (vectors * np.nan, names(4)), "unit length"),
        (lambda vectors: (np.full_like(vectors, np.inf), names(4)), "unit length"),
        (lambda vectors: (np.full(vectors.shape, 1e300), names(4)), "unit length"),
        (lambda vectors: (vectors * 0, names(4)), "unit length"),
        (lambda vectors: (vectors, names(3)), "as many ids"),
        (lambda vectors: (vectors, ["a", "b", "a", "c"]), "twice"),
        (lambda vectors: (vectors, ["a", "b", "", "c"]), "empty"),
        (lambda vectors: (vectors, ["a", "b", "\udcff", "c"]), "no text"),
        (lambda vectors: (vectors, names(4), pa.table({"n": [1]})), "same length"),
        (lambda vectors: (vectors, names(4), pa.table({"_id": range(4)})), "cannot have this name"),
    ],
)
def test_what_does_not_fit_is_refused_as_a_whole(
    model: CrossModalModel, change: Callable[[Vectors], Sequence[Any]], text: str
) -> None:
    index = Index.create(None, model, "target")
    with pytest.raises(ConfigError, match=text):
        index.add(*change(draw(4, index.width)))
    assert len(index) == 0


def test_queries_that_do_not_fit_are_refused(model: CrossModalModel) -> None:
    index = Index.create(None, model, "target")
    index.add(draw(4, index.width), names(4))
    for queries, k, text in ((draw(1, 3), 1, "another shape"), (draw(1, index.width) * np.nan, 1, "unit"),
                             (draw(1, index.width), 0, "look for something")):  # fmt: skip
        with pytest.raises(ConfigError, match=text):
            index.query(queries, k)


def test_modality_and_kind_have_to_be_known(model: CrossModalModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown modality"):
        Index.create(tmp_path / "i", model, "photo")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Unknown kind"):
        Index.create(tmp_path / "i", model, "source", "ivf")  # type: ignore[arg-type]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(StorageError, match="something else"):
        Index.create(tmp_path / "full", model, "source")
    assert not (tmp_path / "i").exists()


def test_many_small_additions_become_few_files(
    model: CrossModalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "TABLES", 3)
    index = Index.create(tmp_path / "index", model, "source")
    vectors = draw(10, index.width)
    for number in range(10):
        index.add(vectors[number : number + 1], [f"n{number}"], pa.table({"n": [number]}))
    assert len(list((tmp_path / "index").glob("*.parquet"))) <= 3
    opened = Index.open(tmp_path / "index")
    assert opened.vectors.tolist() == vectors.tolist()
    assert [hits[0].metadata["n"] for hits in opened.query(vectors, 1)] == list(range(10))


def test_two_that_add_at_once_both_add(model: CrossModalModel, tmp_path: Path) -> None:
    Index.create(tmp_path / "index", model, "source")
    vectors, problems = draw(40, model.width), []

    def add(start: int) -> None:
        try:
            index = Index.open(tmp_path / "index")  # its own lock, as another process would have it
            for row in range(start, start + 20):
                index.add(vectors[row : row + 1], [f"n{row}"])
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=add, args=(start,)) for start in (0, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    index = Index.open(tmp_path / "index")
    assert sorted(index.ids) == sorted(f"n{row}" for row in range(40))
    assert [hits[0].id for hits in index.query(vectors, 1)] == [f"n{row}" for row in range(40)]


def test_what_is_added_never_goes_into_another_index(model: CrossModalModel, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "index", model, "source")
    shutil.rmtree(tmp_path / "index")
    Index.create(tmp_path / "index", model, "target")
    with pytest.raises(RunFolderError, match="Another index stands"):
        index.add(draw(1, index.width), ["a"])
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(StorageError):
        index.add(draw(1, index.width), ["a"])


# Graphs


@pytest.fixture
def small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs from the two-hundredth row on."""
    pytest.importorskip("usearch")
    monkeypatch.setattr(graph, "TAIL_ROWS", 200)
    monkeypatch.setattr(graph, "AUTO_ABOVE", 500)


@pytest.mark.usefixtures("small_graphs")
def test_a_graph_finds_nearly_all_of_the_nearest(index: Index) -> None:
    vectors, queries = draw(4000, index.width), draw(50, index.width, seed=1)
    index.add(vectors, names(4000))
    index = again(index)
    assert index.graph is not None
    assert index.graph.rows == 4000
    found, wanted = index.query(queries, 10), plain(queries, vectors, 10)
    shared = [len(set(one) & set(other)) for one, other in zip(rows_of(found), wanted[0], strict=True)]
    assert np.mean(shared) >= 9.5
    assert [hits[0].score for hits in found] == [scores[0] for scores in wanted[1]]
    assert index.query(queries, 10) == found
    assert rows_of(index.query(queries[:2], 3000)) == plain(queries[:2], vectors, 3000)[0]  # many: exactly


@pytest.mark.usefixtures("small_graphs")
def test_rows_that_the_graph_lacks_are_found(index: Index) -> None:
    vectors = draw(1000, index.width)
    index.add(vectors[:600], names(600), contents=names(600))
    assert index.graph is not None
    index.add(vectors[600:700], names(100, 600))
    assert index.graph.rows == 600
    index.add(vectors[700:720], names(20, 100))  # these rows are other vectors now
    assert len(index.graph.outdated) == 20
    now = again(index)
    found = now.query(vectors[np.r_[600:720, 0:100]], 1)
    assert rows_of(found) == [[row] for row in [*range(600, 700), *range(100, 120), *range(100)]]
    assert now.query(vectors[100:101], 1)[0][0].score < 1
    index.add(vectors[720:], names(280, 720))  # now it lacks too much
    assert again(index).graph.rows == 980  # type: ignore[union-attr]
    assert len(index.graph.outdated) == 0


@pytest.mark.usefixtures("small_graphs")
def test_the_same_additions_give_the_same_files(model: CrossModalModel, tmp_path: Path) -> None:
    vectors = draw(1200, model.width)
    for place in ("a", "b"):
        index = Index.create(tmp_path / place, model, "source", "hnsw")
        index.add(vectors[:700], names(700))
        index.add(vectors[700:], names(500, 700))  # the graph is made longer
        assert index.graph is not None
        assert index.graph.rows == 1200
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert any(name.endswith(".usearch") for name in files)
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.usefixtures("small_graphs")
def test_without_usearch_a_large_index_is_exact_and_says_so(
    model: CrossModalModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(MissingDependencyError) as caught:
        Index.create(None, model, "source", "hnsw")
    assert "crossdistill[search]" in caught.value.details["fix"]
    index = Index.create(tmp_path / "index", model, "source")
    vectors = draw(600, index.width)
    index.add(vectors, names(600))
    assert index.graph is None
    assert "searched exactly" in capsys.readouterr().err
    assert rows_of(Index.open(tmp_path / "index").query(vectors[:2], 3)) == plain(vectors[:2], vectors, 3)[0]


# Damage and interruption


@pytest.fixture
def broken(model: CrossModalModel, tmp_path: Path, small_graphs: None) -> Path:
    """An index with a file of every kind."""
    index = Index.create(tmp_path / "index", model, "source", "hnsw")
    index.add(draw(300, index.width), names(300), pa.table({"n": range(300)}))
    return tmp_path / "index"


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["vectors-*.f32", "items-*.parquet", "graph-*.usearch"])
@pytest.mark.parametrize("damage", [_flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1]),
                                    lambda path: path.write_bytes(b"")])  # fmt: skip
def test_a_damaged_file_is_told(broken: Path, file: str, damage: Callable[[Path], None]) -> None:
    path = next(broken.glob(file))
    damage(path)
    with pytest.raises(RunFolderError, match=r"A file of the index is (damaged|missing)") as caught:
        Index.open(broken)
    assert caught.value.details["where"] == str(path)
    assert "anew" in caught.value.details["fix"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": 2}, "another format"),
        ({"rows": 299}, "299"),
        ({"width": 0}, "width"),
        ({"modality": "photo"}, "modality"),
        ({"vectors": {"file": "../../etc/passwd", "parts": []}}, "vectors.file"),
        ({"tables": []}, "tables have 0 rows"),
        ({"graph": {"file": "graph-000001.usearch", "rows": 500, "sha256": "0" * 64, "outdated": []}}, "500"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_a_damaged_description_is_told(broken: Path, change: dict[str, Any], text: str) -> None:
    path = broken / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunFolderError) as caught:
        Index.open(broken)
    assert text in str(caught.value)
    assert "fix" in caught.value.details


def test_what_is_no_index_is_told(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="This is no index"):
        Index.open(tmp_path)
    (broken / "index.json").write_text("{")
    with pytest.raises(RunFolderError, match="damaged"):
        Index.open(broken)


class Killed(BaseException):
    """What nobody catches."""


def test_an_addition_that_breaks_off_anywhere_never_happened(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each moment between two files: after it the index is as before, and the same addition works."""
    vectors = draw(700, Index.open(broken).width)
    before, replace = Index.open(broken), Path.replace
    reached = set()
    for moment in range(1, 6):
        calls = 0

        def break_off(path: Path, target: Path, moment: int = moment) -> Path:
            nonlocal calls
            calls += 1
            if calls == moment:
                reached.add(target.name)
                raise Killed
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", break_off)
        try:
            # Fresh rows, replaced ones, and a graph that is made anew.
            Index.open(broken).add(vectors, names(700, 10))
        except Killed:
            monkeypatch.setattr(Path, "replace", replace)
            after = Index.open(broken)
            assert after.description == before.description
            assert after.vectors.tolist() == before.vectors.tolist()
            continue
        break
    monkeypatch.setattr(Path, "replace", replace)
    assert reached == {"vectors-000002.f32", "items-000002.parquet", "graph-000002.usearch", "index.json"}
    done = Index.open(broken)
    assert (len(done), done.description.generation) == (710, 2)
    assert done.vectors[10:].tolist() == vectors.tolist()
    assert len(list(broken.glob("*-*.*"))) == 3  # nothing is left of what broke off, or was replaced


def test_what_a_killed_addition_left_behind_is_overwritten(model: CrossModalModel, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "index", model, "source")
    vectors = draw(20, index.width)
    index.add(vectors[:10], names(10))
    with next((tmp_path / "index").glob("*.f32")).open("ab") as stream:
        stream.write(b"half of a row" * 999)
    (tmp_path / "index" / ".index.json.abc.part").write_text("{")
    opened = Index.open(tmp_path / "index")
    assert opened.vectors.tolist() == vectors[:10].tolist()
    opened.add(vectors[10:], names(10, 10))
    assert Index.open(tmp_path / "index").vectors.tolist() == vectors.tolist()
    assert not list((tmp_path / "index").glob(".*.part"))


def test_a_full_disk_leaves_the_index_as_it_was(
    model: CrossModalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.create(tmp_path / "index", model, "source")
    index.add(draw(3, index.width), names(3))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match="no room for the index"):
        index.add(draw(3, index.width, seed=1), names(3, 3))
    assert len(index) == len(Index.open(tmp_path / "index")) == 3


def test_who_opens_while_files_are_replaced_finds_the_new_ones(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may go at any moment between the description and its own opening."""
    opened, vectors = storage._opened, draw(1, Index.open(broken).width, seed=9)

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(storage, "_opened", opened)
        Index.open(broken).add(vectors, ["item-3"])  # a file of new vectors; the old one goes
        map_vectors(*arguments[:2])
        raise AssertionError("the old file is still there")

    map_vectors = storage.map_vectors
    monkeypatch.setattr(storage, "_opened", meanwhile)
    assert Index.open(broken).vectors[3].tolist() == vectors[0].tolist()


def test_a_file_that_cannot_be_read_is_told(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(broken / "vectors-000001.f32"))

    monkeypatch.setattr(storage, "map_vectors", refuse)
    with pytest.raises(RunFolderError, match="cannot be read") as caught:
        Index.open(broken)
    assert caught.value.details["where"] == str(broken / "vectors-000001.f32")


def test_all_files_are_on_the_disk_before_they_count(
    model: CrossModalModel, tmp_path: Path, small_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a file may be named by index.json, and empty."""
    settled, synced = set(), os.fsync

    def sync(number: int) -> None:
        settled.add(os.stat(number).st_ino)
        synced(number)

    monkeypatch.setattr(os, "fsync", sync)
    Index.create(tmp_path / "index", model, "source", "hnsw").add(draw(300, model.width), names(300))
    files = [path for path in (tmp_path / "index").iterdir() if path.name != ".lock"]
    assert len(files) == 4
    for path in files:
        assert path.stat().st_ino in settled, path


@pytest.mark.parametrize("damage", [_flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_graph_is_made_anew_from_the_vectors(
    broken: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    queries = draw(5, Index.open(broken).width, seed=4)
    wanted = Index.open(broken).query(queries, 5)
    damage(next(broken.glob("graph-*")))
    assert call("info", broken) == 6
    assert f"crossdistill index mend {broken}" in capsys.readouterr().err
    assert call("mend", broken) == 0
    assert "by a graph over 300" in capsys.readouterr().out
    assert Index.open(broken).query(queries, 5) == wanted
    assert len(list(broken.glob("graph-*"))) == 1
    _flip(next(broken.glob("vectors-*")))
    assert call("mend", broken) == 6
    assert call("mend", broken.parent) == 6
    assert not (broken.parent / ".lock").exists()


# By whom it was made


def test_an_index_of_other_encoders_never_answers(folder: Path, other: Path, model: CrossModalModel) -> None:
    stranger = crossdistill.load(other)
    for modality in ("source", "target"):
        index = Index.create(None, model, modality)  # type: ignore[arg-type]
        index.check(model)
        with pytest.raises(RunFolderError, match="another target encoder") as caught:
            index.check(stranger)
        assert "anew" in caught.value.details["fix"]
        if modality == "source":  # both runs have the same teacher: where no query of theirs is embedded, that is all
            index.check(stranger, ("source",))
        with pytest.raises(RunFolderError, match="another target encoder"):
            index.check(stranger, ("target",))


def test_other_preprocessing_is_another_encoder(folder: Path, model: CrossModalModel, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "student" / "encoder.json"
    content = json.loads(path.read_text())
    content["preprocessing"]["mean"] = [0.25]
    path.write_text(json.dumps(content))
    with pytest.raises(RunFolderError, match="another target encoder") as caught:
        Index.create(None, model, "target").check(crossdistill.load(tmp_path / "run"))
    assert "preprocessing" in caught.value.details["received"]


# The items of a run


def test_own_items_are_those_of_the_pairs(folder: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found = own_items(folder, "target")
    with (folder / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(found) == len(rows)
    for item in found:
        assert item.id == str(item.item) == rows[item.row]["target"]
        assert (item.label, item.split) == (rows[item.row]["label"], rows[item.row]["split"])


def test_own_items_of_shards_count_once_and_can_be_embedded(
    folder: Path, model: CrossModalModel, manifest: Path, tmp_path: Path
) -> None:
    place = tmp_path / "run"
    place.mkdir()
    target = (manifest.parent / "target" / "0-0.png").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(12):
            source = (manifest.parent / "source" / f"{number % 3}-{number // 6}.png").read_bytes()
            for ending, content in (("photo.png", source), ("drawing.png", target)):
                member = tarfile.TarInfo(f"{number:03d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["pairs"] = {
        "webdataset": {"shards": str(tmp_path / "a.tar"), "source": "photo.png", "target": "drawing.png"},
        "split": content["pairs"]["split"],
    }
    (place / "config.yaml").write_text(yaml.safe_dump(content))
    found = own_items(place, "source")
    assert [each.row for each in found] == [0, 1, 2, 6, 7, 8]
    assert len(own_items(place, "target")) == 1
    vectors = model.embed([each.item for each in found], "source")
    files = [manifest.parent / "source" / f"{each.row % 3}-{each.row // 6}.png" for each in found]
    assert np.array_equal(vectors, model.embed(files, "source"))
    uploads = [MemoryItem(file.name, file.read_bytes()) for file in files]
    assert np.array_equal(vectors, model.embed(uploads, "source"))


def test_own_items_that_are_gone_are_told(tmp_path: Path, folder: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", variants=2)
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["pairs"]["manifest"] = str(pairs)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(content))
    assert len(own_items(tmp_path / "run", "source")) == 8
    shutil.copy2(folder / "pairs.csv", tmp_path / "run" / "pairs.csv")
    with pytest.raises(RunFolderError, match="pairs have changed"):
        own_items(tmp_path / "run", "source")
    shutil.rmtree(tmp_path / "pairs")
    with pytest.raises(PairsError, match="own pairs cannot be opened") as caught:
        own_items(tmp_path / "run", "source")
    assert "name files and folders instead" in caught.value.details["fix"]


# The command line


def call(*arguments: object) -> int:
    """Runs the command in this process; returns its exit code."""
    sys.argv = ["crossdistill", "index", *map(str, arguments)]
    with pytest.raises(SystemExit) as caught:
        main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture
def photos(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Source items in a folder that is named relatively."""
    shutil.copytree(manifest.parent / "source", tmp_path / "photos")
    (tmp_path / "photos" / ".hidden").write_text("not an item")
    monkeypatch.chdir(tmp_path)
    return Path("photos")


def test_the_runs_own_items_are_indexed_and_found_by_either_modality(
    folder: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "own.index"
    assert call("build", folder, "--out", place) == 0
    output = capsys.readouterr()
    assert output.out.startswith("64 items")
    assert "embedding source items" in output.err
    assert call("info", place, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["items"], told["modality"], told["metadata"]) == (64, "source", ["label", "split"])
    assert call("info", place) == 0
    assert "64 source items" in capsys.readouterr().out
    item = manifest.parent / "source" / "1-3.png"
    assert call("query", place, item, "--modality", "source", "--json", "-k", 2) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert answer["query"] == str(item)
    assert answer["hits"][0]["id"] == str(item)
    assert answer["hits"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert answer["hits"][0]["metadata"]["label"] == "corners 4"
    targets = [manifest.parent / "target" / f"{label}-0.png" for label in range(3)]
    assert call("query", place, *targets, "--json", "-k", 64) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    model, index = crossdistill.load(folder), Index.open(place)
    wanted = plain(model.embed(targets, "target"), np.asarray(index.vectors), 64)[0]
    assert [[hit["id"] for hit in line["hits"]] for line in lines] == [
        [index.ids[row] for row in rows] for rows in wanted
    ]


def test_files_with_metadata_are_added_step_by_step(
    folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = Path("about.csv")
    about.write_text('path,code,note\nphotos/0-0.png,007,"a, b"\n./photos/0-1.png,,plain [bold]text\n')
    assert call("build", folder, photos / "0-0.png", photos / "0-1.png", photos / "0-2.png", "--out", "i",
                "--metadata", about) == 0  # fmt: skip
    assert call("add", "i", photos, photos / "0-0.png") == 0
    assert "61 added, 0 replaced, 3 left" in capsys.readouterr().out
    shutil.copy2(photos / "3-3.png", photos / "2-2.png")
    assert call("add", "i", photos) == 0
    assert "0 added, 1 replaced, 63 left" in capsys.readouterr().out
    assert call("query", "i", photos / "0-1.png", "--modality", "source", "-k", 1, "--json") == 0
    hit = json.loads(capsys.readouterr().out)["hits"][0]
    assert (hit["id"], hit["metadata"]) == ("photos/0-1.png", {"code": None, "note": "plain [bold]text"})
    assert Index.open(Path("i")).query(crossdistill.load(folder).embed([photos / "0-0.png"], "source"), 1)[0][
        0
    ].metadata == {"code": "007", "note": "a, b"}
    assert call("query", "i", photos / "0-1.png", "--modality", "source", "-k", 3) == 0
    table = capsys.readouterr().out
    assert "photos/0-1.png" in table
    assert "plain [bold]text" in table
    assert "1.000" in table
    assert "\x1b[" not in table


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("path,n\nphotos/nowhere.png,1\n", "no input"),
        ("path,n\nphotos/0-0.png,1\nphotos/0-0.png,2\n", "twice"),
        ("file,n\nphotos/0-0.png,1\n", "wrong columns"),
        ("path\nphotos/0-0.png\n", "wrong columns"),
        ("path,n,n\nphotos/0-0.png,1,1\n", "wrong columns"),
        ("path,n\nphotos/0-0.png,1,2\n", "number of fields"),
        ("path,_id\nphotos/0-0.png,1\n", "cannot have this name"),
        ("", "wrong columns"),
        ("\xff\xfe", "wrong columns"),
    ],
)
def test_metadata_that_do_not_fit_are_told(
    folder: Path, photos: Path, content: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("about.csv").write_text(content)
    assert call("build", folder, photos, "--out", "i", "--metadata", "about.csv") == 2
    message = capsys.readouterr().err
    assert text in message
    assert message.count("error:") == 1


def test_metadata_in_parquet_keep_their_types(folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = [str(photos / "0-0.png"), str(photos / "0-1.png")]
    pq.write_table(pa.table({"path": named, "year": [1999, None], "size": [float("nan"), 2.5]}), "about.parquet")
    assert call("build", folder, *named, "--out", "i", "--metadata", "about.parquet") == 0
    capsys.readouterr()
    assert call("query", "i", *named, "--modality", "source", "-k", 1, "--json") == 0
    found = [json.loads(line)["hits"][0]["metadata"] for line in capsys.readouterr().out.splitlines()]
    assert found == [{"year": 1999, "size": None}, {"year": None, "size": 2.5}]
    Path("about.parquet").write_bytes(b"PAR1 and no more")
    assert call("build", folder, *named, "--out", "j", "--metadata", "about.parquet") == 2
    assert call("build", folder, *named, "--out", "j", "--metadata", "about.txt") == 2


def test_a_build_that_is_interrupted_goes_on(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(adding, "_COMMIT", 20)
    monkeypatch.setattr(adding, "_CHUNK", 10)
    assert call("build", folder, photos, "--out", "whole") == 0
    embed, calls = CrossModalModel.embed, []

    def interrupted(self: CrossModalModel, items: Sequence[Any], modality: Any = "target") -> Any:
        calls.append(len(items))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return embed(self, items, modality)

    monkeypatch.setattr(CrossModalModel, "embed", interrupted)
    assert call("build", folder, photos, "--out", "i") == 130
    assert "goes on where it stopped" in capsys.readouterr().err
    assert len(Index.open(Path("i"))) == 20
    assert call("query", "i", photos / "0-0.png") == 6
    assert "half built" in capsys.readouterr().err
    assert call("add", "i", photos / "0-0.png") == 6
    assert call("info", "i") == 0
    assert call("build", folder, photos / "3-3.png", "--out", "i") == 6
    assert "Another index lies half built" in capsys.readouterr().err
    calls[:] = [0] * 4
    assert call("build", folder, photos, "--out", "i") == 0
    assert sum(calls[4:]) == 44
    assert "going on with 20 items" in capsys.readouterr().err
    for path in Path("whole").iterdir():
        assert path.read_bytes() == (Path("i") / path.name).read_bytes()


def test_a_build_goes_on_with_the_same_metadata_alone(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is in the index already would keep the old ones."""
    monkeypatch.setattr(adding, "_COMMIT", 20)
    about = Path("about.csv")
    about.write_text("path,n\nphotos/0-0.png,old\n")
    build = ("build", folder, photos, "--out", "i", "--metadata", about)
    add, calls = Index.add, []

    def interrupted(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return add(*arguments, **more)

    monkeypatch.setattr(Index, "add", interrupted)
    assert call(*build) == 130
    about.write_text("path,n\nphotos/0-0.png,new\n")
    for other in (build, build[:-2]):
        capsys.readouterr()
        assert call(*other) == 6
        assert "begun with other metadata" in capsys.readouterr().err
    about.write_text("path,n\nphotos/0-0.png,old\n")
    assert call(*build) == 0
    assert Index.open(Path("i")).metadata(0) == {"n": "old"}
    assert "metadata_sha256" not in Path("i/index.json").read_text()


def test_files_that_cannot_be_read_stop_it_or_are_named(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(adding, "_COMMIT", 20)
    monkeypatch.setattr(adding, "_CHUNK", 10)
    assert call("build", folder, photos, "--out", "whole") == 0
    for name in ("0-5.txt", "zz.png"):
        (photos / name).write_text("no picture")
    (photos / "gone.png").symlink_to("zz.png")
    about = Path("about.csv")
    about.write_text("path,n\n" + "".join(f"{path},{path.stem}\n" for path in photos.glob("*.png")))
    assert call("build", folder, photos, "--out", "i", "--metadata", about) == 3
    shutil.rmtree("i")
    capsys.readouterr()
    assert call("build", folder, photos, "--out", "i", "--metadata", about, "--skip-unreadable") == 0
    message = capsys.readouterr().err
    for name in ("0-5.txt", "gone.png", "zz.png"):
        assert f"left out: photos/{name}: An image cannot be read." in message
    assert "3 of 67 items are left out" in message
    found, whole = Index.open(Path("i")), Index.open(Path("whole"))
    assert found.ids == whole.ids
    np.testing.assert_allclose(found.vectors, whole.vectors, atol=1e-6)
    assert [found.metadata(row)["n"] for row in range(64)] == [Path(name).stem for name in found.ids]
    shutil.copy2(photos / "0-0.png", photos / "new.png")
    assert call("add", "i", photos) == 3
    assert call("add", "i", photos, "--skip-unreadable") == 0
    assert "1 added, 0 replaced, 64 left as they were" in capsys.readouterr().out
    assert call("add", "i", photos / "zz.png", "--skip-unreadable") == 3
    assert "Nothing of the inputs can be read" in capsys.readouterr().err


def test_an_index_below_an_input_is_no_item(
    folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    inside = photos / "photos.index"
    for _ in range(2):
        assert call("build", folder, photos, "--out", inside) == 0 or "holds an index" in capsys.readouterr().err
        assert call("add", inside, photos) == 0
        assert "0 added, 0 replaced, 64 left" in capsys.readouterr().out
    assert call("add", inside, inside) == 3
    assert "no files but the index" in capsys.readouterr().err


def test_names_that_are_no_text_are_told_before_anything_is_embedded(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("build", folder, photos, "--out", "i") == 0
    shutil.copy2(photos / "0-0.png", os.fsdecode(bytes(photos) + b"/\xff.png"))
    about = Path("about.csv")
    about.write_text("path,n\nphotos/0-0.png,1\n")

    def never(*arguments: Any) -> Any:
        raise AssertionError("something is embedded")

    monkeypatch.setattr(CrossModalModel, "embed", never)
    for arguments in (("build", folder, photos, "--out", "j"), ("add", "i", photos), ("query", "i", photos),
                      ("build", folder, photos, "--out", "j", "--metadata", about)):  # fmt: skip
        capsys.readouterr()
        assert call(*arguments) == 2
        message = capsys.readouterr().err
        assert "photos/\\xff.png" in message
        assert message.count("error:") == 1


def test_mistakes_end_in_one_message(
    folder: Path, other: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, "moved")
    item = photos / "0-0.png"
    assert call("build", "moved", item, "--out", "i") == 0
    for code, text, arguments in (
        (7, "holds an index already", ("build", "moved", item, "--out", "i")),
        (7, "holds something else", ("build", "moved", item, "--out", photos)),
        (2, "Unknown modality", ("build", "moved", item, "--out", "j", "--modality", "photo")),
        (2, "Unknown modality", ("query", "i", item, "--modality", "photo")),
        (2, "Unknown kind", ("build", "moved", item, "--out", "j", "--kind", "ivf")),
        (3, "An input is missing", ("build", "moved", "nowhere.png", "--out", "j")),
        (6, "no run folder", ("build", photos, item, "--out", "j")),
        (6, "no index", ("query", photos, item)),
        (6, "no index", ("info", "nowhere")),
        (3, ".hidden", ("add", "i", photos / ".hidden")),
        (6, "another target encoder", ("query", "i", item, "--run", other)),
    ):
        capsys.readouterr()
        assert call(*arguments) == code
        message = capsys.readouterr().err
        assert text in message
        assert message.count("error:") == 1
    assert not Path("j").exists()
    Path("moved").rename("elsewhere")
    assert call("query", "i", item) == 6
    assert "--run" in capsys.readouterr().err
    assert call("query", "i", item, "--modality", "source", "--run", "elsewhere") == 0
