"""The image modality: formats, geometry, normalisation, augmentation, and what is refused."""

from __future__ import annotations

from pathlib import Path

import kornia.augmentation as K
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from crossdistill.errors import ConfigError, PairsError
from crossdistill.modalities import InputDefaults, known_modalities, parse_modality
from crossdistill.modalities.image import Image, ImageAugment
from crossdistill.modalities.image_augment import augment_images

DEFAULTS = InputDefaults(size=16, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3), interpolation="bilinear")


def image(**options: object) -> Image:
    return Image.model_validate(options).resolve(DEFAULTS)


def test_open_settings_come_from_the_encoder_and_given_ones_stay() -> None:
    colour, grey = image(), image(channels=1, size=8)
    assert (colour.shape, colour.mean, colour.interpolation) == ((3, 16, 16), (0.2, 0.4, 0.6), "bilinear")
    assert grey.shape == (1, 8, 8)
    assert grey.mean == pytest.approx((0.4,))
    assert image(mean=[0, 0, 0]).mean == (0, 0, 0)
    with pytest.raises(ValueError, match="still open"):
        _ = Image().shape


def test_normalisation_is_that_of_the_encoder() -> None:
    batch = torch.full((2, 3, 16, 16), 255, dtype=torch.uint8)
    values = image().normalise(batch)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values[0, :, 0, 0], torch.tensor([0.8 / 0.1, 0.6 / 0.2, 0.4 / 0.3]))


def test_statistics_make_the_training_items_standard() -> None:
    items = torch.randint(0, 256, (50, 1, 16, 16), dtype=torch.uint8)
    standard = Image(size=16, channels=1).with_statistics(items).resolve(DEFAULTS).normalise(items)
    assert float(standard.mean()) == pytest.approx(0, abs=1e-2)
    assert float(standard.std()) == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 77, (77, 77, 77)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),  # transparent is white
        ("LA", (10, 255), (10, 10, 10)),
        ("1", 1, (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("CMYK", (0, 0, 0, 0), (255, 255, 255)),
        ("I;16", 257 * 100, (100, 100, 100)),  # Pillow alone would clip this to white
    ],
)
def test_decodes_every_mode(tmp_path: Path, mode: str, colour: object, expected: tuple[int, int, int]) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    if mode == "I;16":
        Pillow.fromarray(np.full((16, 16), colour, dtype=np.uint16)).save(path)
    else:
        Pillow.new(mode, (16, 16), colour).save(path)  # type: ignore[arg-type]
    decoded = image().decode(path)
    assert decoded.shape == (3, 16, 16)
    assert tuple(decoded[:, 8, 8].tolist()) == expected


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_fits_what_is_not_square(tmp_path: Path, fit: str) -> None:
    picture = np.full((20, 40, 3), 200, dtype=np.uint8)
    picture[:, 16:24] = 0  # a dark bar, an eighth of the width on either side of the middle
    Pillow.fromarray(picture).save(tmp_path / "x.png")
    decoded = image(fit=fit, interpolation="nearest").decode(tmp_path / "x.png").float()
    assert decoded.shape == (3, 16, 16)
    dark_columns = int((decoded[0, 8] < 100).sum())
    assert (
        dark_columns == {"crop": 6, "pad": 3, "squash": 3}[fit]
        or abs(dark_columns - {"crop": 6.4, "pad": 3.2, "squash": 3.2}[fit]) <= 1
    )
    if fit == "pad":
        assert float(decoded[0, 0, 0]) == 200  # padded with the border's own colour


def test_orientation_of_photographs_is_applied(tmp_path: Path) -> None:
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    picture[:8] = 255
    exif = Pillow.Exif()
    exif[0x0112] = 3  # upside down
    Pillow.fromarray(picture).save(tmp_path / "x.png", exif=exif)
    assert int(image().decode(tmp_path / "x.png")[0, 0, 0]) == 0


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    Pillow.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "float.tif")
    for name in ("cut.png", "text.png", "empty.png", "float.tif", "none.png"):
        with pytest.raises(PairsError, match=name):
            image().decode(tmp_path / name)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pillow.new("L", (64, 64)).save(tmp_path / "x.png")
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PairsError, match="exceeds limit"):
        image().decode(tmp_path / "x.png")


