"""The timeseries modality: files, columns, times, gaps, lengths, scales, spectrograms, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from crossdistill.errors import ConfigError, PairsError
from crossdistill.modalities import InputDefaults, parse_modality
from crossdistill.modalities.series_file import read_columns
from crossdistill.modalities.series_window import on_a_grid
from crossdistill.modalities.timeseries import TimeSeries

DEFAULTS = InputDefaults(size=16, mean=(0.2, 0.4), std=(0.1, 0.2), interpolation="bicubic")
STILL = {"shift": 0, "gain": 0, "noise": 0, "channel_dropout": 0, "time_masks": 0}


def series(**options: object) -> TimeSeries:
    given_length = {} if "seconds" in options else {"length": 64}
    return TimeSeries.model_validate({"channels": [0, 1], **given_length, **options}).resolve(DEFAULTS)


def swings(count: float, length: int = 64, amplitude: float = 1.0) -> np.ndarray:
    """Two channels, a quarter of a swing apart."""
    angle = 2 * np.pi * count * np.arange(length) / length
    return amplitude * np.stack([np.sin(angle), np.cos(angle)], axis=1)


def write_csv(path: Path, values: np.ndarray, header: str | None = None, separator: str = ",") -> Path:
    lines = [separator.join(f"{value:.9g}" for value in row) for row in values]
    path.write_text("\n".join(([header] if header else []) + lines) + "\n", encoding="utf-8")
    return path


class TestFiles:
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("named", [True, False])
    def test_columns_are_chosen_by_name_or_number(self, tmp_path: Path, separator: str, named: bool) -> None:
        values = np.arange(40, dtype=np.float64).reshape(8, 5) / 8
        header = separator.join(["t", "a b", "c", "d", "e"]) if named else None
        path = write_csv(tmp_path / "x.csv", values, header, separator)
        np.testing.assert_array_equal(read_columns(path, (3, 0), None, False), values[:, [3, 0]])
        if named:
            np.testing.assert_array_equal(read_columns(path, ("e", "a b"), 5, False), values[:, [4, 1]])

    def test_other_columns_may_hold_anything_and_gaps_are_nan(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_bytes('\ufeffx,note,y\r\n1,"walking, slowly",2\r\n,,NaN\r\n3,x,-4e-1\r\n\r\n'.encode())
        np.testing.assert_array_equal(read_columns(path, ("x", "y"), None, False), [[1, 2], [np.nan] * 2, [3, -0.4]])

    @pytest.mark.parametrize("dtype", ["float32", "int16", "uint8"])
    def test_arrays_in_both_layouts(self, tmp_path: Path, dtype: str) -> None:
        values = (np.arange(128).reshape(64, 2) % 50).astype(dtype)
        np.save(tmp_path / "x.npy", values)
        np.save(tmp_path / "y.npy", values.T)
        expected = series().from_array(values)
        assert torch.equal(series().decode(tmp_path / "x.npy"), expected)
        assert torch.equal(series(layout="channels_first").decode(tmp_path / "y.npy"), expected)
        assert torch.equal(series(channels=["x", "y"]).from_array(values), expected)
        assert series(channels=[0], mean=None).from_array(values[:, 0]).shape[0] == 1

    @pytest.mark.parametrize("name", ["x.csv", "x.npy"])
    @pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "nonsense", "binary", "folder"])
    def test_damaged_files_give_one_message_that_names_them(self, tmp_path: Path, name: str, damage: str) -> None:
        path = tmp_path / name
        if damage == "folder":
            path.mkdir()
        elif damage != "missing":
            if name == "x.npy":
                np.save(path, swings(3))
            else:
                write_csv(path, swings(3), "a,b")
            content = path.read_bytes()
            # A CSV file that is cut between two values of a line; between two lines nobody can know.
            cut = content[: content.rindex(b",")] if name == "x.csv" else content[: len(content) // 2]
            path.write_bytes(
                {"empty": b"", "truncated": cut, "nonsense": b"nonsense\n" * 50, "binary": b"\xff\xfe\x00" * 99}[damage]
            )
        with pytest.raises(PairsError, match=rf"x\{path.suffix}"):
            series().decode(path)

    def test_a_header_that_claims_too_much_allocates_nothing(self, tmp_path: Path) -> None:
        with (tmp_path / "x.npy").open("wb") as stream:
            header = {"descr": "<f8", "fortran_order": False, "shape": (1_000_000, 1_000_000)}
            np.lib.format.write_array_header_1_0(stream, header)
        with pytest.raises(PairsError, match="the most"):
            series().decode(tmp_path / "x.npy")

    def test_a_file_of_gigabytes_is_not_read(self, tmp_path: Path) -> None:
        with (tmp_path / "x.csv").open("wb") as stream:
            stream.truncate(1 << 30)
        with pytest.raises(PairsError, match="the most"):
            series().decode(tmp_path / "x.csv")

    @pytest.mark.parametrize(
        ("text", "message"),
        [("a,b\n1,2\n1,x\n", "line 3: .*'x'"), ("a,b\n1,2\n1\n", "line 3 has 1 values"), ("a,b\n", "without a sample"),
         ("a,c\n1,2\n", r"channels a, b(.|\n)*2 channels: a, c"), ("1,2\n3,4\n", "without names"),
         ("a,b,c\n1,2,3\n", "2 channels(.|\n)*3 channels")],
    )  # fmt: skip
    def test_what_is_wrong_in_a_table_is_said(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(PairsError, match=rf"x\.csv(.|\n)*{message}"):
            series(channels=["a", "b"], stored_columns=2).decode(tmp_path / "x.csv")

    @pytest.mark.parametrize(
        "array", [np.zeros((2, 3, 4)), np.zeros((0, 2)), np.array([["a", "b"]]), np.zeros((64, 2), complex)]
    )
    def test_arrays_that_are_no_series_are_refused(self, array: np.ndarray) -> None:
        with pytest.raises(PairsError, match="no series"):
            series().from_array(array)

    def test_another_number_of_channels_is_refused(self) -> None:
        for options, message in (
            ({"channels": [0, 5]}, r"channels 0, 5(.|\n)*2 channels"),
            ({"channels": ["x"]}, "1 channels: x(.|\n)*2 channels"),
            ({"stored_columns": 3}, "3 channels(.|\n)*2 channels"),
        ):
            modality = TimeSeries.model_validate({"channels": [0, 1], "length": 64, **options})
            with pytest.raises(PairsError, match=message):
                modality.from_array(swings(3))


class TestTimes:
    def test_a_uniform_grid_is_left_alone(self) -> None:
        time = 5 + np.arange(64) / 50
        np.testing.assert_allclose(on_a_grid(swings(3), time, 50.0), swings(3), atol=1e-9)

    def test_jitter_is_evened_out(self) -> None:
        rng = np.random.default_rng(0)
        time = (np.arange(400) + rng.uniform(-0.2, 0.2, 400)) / 100
        values = np.sin(2 * np.pi * time)[:, None]
        grid = time[0] + np.arange(380) / 100
        np.testing.assert_allclose(on_a_grid(values, time, 100.0)[:380, 0], np.sin(2 * np.pi * grid), atol=2e-3)

    def test_rounded_times_have_the_right_rate(self) -> None:
        time = np.floor(np.arange(400) * 2.5) / 1000  # 400 Hz, in milliseconds
        assert np.isfinite(on_a_grid(np.arange(400.0)[:, None], time, 400.0)).mean() > 0.99

    def test_gaps_are_missing(self) -> None:
        time = np.delete(np.arange(100), slice(40, 60)) / 10
        found = on_a_grid(np.arange(80.0)[:, None], time, 10.0)
        assert len(found) == 100
        assert np.isnan(found[40:60]).all()
        assert np.isfinite(np.delete(found, slice(40, 60))).all()

    def test_units_and_rates_are_checked(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        stamped = np.concatenate([1000 * np.arange(64)[:, None] / 50, swings(3)], axis=1)
        write_csv(path, stamped, "ms,x,y")
        options = {"channels": ["x", "y"], "time": "ms", "rate": 50}
        expected = series().from_array(swings(3))
        torch.testing.assert_close(series(**options, seconds_per_unit=0.001).decode(path), expected, rtol=0, atol=2e-3)
        with pytest.raises(PairsError, match=r"another rate(.|\n)*x\.csv(.|\n)*50 Hz(.|\n)*0\.05 Hz"):
            series(**options).decode(path)
        with pytest.raises(PairsError, match=r"100 Hz(.|\n)*50 Hz"):
            series(**{**options, "rate": 100}, seconds_per_unit=0.001).decode(path)

    def test_a_leap_allocates_nothing(self) -> None:
        time = np.append(np.arange(63) / 50, 1e12)
        with pytest.raises(PairsError, match="leap"):
            on_a_grid(swings(3), time, 50.0)

    @pytest.mark.parametrize("time", [[0, 1, 1, 2], [0, 2, 1, 3], [0, 1, np.nan, 3], [0]])
    def test_times_that_do_not_increase_are_refused(self, time: list[float]) -> None:
        with pytest.raises(PairsError, match="do not increase"):
            on_a_grid(np.zeros((len(time), 1)), np.array(time, dtype=np.float64), 1.0)


class TestGapsAndLengths:
    def test_some_gaps_are_filled_and_many_refused(self) -> None:
        values = swings(2)
        values[10:14, 1] = np.nan
        values[20, 0] = np.inf
        full = series(representation="raw").from_array(swings(2)).float()
        found = series(representation="raw").from_array(values).float()
        torch.testing.assert_close(found, full, rtol=0, atol=0.1)
        values[:20, 1] = np.nan
        with pytest.raises(PairsError, match=r"at most 10%(.|\n)*32\.8% of channel 1|31\.2% of channel 1"):
            series().from_array(values)
        assert torch.isfinite(series(missing=0.5).from_array(values)).all()
        values[:, 1] = np.nan
        with pytest.raises(PairsError, match=r"100\.0% of channel 1"):
            series(missing=0.99).from_array(values)

    def test_longer_and_shorter(self) -> None:
        long = np.concatenate([swings(1) * 0.01, swings(9), swings(1) * 0.01])
        options = {"representation": "raw", "scale": "fixed", "low": -1, "high": 1}
        torch.testing.assert_close(series(**options).from_array(long), series(**options).from_array(swings(9)))
        assert float(series(**options, longer="start").from_array(long).abs().max()) < 0.02
        short = swings(1, length=16) + 0.25
        padded = series(**options, shorter="pad").from_array(short).float()
        torch.testing.assert_close(padded[:, 0, :24], torch.full((2, 24), 0.25), rtol=0, atol=1e-3)
        repeated = series(**options, shorter="repeat").from_array(short)
        assert torch.equal(repeated[..., :16], repeated[..., 48:])

    def test_what_never_changes_is_refused(self, tmp_path: Path) -> None:
        values = swings(3)
        values[:, 1] = 7
        np.save(tmp_path / "x.npy", values)
        with pytest.raises(PairsError, match=r"never changes(.|\n)*x\.npy(.|\n)*channel 1(.|\n)*constant: keep"):
            series().decode(tmp_path / "x.npy")
        kept = series(constant="keep").from_array(values)
        assert float(kept[1].abs().max()) == 0
        with pytest.raises(PairsError, match="channel 0, 1"):
            series(constant="keep").from_array(np.ones((64, 2)))


class TestScales:
    def test_per_item_forgets_unit_and_offset(self) -> None:
        for representation in ("raw", "spectrogram"):
            modality = series(representation=representation)
            changed = swings(3) * [1000, 0.001] + [5, -5]
            torch.testing.assert_close(modality.from_array(changed), modality.from_array(swings(3)), rtol=0, atol=2e-3)

    def test_fixed_keeps_them(self) -> None:
        modality = series(representation="raw", scale="fixed", low=[-4, 0], high=[4, 2])
        found = modality.from_array(swings(3) + np.array([0, 1])).float()
        assert float(found[0].max()) == pytest.approx(0.25, abs=0.01)
        assert float(found[1].max()) == pytest.approx(1, abs=0.01)
        assert float(series(representation="raw", scale="fixed", low=-0.6, high=0.6).from_array(swings(3)).max()) == 1

    @pytest.mark.parametrize(("amplitude", "offset"), [(1.0, 500.0), (1e-6, 0.0), (1.0, -90.0)])
    def test_values_in_another_unit_are_noticed(self, amplitude: float, offset: float) -> None:
        modality = series(scale="fixed", low=-16, high=16, unit="g")
        assert modality.from_array(swings(3)).shape == modality.shape
        with pytest.raises(PairsError, match=r"unit is wrong(.|\n)*-16(\.0)? to 16(\.0)? g"):
            modality.from_array(swings(3, amplitude=amplitude) + offset)


class TestSpectrogram:
    @pytest.mark.parametrize("count", [0, 2, 8, 20])
    def test_a_swing_is_in_its_own_bin(self, count: int) -> None:
        """A sine of full range is at 1 in the bin of its frequency; a constant one in the lowest."""
        modality = series(channels=[0, 1], length=256, scale="fixed", low=-1, high=1, window=64, hop=16)
        values = swings(count * 4, length=256) if count else np.ones((256, 2)) - 1e-3 * swings(1, 256)
        cells = modality.from_array(values).float()
        assert cells.shape == (2, 32, 17)
        assert int(cells[0].mean(dim=1).argmax()) == count
        assert float(cells[0, count, 4:12].mean()) == pytest.approx(1, abs=0.01)

    def test_the_scale_is_in_decibels(self) -> None:
        options = {"length": 256, "scale": "fixed", "low": -1, "high": 1, "window": 64, "hop": 16}
        loud, soft = (series(**options).from_array(swings(32, 256, amplitude)).float() for amplitude in (1.0, 0.1))
        assert float((loud - soft)[0, 8, 4:12].mean()) == pytest.approx(20 / 60, abs=0.01)

    @pytest.mark.parametrize(("length", "shape"), [(64, (2, 8, 17)), (128, (2, 16, 17)), (5000, (2, 128, 79))])
    def test_window_and_hop_follow_the_length(self, length: int, shape: tuple[int, ...]) -> None:
        modality = series(length=length)
        assert modality.shape == shape
        assert modality.from_array(swings(5, length)).shape == shape
        assert modality.from_array(swings(5, length)).dtype == torch.float16
        assert modality.window == 2 * shape[1]

    def test_seconds(self) -> None:
        assert series(seconds=2.5, rate=100, representation="raw").shape == (2, 1, 250)


@settings(deadline=None, max_examples=60)
@given(
    values=nps.arrays(np.float64, st.tuples(st.integers(1, 200), st.just(2)), elements=st.floats()),
    representation=st.sampled_from(["raw", "spectrogram"]),
)
def test_any_numbers_give_finite_values_or_one_message(values: np.ndarray, representation: str) -> None:
    modality = series(representation=representation)
    try:
        found = modality.from_array(values)
    except PairsError:
        return
    assert found.shape == modality.shape
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("representation", ["raw", "spectrogram"])
class TestAugment:
    def batch(self, representation: str) -> torch.Tensor:
        return series(representation=representation).from_array(swings(3))[None].repeat(6, 1, 1, 1)

    def test_each_item_is_changed_in_its_own_way(self, representation: str) -> None:
        batch, modality = self.batch(representation), series(representation=representation)
        torch.manual_seed(0)
        changed = modality.augment(batch)
        assert changed.dtype == torch.float32
        assert changed.shape == batch.shape
        assert not torch.equal(changed[0], changed[1])
        torch.manual_seed(0)
        assert torch.equal(modality.augment(batch), changed)
        assert not torch.equal(modality.contrastive().augment(batch), changed)
        if representation == "spectrogram":
            assert float(changed.min()) >= 0
            assert float(changed.max()) <= 1
        assert torch.equal(series(representation=representation, augment=STILL).augment(batch), batch.float())
        assert modality.geometry is None

    def test_each_change_does_what_it_says(self, representation: str) -> None:
        batch = self.batch(representation)

        def changed(**change: object) -> torch.Tensor:
            torch.manual_seed(0)
            return series(representation=representation, augment={**STILL, **change}).augment(batch)

        torch.testing.assert_close(changed(shift=0.4).sum(dim=3), batch.float().sum(dim=3), rtol=1e-3, atol=1e-2)
        silent = (changed(channel_dropout=0.7) == 0).all(dim=3).all(dim=2)
        assert silent.any()
        assert not silent.all(dim=1).any()
        masked = (changed(time_masks=1, time_width=0.5) == 0).all(dim=2).all(dim=1)
        assert 0 < float(masked.float().mean()) < 0.5
        if representation == "raw":
            ratio = changed(gain=0.5)[:, 0, 0, 5] / batch[:, 0, 0, 5].float()
            assert 0.5 <= float(ratio.min()) < float(ratio.max()) <= 1.5
        else:
            louder = changed(gain=0.5) - batch.float()
            assert float(louder[(batch > 0.3) & (batch < 0.7)].abs().max()) <= 20 / 60 * np.log10(2) + 1e-3

    def test_statistics_make_items_standard(self, representation: str) -> None:
        batch = self.batch(representation)
        modality = TimeSeries(channels=(0, 1), length=64, representation=representation)
        standard = modality.with_statistics(batch).resolve(DEFAULTS).normalise(batch)
        assert float(standard.mean()) == pytest.approx(0, abs=2e-2)
        assert float(standard.std()) == pytest.approx(1, abs=5e-2)

    def test_its_preprocessing_reads_back(self, representation: str) -> None:
        resolved = series(representation=representation)
        assert parse_modality(resolved.model_dump(mode="json", by_alias=True)) == resolved
        assert resolved.as_defaults().mean == DEFAULTS.mean

    def test_draws_itself(self, tmp_path: Path, representation: str) -> None:
        TimeSeries.write_fake(tmp_path / "x.csv", 2, 1, rich=True)
        modality = TimeSeries(channels=("x", "y"), length=64, representation=representation)
        pictures = [
            modality.picture(tmp_path / "x.csv", 96),
            modality.model_copy(update={"unit": "m/s²"}).picture(tmp_path / "x.csv", 96),
            modality.draw(modality.augment(modality.decode(tmp_path / "x.csv")[None])[0], 96),
        ]
        assert all(picture.size == (96, 96) for picture in pictures)
        assert all(len(picture.getcolors(10_000) or []) > 20 for picture in pictures)
        assert pictures[0].tobytes() != pictures[1].tobytes()


@pytest.mark.parametrize("channels", [1, 3, 12, 100])
def test_curves_of_any_number_and_length(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(0).normal(size=(5000, channels)).cumsum(axis=0)
    np.save(tmp_path / "x.npy", values)
    modality = TimeSeries(channels=tuple(range(channels)), length=5000, unit="mV")
    assert modality.picture(tmp_path / "x.npy", 96).size == (96, 96)
    assert modality.picture(tmp_path / "x.npy", 96).tobytes() == modality.picture(tmp_path / "x.npy", 96).tobytes()


def test_no_peak_is_lost_in_a_picture(tmp_path: Path) -> None:
    """One sample of ten thousand, in a colour of its own against white."""
    values = np.zeros((10_000, 1))
    values[5_000] = 1
    np.save(tmp_path / "x.npy", values)
    modality = TimeSeries(channels=(0,), length=10_000, unit="V")
    upper = np.asarray(modality.picture(tmp_path / "x.npy", 96))[5:40]
    assert (upper.min(axis=2) < 200).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "channels"), ({"channels": []}, "channels"), ({"channels": [0]}, "one of length"),
        ({"channels": [0], "length": 64, "seconds": 1}, "one of length"),
        ({"channels": [0], "seconds": 1}, "need rate"),
        ({"channels": [0], "length": 64, "time": "t"}, "need rate"), ({"channels": [0], "length": 2}, "from 8"),
        ({"channels": [0], "seconds": 1e9, "rate": 1e9}, "from 8"),
        ({"channels": [0], "length": 64, "low": 0}, "scale: fixed"),
        ({"channels": [0], "length": 64, "scale": "fixed"}, "scale: fixed"),
        ({"channels": [0], "length": 64, "scale": "fixed", "low": 2, "high": 1}, "above low"),
        ({"channels": [0], "length": 64, "scale": "fixed", "low": [0, 0], "high": 1}, "low has 2"),
        ({"channels": [0], "length": 64, "window": 65}, "window"),
        ({"channels": [0], "length": 64, "window": 128}, "longer"),
        ({"channels": [0], "length": 64, "mean": [0, 1]}, "mean has 2"),
        ({"channels": [0], "length": 64, "std": [0]}, "std"),
    ],
)  # fmt: skip
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_modality({"modality": "timeseries", **settings}, "target")
