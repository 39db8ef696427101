"""Depth, thermal and multispectral rasters: files, units, missing values, encodings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from crossdistill.errors import ConfigError, PairsError
from crossdistill.modalities import InputDefaults, parse_modality
from crossdistill.modalities.depth import Depth
from crossdistill.modalities.multispectral import Multispectral
from crossdistill.modalities.raster import Raster
from crossdistill.modalities.raster_file import read_raster
from crossdistill.modalities.thermal import Thermal

DEFAULTS = InputDefaults(size=16, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3), interpolation="bicubic")


def depth(**options: object) -> Depth:
    return Depth.model_validate({"size": 16, **options}).resolve(DEFAULTS)


def save(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, depth=values)
    elif path.suffix == ".exr":
        openexr = pytest.importorskip("OpenEXR")
        with openexr.File({"compression": openexr.ZIP_COMPRESSION}, {"Z": values.astype(np.float32)}) as opened:
            opened.write(str(path))
    elif values.ndim == 3:
        pytest.importorskip("tifffile").imwrite(path, values, photometric="minisblack", planarconfig="contig")
    else:
        Pillow.fromarray(values).save(path)
    return path


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "dtype"),
        [("x.png", "uint16"), ("x.png", "uint8"), ("x.tif", "uint16"), ("x.tif", "float32"), ("x.npy", "float64"),
         ("x.npy", "int32"), ("x.npz", "uint16"), ("x.exr", "float32")],
    )  # fmt: skip
    def test_values_come_back_as_they_were_stored(self, tmp_path: Path, name: str, dtype: str) -> None:
        values = (np.arange(20 * 24).reshape(20, 24) % 251).astype(dtype)
        np.testing.assert_array_equal(read_raster(save(tmp_path / name, values)), values)

    @pytest.mark.parametrize("name", ["x.tif", "x.npy"])
    def test_several_channels(self, tmp_path: Path, name: str) -> None:
        values = np.arange(20 * 24 * 7, dtype=np.uint16).reshape(20, 24, 7)
        np.testing.assert_array_equal(read_raster(save(tmp_path / name, values)), values)

    def test_bands_first_are_turned(self, tmp_path: Path) -> None:
        values = np.arange(7 * 20 * 24, dtype=np.uint16).reshape(7, 20, 24)
        pytest.importorskip("tifffile").imwrite(tmp_path / "x.tif", values, photometric="minisblack")
        np.testing.assert_array_equal(read_raster(tmp_path / "x.tif"), np.moveaxis(values, 0, -1))

    @pytest.mark.parametrize("name", ["x.png", "x.tif", "x.npy", "x.npz", "x.exr"])
    @pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "nonsense"])
    def test_damaged_files_give_one_message_that_names_them(self, tmp_path: Path, name: str, damage: str) -> None:
        path = tmp_path / name
        if damage != "missing":
            save(path, np.ones((40, 40), dtype=np.float32 if name == "x.exr" else np.uint16))
            content = path.read_bytes()
            path.write_bytes(
                {"empty": b"", "truncated": content[: len(content) // 2], "nonsense": b"nonsense" * 50}[damage]
            )
        with pytest.raises(PairsError, match=name):
            depth().decode(path)

    def test_a_header_that_claims_too_much_allocates_nothing(self, tmp_path: Path) -> None:
        with (tmp_path / "x.npy").open("wb") as stream:
            header = {"descr": "<f8", "fortran_order": False, "shape": (1_000_000, 1_000_000)}
            np.lib.format.write_array_header_1_0(stream, header)
        with pytest.raises(PairsError, match=r"x\.npy"):
            read_raster(tmp_path / "x.npy")

    def test_no_code_is_unpickled(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(PairsError, match="pickle"):
            read_raster(tmp_path / "x.npy")

    @pytest.mark.parametrize(
        "values", [np.zeros(5), np.zeros((2, 3, 4, 5)), np.zeros((0, 3)), np.zeros((3, 3), complex)]
    )
    def test_what_is_no_raster_is_refused(self, tmp_path: Path, values: np.ndarray) -> None:
        with pytest.raises(PairsError, match="no raster"):
            read_raster(save(tmp_path / "x.npy", values))
        with pytest.raises(PairsError, match="no raster"):
            depth().from_array(values)

    def test_a_palette_is_no_measurement(self, tmp_path: Path) -> None:
        Pillow.new("P", (20, 20)).save(tmp_path / "x.png")
        with pytest.raises(PairsError, match="palette"):
            read_raster(tmp_path / "x.png")


class TestDepth:
    def test_units(self) -> None:
        metres = np.full((16, 16), 2.0)
        expected = depth(encoding="linear").from_array(metres)
        for stored, options in (
            ((metres * 1000).astype(np.uint16), {}),
            ((metres * 5000).astype(np.uint16), {"metres_per_unit": 0.0002}),
            (1 / metres, {"inverse_stored": True}),
        ):
            found = depth(encoding="linear", **options).from_array(stored)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        assert float(expected[0, 0, 0]) == pytest.approx((2 - 0.1) / 9.9, abs=1e-3)

    @pytest.mark.parametrize(
        ("encoding", "expected"),
        [("linear", (1 - 0.5) / 3.5), ("inverse", (1 - 0.25) / 1.75), ("log", np.log(2) / np.log(8))],
    )
    def test_encodings(self, encoding: str, expected: float) -> None:
        values = depth(encoding=encoding, near=0.5, far=4).from_array(np.full((16, 16), 1.0))
        assert values.dtype == torch.float16
        assert float(values.mean()) == pytest.approx(expected, abs=1e-3)

    def test_missing_values_take_no_part(self) -> None:
        stored = np.full((32, 32), 2000, dtype=np.uint16)
        stored[::2, ::2] = 0
        stored[:, 20:] = 0
        torch.testing.assert_close(
            depth().from_array(stored), depth().from_array(np.full((32, 32), 2.0)), rtol=0, atol=1e-3
        )
        stored = np.full((32, 32), 2.0)
        stored[4:9] = np.nan
        stored[10:12] = np.inf
        torch.testing.assert_close(
            depth().from_array(stored), depth().from_array(np.full((32, 32), 2.0)), rtol=0, atol=1e-3
        )

    def test_per_image_range_forgets_the_scale(self) -> None:
        ramp = np.linspace(1, 3, 256).reshape(16, 16)
        near, far = (depth(per_image=True, encoding="log").from_array(ramp * factor) for factor in (1.0, 2.5))
        torch.testing.assert_close(near, far, rtol=0, atol=2e-3)

    def test_normals_of_a_plane(self) -> None:
        """A wall that faces the camera, and one that is turned by 45 degrees about the vertical."""
        facing = depth(representation="normals").from_array(np.full((16, 16), 2.0)).float() * 2 - 1
        torch.testing.assert_close(facing.mean(dim=(1, 2)), torch.tensor([0.0, 0.0, -1.0]), rtol=0, atol=2e-3)
        right = (np.arange(16) - 7.5) / 16
        turned = (
            depth(representation="normals", focal=16).from_array((2 / (1 - right))[None].repeat(16, axis=0)).float()
        )
        expected = torch.tensor([2**-0.5, 0.0, -(2**-0.5)])
        torch.testing.assert_close((turned * 2 - 1)[:, 8, 2:-2].mean(dim=1), expected, rtol=0, atol=2e-2)

    def test_hha_has_height_and_angle(self) -> None:
        """A floor one metre below the camera: its height is zero, and its normal points up."""
        down = (np.arange(32) - 15.5) / 32
        floor = np.where(down > 0.1, 1 / np.maximum(down, 0.1), 9.0)[:, None].repeat(32, axis=1)
        hha = depth(representation="hha", size=32, focal=32).from_array(floor).float()
        assert hha.shape == (3, 32, 32)
        assert float(hha[1, 22:31].max()) < 0.05
        assert float(hha[2, 22:31].max()) < 0.05
        assert float(hha[2, :10].mean()) == pytest.approx(0.5, abs=0.05)

    @pytest.mark.parametrize(
        ("stored", "options", "message"),
        [
            (np.zeros((16, 16), np.uint16), {}, "no valid value"),
            (np.full((16, 16), np.nan), {}, "no valid value"),
            (np.full((16, 16), 2000.0), {}, r"unit is wrong(.|\n)*mostly 2000 to 2000 m(.|\n)*metres_per_unit"),
            (np.full((16, 16), 100, np.uint8), {}, "8-bit"),
            (np.full((16, 16, 3), 2.0), {}, "one channel"),
        ],
    )
    def test_what_cannot_be_a_depth_map_is_refused(
        self, stored: np.ndarray, options: dict[str, object], message: str
    ) -> None:
        with pytest.raises(PairsError, match=message):
            depth(**options).from_array(stored)

    def test_settings_are_checked(self) -> None:
        for settings, message in (({"near": 5, "far": 2}, "beyond near"), ({"metres_per_unit": -1}, "metres_per_unit")):
            with pytest.raises(ConfigError, match=message):
                parse_modality({"modality": "depth", **settings}, "target")


class TestThermal:
    def test_degrees_and_grey_levels(self, tmp_path: Path) -> None:
        kelvin = np.full((16, 16), 7500, dtype=np.uint16)  # 25ths of a kelvin: 26.85 degrees
        settings = {"size": 16, "degrees_per_unit": 0.04, "degrees_offset": -273.15, "low": 20, "high": 40}
        thermal = Thermal.model_validate(settings).resolve(DEFAULTS)
        assert float(thermal.from_array(kelvin).mean()) == pytest.approx(6.85 / 20, abs=1e-3)
        grey = Thermal(size=16).resolve(DEFAULTS)
        ramp = np.linspace(0, 255, 256).reshape(16, 16).astype(np.uint8)
        levels = grey.from_array(ramp)
        assert float(levels.min()) == 0
        assert float(levels.max()) == 1
        torch.testing.assert_close(grey.from_array(np.stack([ramp] * 3, axis=-1)), levels)

    def test_what_cannot_be_is_refused(self) -> None:
        with pytest.raises(PairsError, match=r"-100 and 2000"):
            Thermal(size=16, degrees_per_unit=1.0).resolve(DEFAULTS).from_array(np.full((16, 16), 30000, np.uint16))
        colours = np.zeros((16, 16, 3), np.uint8)
        colours[:, :, 0] = 200
        with pytest.raises(PairsError, match="palette"):
            Thermal(size=16).resolve(DEFAULTS).from_array(colours)
        with pytest.raises(ConfigError, match="go together"):
            parse_modality({"modality": "thermal", "low": 3}, "target")


class TestMultispectral:
    def test_bands_are_chosen_and_scaled(self) -> None:
        stored = np.stack([np.full((16, 16), 1000 * (band + 1)) for band in range(6)], axis=-1).astype(np.uint16)
        chosen = Multispectral(size=16, bands=(4, 0), low=0, high=(10000, 2000)).resolve(DEFAULTS)
        torch.testing.assert_close(
            chosen.from_array(stored).float().mean(dim=(1, 2)), torch.tensor([0.5, 0.5]), rtol=0, atol=1e-3
        )
        with pytest.raises(PairsError, match=r"at least 8 bands(.|\n)*6 bands"):
            Multispectral(size=16, bands=(7,)).resolve(DEFAULTS).from_array(stored)
        with pytest.raises(PairsError, match=r"5 bands(.|\n)*6 bands"):
            Multispectral(size=16, bands=(0,), stored_bands=5).resolve(DEFAULTS).from_array(stored)

    @pytest.mark.parametrize(
        "settings",
        [{}, {"bands": []}, {"bands": [-1]}, {"bands": [0, 1], "low": [1.0]}, {"bands": [0], "low": 2, "high": 1}],
    )
    def test_settings_are_checked(self, settings: dict[str, object]) -> None:
        with pytest.raises(ConfigError):
            parse_modality({"modality": "multispectral", **settings}, "target")


@pytest.mark.parametrize("modality", [Depth(size=16), Thermal(size=16), Multispectral(size=16, bands=(0, 1, 2))])
class TestEveryRaster:
    def sample(self, tmp_path: Path, modality: Raster, name: str = "x") -> Path:
        path = tmp_path / f"{name}{'.npy' if isinstance(modality, Multispectral) else '.png'}"
        modality.write_fake(path, 2, 1, rich=False)
        return path

    def test_augments_each_item_in_its_own_way_and_stays_in_range(self, tmp_path: Path, modality: Raster) -> None:
        decoded = modality.resolve(DEFAULTS).decode(self.sample(tmp_path, modality))
        batch = decoded[None].repeat(4, 1, 1, 1)
        torch.manual_seed(0)
        changed = modality.augment(batch)
        assert changed.dtype == torch.float32
        assert changed.shape == batch.shape
        assert float(changed.min()) >= 0
        assert float(changed.max()) <= 1
        assert not torch.equal(changed[0], changed[1])
        torch.manual_seed(0)
        assert torch.equal(modality.augment(batch), changed)
        assert not torch.equal(modality.contrastive().augment(batch), changed)

    def test_statistics_make_items_standard(self, tmp_path: Path, modality: Raster) -> None:
        items = torch.stack(
            [modality.resolve(DEFAULTS).decode(self.sample(tmp_path, modality, str(n))) for n in range(3)]
        )
        standard = modality.with_statistics(items).resolve(DEFAULTS).normalise(items)
        assert float(standard.mean()) == pytest.approx(0, abs=2e-2)

    def test_draws_itself_with_a_bar(self, tmp_path: Path, modality: Raster) -> None:
        picture = modality.picture(self.sample(tmp_path, modality), 96)
        assert picture.size == (96, 96)
        assert len(picture.getcolors(10_000) or []) > 50

    def test_its_preprocessing_reads_back(self, modality: Raster) -> None:
        resolved = modality.resolve(DEFAULTS)
        assert parse_modality(resolved.model_dump(mode="json", by_alias=True)) == resolved
        assert resolved.as_defaults().size == 16