def test_arrays_are_taken_as_files_are(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Pillow.fromarray(picture).save(tmp_path / "x.png")
    from_file = image().decode(tmp_path / "x.png")
    assert torch.equal(image().from_array(picture), from_file)
    assert torch.equal(image().from_array(Pillow.fromarray(picture)), from_file)
    assert image(channels=1).from_array(picture[:, :, :1]).shape == (1, 16, 16)
    for wrong in (picture.astype(np.float32), picture[None], picture[:, :, :2], picture[:0]):
        with pytest.raises(PairsError, match="array"):
            image().from_array(wrong)


def test_augmentation_is_seeded_and_differs_from_item_to_item() -> None:
    batch = torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)[:1].expand(4, -1, -1, -1)
    modality = image(channels=1)
    torch.manual_seed(0)
    first = modality.augment(batch)
    torch.manual_seed(0)
    assert torch.equal(modality.augment(batch), first)
    assert first.shape == batch.shape
    assert not torch.equal(first[0], first[1])
    assert 0 <= float(first.min()) <= float(first.max()) <= 255


def test_what_a_rotation_uncovers_takes_the_colour_of_the_border() -> None:
    batch = torch.full((64, 3, 16, 16), 255, dtype=torch.uint8)
    batch[:, 0], batch[:, :, 6:10, 6:10] = 200, 0
    rotated = image(augment={"brightness": 0, "contrast": 0, "rotate": 45, "scale": [0.7, 0.9]}).augment(batch)
    corners = rotated[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(corners[:, 0], torch.full((64, 4), 200.0))  # no black corner, no dark seam
    torch.testing.assert_close(corners[:, 1:], torch.full((64, 2, 4), 255.0))


def test_augmentation_can_be_turned_off() -> None:
    batch = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)
    off = {"flip": 0, "rotate": 0, "translate": 0, "scale": [1, 1], "brightness": 0, "contrast": 0}
    torch.testing.assert_close(image(channels=1, augment=off).augment(batch), batch.float())


def test_the_contrastive_preset_gives_way_to_the_users_own() -> None:
    assert Image().contrastive().augment_with.crop is not None
    assert Image(augment_with=ImageAugment(flip=0.1)).contrastive().augment_with == ImageAugment(flip=0.1)
    colour = image().contrastive()
    assert colour.augment(torch.randint(0, 255, (2, 3, 16, 16), dtype=torch.uint8)).shape == (2, 3, 16, 16)


def test_a_section_is_parsed_and_wrong_ones_are_explained() -> None:
    assert "image" in known_modalities()
    assert parse_modality({"size": 32}).shape == (3, 32, 32)
    with pytest.raises(ConfigError, match="Unknown modality"):
        parse_modality({"modality": "imgae"})
    with pytest.raises(ConfigError, match=r"source\.sise(.|\n)*did you mean 'size'"):
        parse_modality({"sise": 3}, "source")
    with pytest.raises(ConfigError, match="3 values where channels is 1"):
        parse_modality({"channels": 1, "mean": [0, 0, 0]})
    with pytest.raises(ConfigError, match="mapping"):
        parse_modality("image")


def test_brightness_and_contrast_are_what_kornia_makes_of_its_own_draws() -> None:
    still = {"flip": 0, "rotate": 0, "translate": 0, "scale": (1, 1)}
    batch = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    torch.manual_seed(3)
    ours = augment_images(batch, ImageAugment(**still))
    torch.manual_seed(3)
    changed = batch / 255
    for change in (K.RandomBrightness((0.8, 1.2), p=1.0), K.RandomContrast((0.8, 1.2), p=1.0)):
        changed = change(changed)
    assert torch.equal(ours, changed * 255)
    assert batch.dtype == torch.uint8
    given = torch.rand(2, 3, 8, 8) * 255
    before = given.clone()
    augment_images(given, ImageAugment())
    assert torch.equal(given, before)
