"""The teacher bank: its bytes, its keys, many processes, kills, damage, and reading in place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from bank_worker import make_items, make_teacher
from conftest import write_pairs
from crossdistill.bank import (
    BankRows,
    SourceViews,
    build_bank,
    build_view_bank,
    open_bank,
    packed,
    teacher_view,
    view_placements,
)
from crossdistill.bank.building import build_packed
from crossdistill.bank.description import Description, cut
from crossdistill.bank.layout import DTYPES, Dtype
from crossdistill.bank.packed import Packed, Place
from crossdistill.encoders import Teacher
from crossdistill.errors import RunFolderError, StorageError, TrainingError
from crossdistill.files import require_space
from crossdistill.objectives import CMC, TeacherColumns
from crossdistill.pairs.items import Items
from test_cli import call

ROUNDING = {"float32": 0.0, "bfloat16": 2.0**-8, "float16": 2.0**-11}  # of the nearest number, relative
SHARDS = 4  # of 64 rows; the last holds 8


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 200 pairs."""
    return write_pairs(tmp_path_factory.mktemp("many"), variants=50)


@pytest.fixture(scope="module")
def items(many: Path) -> Items:
    return make_items(many)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return make_teacher()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Here as in the workers: another number of threads may round differently on some processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(items: Items, teacher: Teacher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank that was built in one go."""
    folder = tmp_path_factory.mktemp("whole") / "bank"
    build_bank(folder, teacher, items, shard_rows=64)
    return folder


@pytest.fixture
def bank(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(whole, tmp_path / "bank")
    return tmp_path / "bank"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches that a teacher embeds in this process."""
    sizes: list[int] = []
    embed = Teacher.embed

    def counting(self: Teacher, batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return embed(self, batch)

    monkeypatch.setattr(Teacher, "embed", counting)
    return sizes


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(place)
        value = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([value ^ 4]))


def data(folder: Path) -> Path:
    return folder / "embeddings.safetensors"


class TestRows:
    def test_hold_what_the_teacher_gives_once_for_each_content(
        self, items: Items, teacher: Teacher, tmp_path: Path
    ) -> None:
        copy = tmp_path / "copy.png"
        copy.write_bytes(items.files[3].read_bytes())
        some = Items([*items.files[:8], copy], [""] * 9, teacher.modality, "")
        bank = build_bank(tmp_path / "bank", teacher, some)
        assert bank.matrix.shape == (8, teacher.width)
        torch.testing.assert_close(bank.of(some.files), teacher.embed(some.batch(range(9))), rtol=1e-4, atol=1e-5)
        assert bank.rows([copy]).tolist() == bank.rows([items.files[3]]).tolist() == [3]
        assert open_bank(str(tmp_path / "bank")).rows([copy]).tolist() == [
            3
        ]  # found by content, without a list of items

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_are_the_nearest_numbers_of_their_type(
        self, items: Items, teacher: Teacher, tmp_path: Path, dtype: Dtype
    ) -> None:
        bank = build_bank(tmp_path, teacher, items, dtype=dtype, shard_rows=64)
        exact = torch.cat([teacher.embed(items.batch(range(s, min(s + 64, 200)))) for s in range(0, 200, 64)])
        found = bank.of(items.files)
        assert found.dtype == torch.float32
        assert torch.equal(found, exact.to(getattr(torch, dtype)).float())
        smallest = 0.0 if dtype == "float32" else 2.0**-25  # half of float16's smallest number
        assert bool(((found - exact).abs() <= ROUNDING[dtype] * exact.abs() + smallest).all())

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_are_read_by_safetensors_too(self, items: Items, teacher: Teacher, tmp_path: Path, dtype: Dtype) -> None:
        bank = build_bank(tmp_path, teacher, items, dtype=dtype)
        tensors = load_file(data(tmp_path))
        assert torch.equal(tensors["embeddings"], bank.matrix)
        assert tensors["embeddings"].dtype == getattr(torch, dtype)
        assert tensors["items"].shape == (200, 12)
        (length,) = np.frombuffer(data(tmp_path).read_bytes()[:8], "<u8")
        assert (8 + int(length)) % 64 == 0

    def test_too_large_for_float16_are_refused(
        self, items: Items, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        large = torch.zeros(64, teacher.width)
        large[2, 0] = 70_000
        monkeypatch.setattr(Teacher, "embed", lambda _, batch: large[: len(batch)])
        with pytest.raises(TrainingError, match=rf"{items.files[2].name}(.|\n)*65504(.|\n)*bfloat16"):
            build_bank(tmp_path, teacher, items, dtype="float16")
        assert not (tmp_path / "embeddings.json").exists()

    def test_that_are_not_finite_name_their_item(
        self, items: Items, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = torch.zeros(64, teacher.width)
        broken[2, 0] = float("nan")
        monkeypatch.setattr(Teacher, "embed", lambda _, batch: broken[: len(batch)])
        with pytest.raises(TrainingError, match=items.files[2].name):
            build_bank(tmp_path, teacher, items)


class TestReading:
    def test_is_in_place(self, whole: Path, items: Items) -> None:
        bank = open_bank(whole)
        assert bank.matrix[5:9].data_ptr() - bank.matrix.data_ptr() == 5 * bank.packed.description.layout.row_bytes
        mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(data(whole)) in line]
        first, last = (int(end, 16) for end in mapped[-1].split()[0].split("-"))
        assert any(
            int(line.split("-")[0], 16) <= bank.matrix.data_ptr() < int(line.split()[0].split("-")[1], 16)
            for line in mapped
        ), (first, last)
        assert bank.matrix.data_ptr() % 64 == 0
        torch.testing.assert_close(bank.of(items.files[:3]), bank.matrix[:3])

    def test_of_lazy_rows_is_exact(self, whole: Path, items: Items) -> None:
        bank = open_bank(whole)
        files = items.files[::-3]
        lazy, plain = bank.lazy(files), bank.of(files)
        assert (lazy.shape, len(lazy), lazy.nbytes) == (plain.shape, len(plain), plain.nbytes)
        centre = lazy.mean(torch.arange(10))
        torch.testing.assert_close(centre, plain[:10].mean(dim=0))
        centred = lazy.centred(centre)
        expected = plain - centre
        assert torch.equal(centred[:], expected)
        assert torch.equal(centred[torch.tensor([4, 4, 0])], expected[[4, 4, 0]])
        assert torch.equal(centred[[7, 2]], expected[[7, 2]])
        assert torch.equal(centred[3:9], expected[3:9])
        assert torch.equal(centred.subset([5, 1, 8])[1:], expected[[1, 8]])
        assert torch.equal(centred.to(torch.device("cpu")), expected)
        with pytest.raises(ValueError, match="already"):
            centred.centred(centre)
        lazy[:].zero_()  # a copy: the file stays as it is
        assert torch.equal(lazy[:], plain)

    def test_of_lazy_rows_as_columns_is_exact(self, whole: Path, items: Items) -> None:
        lazy = open_bank(whole).lazy(items.files).centred(torch.full((96,), 0.01))
        ids = torch.arange(len(items)) % 150
        student = torch.randn(20, 96, generator=torch.Generator().manual_seed(0))
        losses = []
        for embeddings in (lazy, lazy[:]):
            columns = TeacherColumns(embeddings, ids)
            cmc = CMC(against="bank", symmetric=False)
            cmc.prepare(columns)
            losses.append(cmc(student, lazy[:20], ids[:20]))
            assert (len(columns), columns.width) == (200, 96)
            assert torch.equal(columns.sample(7, 1, student), TeacherColumns(lazy[:], ids).sample(7, 1, student))
        assert torch.equal(*losses)
        moved = TeacherColumns(lazy, ids).to(torch.device("meta"))
        assert moved.embeddings.shape == (200, 96)

    def test_of_a_bank_larger_than_memory(self, tmp_path: Path) -> None:
        """3 GiB on a sparse file, read by a process that may have 1.5 GiB of its own."""
        rows, width = 3 << 20, 256
        shards = [each.model_copy(update={"sha256": "0" * 64}) for each in cut(0, rows, 1 << 16)]
        about = {"teacher": {}, "preprocessing": {}}
        plan = Description(key="k", rows=rows, width=width, dtype="float32", about=about, shards=shards)
        with (tmp_path / "big.safetensors").open("wb") as stream:
            stream.write(plan.layout.header)
            stream.truncate(plan.layout.size)
            stream.seek(plan.layout.offset(rows - 1))
            stream.write(np.ones(width, dtype=np.float32).tobytes())
        (tmp_path / "big.json").write_text(json.dumps(plan.to_json()))
        code = f"""
import resource, torch
from pathlib import Path
from crossdistill.bank import BankRows
from crossdistill.bank.packed import Packed, Place
resource.setrlimit(resource.RLIMIT_DATA, (3 << 29, 3 << 29))
torch.set_num_threads(1)
rows = BankRows(Packed.open(Place(Path({str(tmp_path)!r}), "big"), "none").matrix)
assert rows.nbytes == 3 << 30
total = sum(float(rows[s : s + 65536].sum()) for s in range(0, len(rows), 65536))
assert total == {width}, total
assert float(rows.mean(torch.arange(len(rows) - 4, len(rows)))[0]) == 0.25
try:
    torch.ones(3 << 28)
except RuntimeError:
    print("limited")
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "limited\n"), done.stderr


class TestKey:
    def test_the_same_opens_without_embedding(self, bank: Path, items: Items, embedded: list[int]) -> None:
        build_bank(bank, make_teacher(), items)
        build_bank(bank, make_teacher(), items.subset([7, 3]))  # some of its items: nothing to compute either
        assert embedded == []

    def test_another_teacher(self, bank: Path, items: Items) -> None:
        with pytest.raises(RunFolderError, match=r"another teacher(.|\n)*fingerprint(.|\n)*weights: (.|\n)*bank build"):
            build_bank(bank, make_teacher(seed=1), items)

    def test_another_preprocessing(self, bank: Path, items: Items, many: Path) -> None:
        with pytest.raises(RunFolderError, match=r"another preprocessing(.|\n)*preprocessing\.size: 32, now 24"):
            build_bank(bank, make_teacher(size=24), make_items(many, 8, size=24))

    def test_another_type(self, bank: Path, items: Items, teacher: Teacher) -> None:
        with pytest.raises(RunFolderError, match=r"another type(.|\n)*bank\.dtype=float32(.|\n)*float16"):
            build_bank(bank, teacher, items, dtype="float16")

    def test_items_that_are_missing_are_told_and_added(
        self, items: Items, teacher: Teacher, tmp_path: Path, embedded: list[int]
    ) -> None:
        first = build_bank(tmp_path, teacher, items.subset(range(100)), shard_rows=64)
        before = first.of(items.files[:100])
        with pytest.raises(
            RunFolderError, match=rf"100 are missing, the first is .*{items.files[100].name}\n(.|\n)*bui"
        ):
            build_bank(tmp_path, teacher, items)
        with pytest.raises(RunFolderError, match=r"1 are missing"):
            first.rows([items.files[0], items.files[150]])
        embedded.clear()
        # Another order, too: rows that are there stay where they are.
        later = build_bank(tmp_path, teacher, items.subset(range(199, -1, -1)), shard_rows=64, extend=True)
        assert embedded == [64, 36]
        assert torch.equal(later.of(items.files[:100]), before)
        assert later.rows(items.files[:100]).tolist() == list(range(100))
        expected = teacher.embed(items.batch(range(200)))
        torch.testing.assert_close(later.of(items.files), expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(first.of(items.files[:100]), before)  # who had it open still has it
        assert [shard.start for shard in later.packed.description.shards] == [0, 64, 100, 164]

    def test_an_older_format(self, tmp_path: Path, items: Items, teacher: Teacher) -> None:
        (tmp_path / "bank.json").write_text('{"format": 1}')
        with pytest.raises(RunFolderError, match=r"another format(.|\n)*rm -r(.|\n)*bank build"):
            build_bank(tmp_path, teacher, items)


class TestManyProcesses:
    def worker(self, many: Path, folder: Path, log: Path, rest: float) -> subprocess.Popen[bytes]:
        script = Path(__file__).parent / "bank_worker.py"
        command = [sys.executable, str(script), str(many), str(folder), str(log), str(rest)]
        with log.with_suffix(".err").open("wb") as errors:
            return subprocess.Popen(command, stderr=errors, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def test_embed_each_shard_once(self, many: Path, whole: Path, tmp_path: Path) -> None:
        workers = [self.worker(many, tmp_path / "bank", tmp_path / f"log{number}", 0.5) for number in range(2)]
        assert [worker.wait(120) for worker in workers] == [0, 0], (tmp_path / "log0.err").read_text()
        logs = [(tmp_path / f"log{number}") for number in range(2)]
        lines = [log.read_text().splitlines() if log.exists() else [] for log in logs]
        assert sorted(int(line.split()[0]) for log in lines for line in log) == [8, 64, 64, 64]
        assert len({line for log in lines for line in log}) == SHARDS
        assert contents(tmp_path / "bank") == contents(whole)

    def test_a_killed_build_goes_on(self, many: Path, whole: Path, tmp_path: Path, items: Items) -> None:
        folder, log = tmp_path / "bank", tmp_path / "log"
        worker = self.worker(many, folder, log, 0.4)
        while len(list(folder.glob("embeddings.building/*.json"))) < 3 and worker.poll() is None:  # plan, two shards
            time.sleep(0.01)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        done = len(log.read_text().splitlines())
        assert 2 <= done < SHARDS
        assert not (folder / "embeddings.json").exists()
        worker = self.worker(many, folder, log, 0)
        assert worker.wait(120) == 0, log.with_suffix(".err").read_text()
        assert len(log.read_text().splitlines()) <= SHARDS + 1  # at most the one shard that was being written
        assert contents(folder) == contents(whole)

    def test_what_others_hold_is_waited_for_and_taken_over(
        self, items: Items, teacher: Teacher, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two ranks of a run that are one process here: each starts with its own shards."""
        starts = []
        embed = Teacher.embed
        monkeypatch.setattr("crossdistill.bank.building.ranks.rank", lambda: 1)
        monkeypatch.setattr("crossdistill.bank.building.ranks.world", lambda: 2)
        monkeypatch.setattr("crossdistill.bank.building.ranks.is_first", lambda: False)
        monkeypatch.setattr("crossdistill.bank.bank.ranks.share", range)
        monkeypatch.setattr("crossdistill.bank.bank.ranks.gather_rows", lambda rows: rows)
        whole_rows = open_bank(whole).matrix

        def noting(self: Teacher, batch: Tensor) -> Tensor:
            result = embed(self, batch)
            starts.append(int((whole_rows - result[0]).abs().sum(dim=1).argmin()))
            return result

        monkeypatch.setattr(Teacher, "embed", noting)
        build_bank(tmp_path / "bank", teacher, items, shard_rows=64)
        assert starts == [64, 192, 0, 128]
        assert contents(tmp_path / "bank") == contents(whole)

    def test_a_larger_bank_that_takes_its_place_while_it_is_opened(
        self, items: Items, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build_bank(tmp_path, teacher, items.subset(range(64)))
        check = packed.check_structure

        def late(*arguments: Any) -> None:
            monkeypatch.undo()
            build_bank(tmp_path, teacher, items, extend=True)
            check(*arguments)

        monkeypatch.setattr(packed, "check_structure", late)
        assert open_bank(tmp_path).matrix.shape == (200, 96)

    def test_a_build_that_was_removed_while_it_slept_writes_nothing_into_the_next(self, tmp_path: Path) -> None:
        place = packed.Place(tmp_path / "bank", "embeddings")

        def plan(key: str) -> Description:
            return Description(key=key, rows=192, width=4, dtype="float32", about={}, shards=cut(0, 192, 64))

        def other() -> None:
            """Somebody gives the command that messages name, for another teacher, and is killed after a shard."""
            shutil.rmtree(place.folder)

            def stops(start: int, stop: int) -> Iterator[Tensor]:
                if start:
                    raise KeyboardInterrupt
                yield torch.full((stop - start, 4), 2.0)

            with pytest.raises(KeyboardInterrupt):
                build_packed(place, plan("other"), None, stops, "")

        def slow(start: int, stop: int) -> Iterator[Tensor]:
            if start == 64:
                other()
            yield torch.full((stop - start, 4), 1.0)

        build_packed(place, plan("own"), None, slow, "")
        build_packed(place, plan("other"), None, lambda start, stop: [torch.full((stop - start, 4), 2.0)], "")
        opened = packed.Packed.open(place, "all")
        assert opened.description.key == "other"
        assert torch.equal(opened.matrix, torch.full((192, 4), 2.0))

    def test_what_is_being_built_by_others_is_not_to_be_deleted(self, tmp_path: Path) -> None:
        place = packed.Place(tmp_path / "bank", "embeddings")
        plans = [
            Description(key=key, rows=64, width=4, dtype="float32", about={}, shards=cut(0, 64, 64)) for key in "ab"
        ]

        def meanwhile(start: int, stop: int) -> Iterator[Tensor]:
            with pytest.raises(RunFolderError, match=r"is being built(.|\n)*wait for the processes"):
                build_packed(place, plans[1], None, meanwhile, "")
            yield torch.zeros(64, 4)

        build_packed(place, plans[0], None, meanwhile, "")

    @pytest.mark.parametrize("world", [2, 3])
    def test_ranks_of_one_run_share_the_work(self, many: Path, whole: Path, tmp_path: Path, world: int) -> None:
        script, log = Path(__file__).parent / "bank_worker.py", tmp_path / "log"
        command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", str(script)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        done = subprocess.run(
            [sys.executable, *command, str(many), str(tmp_path / "bank"), str(log), "0.3"],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert sorted(int(line.split()[0]) for line in log.read_text().splitlines()) == [8, 64, 64, 64]
        assert done.stderr.count("embedding the source items") == 1
        assert contents(tmp_path / "bank") == contents(whole)


class TestHalfBuilt:
    @pytest.fixture
    def half(self, items: Items, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A bank whose third shard was not to be."""
        calls = []
        embed = Teacher.embed

        def failing(self: Teacher, batch: Tensor) -> Tensor:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return embed(self, batch)

        with monkeypatch.context() as patched:
            patched.setattr(Teacher, "embed", failing)
            with pytest.raises(KeyboardInterrupt):
                build_bank(tmp_path / "bank", make_teacher(), items, shard_rows=64)
        return tmp_path / "bank"

    def test_goes_on(
        self, half: Path, whole: Path, items: Items, teacher: Teacher, embedded: list[int], capsys: Any
    ) -> None:
        assert call("bank", "info", half, "--json") == 0
        (found,) = json.loads(capsys.readouterr().out)["matrices"]
        assert (found["state"], found["shards_done"], found["shards"]) == ("half built", 2, 4)
        assert call("bank", "verify", half) == 0
        assert "2 of 4 shards" in capsys.readouterr().out
        build_bank(half, teacher, items)  # with shards of another size: those of the plan count
        assert embedded == [64, 8]
        assert contents(half) == contents(whole)
        assert sorted(path.name for path in half.iterdir()) == [
            ".embeddings.lock", "embeddings.json", "embeddings.safetensors",
        ]  # fmt: skip

    def test_damage_and_lost_marks_are_computed_again(
        self, half: Path, whole: Path, items: Items, teacher: Teacher, embedded: list[int], capsys: Any
    ) -> None:
        plan = open_bank(whole).packed.description
        building = half / "embeddings.building"
        flip(building / "embeddings.safetensors", plan.layout.offset(70))
        assert call("bank", "verify", half) == 6
        assert "shard 1, rows 64 to 127" in capsys.readouterr().err
        (building / "000000.json").write_text("")  # as after a power cut
        build_bank(half, teacher, items, shard_rows=64)
        assert embedded == [64, 64, 64, 8]
        assert contents(half) == contents(whole)

    def test_of_something_else_is_refused(self, half: Path, items: Items, teacher: Teacher) -> None:
        with pytest.raises(RunFolderError, match=r"half built(.|\n)*weights: (.|\n)*rm -r"):
            build_bank(half, make_teacher(seed=1), items)
        with pytest.raises(RunFolderError, match=r"half built(.|\n)*200 rows of other items, now 10"):
            build_bank(half, teacher, items.subset(range(10)))
        with pytest.raises(RunFolderError, match=r"half built(.|\n)*float32, now float16"):
            build_bank(half, teacher, items, dtype="float16")

    @pytest.mark.parametrize("moved", [0, 1, 2])
    def test_taking_place_can_be_killed_anywhere(
        self, bank: Path, whole: Path, items: Items, teacher: Teacher, embedded: list[int], moved: int
    ) -> None:
        building = bank / "embeddings.building"
        building.mkdir()
        for name in ("plan.json", "finished.json"):
            shutil.copy(bank / "embeddings.json", building / name)
        if moved < 2:
            (bank / "embeddings.json").unlink()
        if moved < 1:
            data(bank).rename(building / "embeddings.safetensors")
        build_bank(bank, teacher, items)
        assert embedded == []
        assert contents(bank) == contents(whole)
        assert not building.exists()


class TestDamage:
    @pytest.mark.parametrize("number", range(SHARDS))
    def test_is_named_and_mended(
        self, bank: Path, whole: Path, items: Items, teacher: Teacher, embedded: list[int], number: int
    ) -> None:
        description = open_bank(bank).packed.description
        flip(data(bank), description.layout.offset(64 * number + 3) + 1)
        with pytest.raises(
            RunFolderError, match=rf"shard {number}, rows {64 * number} to(.|\n)*SHA-256(.|\n)*bank build"
        ):
            build_bank(bank, teacher, items)
        assert embedded == []
        build_bank(bank, teacher, items, mend=True)
        assert embedded == [8 if number == SHARDS - 1 else 64]
        assert contents(bank) == contents(whole)

    def test_several_shards_are_named_together(self, bank: Path) -> None:
        layout = open_bank(bank).packed.description.layout
        for row in (0, 64, 199):
            flip(data(bank), layout.offset(row))
        with pytest.raises(RunFolderError, match=r"shard 0(.|\n)*also damaged: 1, 3"):
            open_bank(bank)

    def test_of_a_large_file_is_sought_in_some_shards(self, bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        layout = open_bank(bank).packed.description.layout
        flip(data(bank), layout.offset(0))
        monkeypatch.setattr("crossdistill.bank.packed._ALL_UP_TO", 1)
        monkeypatch.setattr("crossdistill.bank.packed._SOME", 2)
        outcomes = set()
        for _ in range(64):
            try:
                open_bank(bank)
                outcomes.add("opened")
            except RunFolderError:
                outcomes.add("refused")
        assert outcomes == {"opened", "refused"}
        with pytest.raises(RunFolderError):
            open_bank(bank, "all")

    @pytest.mark.parametrize("kept", [0, 5, 100, 20_000])
    def test_a_truncated_file(self, bank: Path, whole: Path, items: Items, teacher: Teacher, kept: int) -> None:
        size = data(bank).stat().st_size
        with data(bank).open("r+b") as stream:
            stream.truncate(kept)
        with pytest.raises(RunFolderError, match=rf"another length(.|\n)*{size:,} bytes(.|\n)*{kept:,} bytes"):
            open_bank(bank)
        build_bank(bank, teacher, items, mend=True)
        assert contents(bank) == contents(whole)

    def test_a_missing_file(self, bank: Path, whole: Path, items: Items, teacher: Teacher) -> None:
        data(bank).unlink()
        with pytest.raises(RunFolderError, match="file is missing"):
            open_bank(bank)
        build_bank(bank, teacher, items, mend=True)
        assert contents(bank) == contents(whole)

    @pytest.mark.parametrize(
        "header",
        [
            (1 << 63).to_bytes(8, "little"),
            b"\xff" * 64,
            b"\x80\x04\x95" * 8,
            (200).to_bytes(8, "little") + b'{"embeddings":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}',
            (200).to_bytes(8, "little") + b'{"../../etc/passwd":{"dtype":"F32"}}',
        ],
    )
    def test_a_foreign_header(self, bank: Path, header: bytes) -> None:
        with data(bank).open("r+b") as stream:
            stream.write(header)
        with pytest.raises(RunFolderError, match="header"):
            open_bank(bank)

    def test_of_the_item_hashes(self, bank: Path, whole: Path, items: Items, teacher: Teacher, many: Path) -> None:
        layout = open_bank(bank).packed.description.layout
        flip(data(bank), layout.offset(200) + 30)
        with pytest.raises(RunFolderError, match="hashes of its items"):
            open_bank(bank)
        with pytest.raises(RunFolderError, match=r"which row is which(.|\n)*rm -r"):
            build_bank(bank, teacher, items.subset([3, 1]), mend=True)
        build_bank(bank, teacher, items, mend=True)
        assert contents(bank) == contents(whole)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": 3}, r"another format(.|\n)*format 2(.|\n)*3"),
            ({"format": "2"}, "another format"),
            ({"rows": 10**12}, "damaged"),
            ({"rows": -1}, "damaged"),
            ({"rows": 2.5}, "damaged"),
            ({"width": 10**15}, "another length"),
            ({"dtype": "float64"}, "damaged"),
            ({"dtype": "float16"}, "another length"),
            ({"shards": []}, "damaged"),
            ({"shards": [{"start": 0, "rows": 100}, {"start": 99, "rows": 101}]}, r"in no shard, or in two"),
            ({"key": None}, "damaged"),
            ({"key": "other"}, "header"),
            ({"file": "/etc/passwd"}, "damaged"),
        ],
    )
    def test_of_the_description(self, bank: Path, change: dict[str, Any], message: str) -> None:
        path = bank / "embeddings.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(RunFolderError, match=message):
            open_bank(bank)

    @pytest.mark.parametrize("content", ["", "[]", "null", '"x"', "{", "\x00", "[" * 5000])
    def test_of_the_whole_description(self, bank: Path, content: str) -> None:
        (bank / "embeddings.json").write_text(content)
        with pytest.raises(RunFolderError):
            open_bank(bank)

    def test_a_mended_shard_needs_its_items(self, bank: Path, items: Items, teacher: Teacher) -> None:
        flip(data(bank), open_bank(bank).packed.description.layout.offset(70))
        with pytest.raises(RunFolderError, match="items that these pairs do not have"):
            build_bank(bank, teacher, items.subset(range(64)), mend=True)


class TestSpace:
    def test_is_looked_for_beforehand(
        self, items: Items, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))  # type: ignore[attr-defined]
        monkeypatch.setattr(Teacher, "embed", lambda *_: pytest.fail("began"))
        with pytest.raises(StorageError, match=r"free(.|\n)*received"):
            build_bank(tmp_path / "bank", teacher, items)
        with pytest.raises(StorageError):
            require_space(tmp_path / "not" / "there", 10**6, "it")

    def test_is_taken_at_the_start(
        self, items: Items, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StorageError, match="disk is full"):
            build_bank(tmp_path / "bank", teacher, items)
        monkeypatch.undo()
        build_bank(tmp_path / "bank", teacher, items)  # and goes on when there is room


class TestViews:
    def arguments(self, items: Items, teacher: Teacher) -> tuple[int, Tensor | None, int]:
        return 3, view_placements(teacher.modality.geometry, len(items), 3, 0), 0

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_are_packed_alike(self, items: Items, teacher: Teacher, tmp_path: Path, dtype: Dtype) -> None:
        found = build_view_bank(tmp_path, teacher, items, *self.arguments(items, teacher), dtype=dtype, shard_rows=64)
        assert (found.shape, found.dtype) == ((200, 3, 96), getattr(torch, dtype))
        placements = self.arguments(items, teacher)[1]
        views = SourceViews(found, placements, torch.arange(200), shared=False)
        for number, view in ((0, 0), (70, 2), (199, 1)):
            again = teacher.embed(teacher_view(teacher, items, number, view, placements, 0)[None])
            embedding, _ = views.of(torch.tensor([number]), torch.tensor([view]))
            assert embedding.dtype == torch.float32
            torch.testing.assert_close(embedding, again, rtol=2 * ROUNDING[dtype] + 1e-4, atol=1e-4)
        starts = [each["start"] for each in json.loads((tmp_path / "views.json").read_text())["shards"]]
        assert starts == [0, 192, 384, 576]  # batches of 64 items in 3 views

    def test_go_on_are_mended_and_are_refused_when_stale(
        self, items: Items, teacher: Teacher, tmp_path: Path, embedded: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = self.arguments(items, teacher)
        build_view_bank(tmp_path / "a", teacher, items, *arguments, shard_rows=64)
        assert len(embedded) == 3 * SHARDS
        counting = Teacher.embed

        def failing(self: Teacher, batch: Tensor) -> Tensor:
            if len(embedded) == 3 * SHARDS + 7:
                raise KeyboardInterrupt
            return counting(self, batch)

        with monkeypatch.context() as patched:
            patched.setattr(Teacher, "embed", failing)
            with pytest.raises(KeyboardInterrupt):
                build_view_bank(tmp_path / "b", teacher, items, *arguments, shard_rows=64)
        del embedded[:]
        build_view_bank(tmp_path / "b", teacher, items, *arguments, shard_rows=64)
        assert len(embedded) == 3 * 2  # the shard that was begun, and the last
        assert contents(tmp_path / "a") == contents(tmp_path / "b")
        flip(tmp_path / "b" / "views.safetensors", 2000)
        with pytest.raises(RunFolderError, match="shard 0"):
            build_view_bank(tmp_path / "b", teacher, items, *arguments)
        build_view_bank(tmp_path / "b", teacher, items, *arguments, mend=True)
        assert contents(tmp_path / "a") == contents(tmp_path / "b")
        with pytest.raises(RunFolderError, match=r"another augmentation(.|\n)*seed: 0, now 1"):
            build_view_bank(tmp_path / "b", teacher, items, *arguments[:2], 1)


class TestCommand:
    @pytest.fixture
    def config(self, many: Path, tmp_path: Path) -> Path:
        content = {
            "pairs": str(many),
            "source": {"size": 32},
            "target": {"size": 32, "channels": 1},
            "teacher": {"backbone": "test_resnet", "weights": "random"},
            "student": {"backbone": "test_resnet"},
            "views": {"count": 2, "geometry": "shared"},
            "out": str(tmp_path / "run"),
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "config.yaml"

    def test_build_verify_info_and_mend(self, config: Path, tmp_path: Path, capsys: Any, embedded: list[int]) -> None:
        assert call("bank", "build", config, "--out", tmp_path / "other") == 0
        run = tmp_path / "other"
        assert "200 x 96 float32" in capsys.readouterr().out
        for place in (run, run / "bank"):
            assert call("bank", "verify", place) == 0
            assert capsys.readouterr().out.count("whole") == 2
            assert call("bank", "info", place) == 0
            out = capsys.readouterr().out
            assert "200 rows of 96 float32" in out
            assert "test_resnet" in out
            assert "items in 2 views" in out
        for name in ("embeddings", "views"):
            flip(run / "bank" / f"{name}.safetensors", 1500)
            del embedded[:]
            assert call("bank", "verify", run) == 6
            error = capsys.readouterr().err
            assert "shard 0" in error
            assert "Traceback" not in error
            command = next(line for line in error.splitlines() if "crossdistill bank build" in line)
            arguments = command.split("crossdistill ")[1].split()
            assert call(*arguments) == 0
            assert call("bank", "verify", run) == 0
            capsys.readouterr()
            assert embedded
        del embedded[:]
        assert call("bank", "build", config, "--out", run) == 0
        assert embedded == []

    def test_what_is_no_bank(self, tmp_path: Path, capsys: Any) -> None:
        for command in ("verify", "info"):
            assert call("bank", command, tmp_path) == 6
            assert "no teacher bank" in capsys.readouterr().err
            assert call("bank", command, tmp_path / "nowhere") == 6

    def test_help(self, capsys: Any) -> None:
        for command in ("build", "verify", "info"):
            assert call("bank", command, "--help") == 0
            assert f"Example: crossdistill bank {command}" in " ".join(capsys.readouterr().out.split())


def test_the_types_of_what_is_built_by_hand(tmp_path: Path) -> None:
    """A packed matrix without a teacher: what others may build on."""
    place = Place(tmp_path, "numbers")
    plan = Description(key="k", rows=100, width=3, dtype="float32", about={}, shards=cut(0, 100, 64))
    numbers = torch.arange(100.0)[:, None].expand(-1, 3)
    build_packed(place, plan, None, lambda start, stop: [numbers[start:stop]], "it")
    found = Packed.open(place)
    assert found.hashes is None
    assert torch.equal(BankRows(found.matrix)[:][:, 1], torch.arange(100.0))
