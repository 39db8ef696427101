"""The set ``furniture-depth``, built from a few boxes in the layout of Sweet Home 3D's libraries."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from crossdistill.errors import ConfigError, PairsError
from crossdistill.modalities import InputDefaults, parse_modality
from crossdistill.pairs import Pairs
from crossdistill.pairs.builtin import open_builtin
from crossdistill.pairs.builtin.furniture_depth import DATASET, UNLABELLED
from crossdistill.pairs.making.camera import Camera, Light, Surface
from crossdistill.pairs.making.depth_sensor import LIMIT, measured
from crossdistill.pairs.making.meshes import Mesh, joined, turned
from crossdistill.pairs.making.obj_models import MeshError, read_furniture
from crossdistill.pairs.making.raycast import Scene
from crossdistill.pairs.making.room_plans import plan_rooms, pools, reach
from crossdistill.pairs.making.staging import stage_room, stage_thing
from crossdistill.pairs.making.sweethome import CLASSES, Furniture, class_of, read_libraries

pytest.importorskip("embreex")

NAME = "furniture-depth"
HOLDS = "usr/share/sweethome3d/furniture"


def f32(values: Any) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


LIGHT = Light(np.tile(f32([0, 1, 0]), (4, 1)), (0.5, 0.5), np.ones(3, np.float32))

# A box from -1 to 1 as six quads, its parts far from where and how large the catalogue says that they are.
BOX = """mtllib box.mtl
v -1 4 -1\nv 1 4 -1\nv 1 6 -1\nv -1 6 -1\nv -1 4 1\nv 1 4 1\nv 1 6 1\nv -1 6 1
vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1
usemtl paint
f 1/1 2/2 3/3 4/4\nf 5/1 6/2 7/3 8/4\nf 1/1 2/2 6/3 5/4\nf 4/1 3/2 7/3 8/4\nf 1/1 5/2 8/3 4/4\nf 2/1 6/2 7/3 3/4
"""
PAINT = "newmtl paint\nKd 0.8 0.2 0.1\nd 1.0\n"


@dataclass
class Entry:
    name: str
    category: str = "Living room"
    tags: str = "Seat"
    size: tuple[float, float, float] = (60, 50, 90)  # width, depth, height in centimetres
    obj: str | None = BOX
    mtl: str = PAINT
    more: str = ""  # lines of the catalogue, #N for its number


def write_library(root: Path, entries: Sequence[Entry], files: dict[str, bytes] | None = None) -> Path:
    """Writes a library of ``entries`` below ``root``, the folder of an unpacked package."""
    folder = root / HOLDS
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id=Tiny#Models", "license=Creative Commons Attribution 3.0"]
    with zipfile.ZipFile(folder / "Tiny.sh3f", "w") as archive:
        for number, entry in enumerate(entries, start=1):
            width, depth, height = entry.size
            lines += [
                "",
                f"id#{number}=Tiny#thing{number}",
                f"name#{number}={entry.name}",
                f"tags#{number}={entry.tags}",
            ]
            lines += [f"category#{number}={entry.category}", f"model#{number}=/tiny/thing{number}/box.obj"]
            lines += [f"width#{number}={width}", f"depth#{number}={depth}", f"height#{number}={height}"]
            lines += [f"creator#{number}=J\\u00e9r\\u00f4me", entry.more.replace("#N", f"#{number}")]
            if entry.obj is not None:
                archive.writestr(f"tiny/thing{number}/box.obj", entry.obj)
                archive.writestr(f"tiny/thing{number}/box.mtl", entry.mtl)
            for name, content in (files or {}).items():
                archive.writestr(f"tiny/thing{number}/{name}", content)
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines).encode("latin-1"))
    return root


def one(root: Path, entry: Entry, files: dict[str, bytes] | None = None) -> Furniture:
    return read_libraries(write_library(root, [entry], files) / HOLDS)[0]


def built(folder: Path, package: Path, workers: int = 1, **options: Any) -> Pairs:
    settings = {"side": 32, "views": 2, **options}
    return open_builtin(NAME, folder, options=settings, package=package, workers=workers)


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def pixels(item: Any) -> NDArray[Any]:
    with Image.open(item) as picture:
        return np.asarray(picture)


def picture_file(colour: tuple[int, ...], size: tuple[int, int] = (4, 4), clear: int = 0) -> bytes:
    """A PNG, the first ``clear`` columns of which are transparent."""
    values = np.full((size[1], size[0], 4), (*colour, 255), np.uint8)
    values[:, :clear, 3] = 0
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def box_depth(camera: Camera, low: Sequence[float], high: Sequence[float]) -> NDArray[np.float64]:
    """Depth of an upright box in every pixel by the slab method, infinite beside it."""
    origin, rays = camera.position.astype(np.float64), camera.rays().astype(np.float64)
    with np.errstate(divide="ignore"):
        ends = np.stack([(np.asarray(bound) - origin) / rays for bound in (low, high)])
    near, far = ends.min(axis=0).max(axis=1), ends.max(axis=0).min(axis=1)
    return np.where(near < far, near, np.inf).reshape(camera.side, camera.side)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A package of 36 boxes: more than one part of a build."""
    kinds = [("Chair", "Living room", "Seat"), ("Table", "Living room", ""), ("Ficus", "Living room", "Plant")]
    entries = [
        Entry(f"{name}", category, tags, size=(40 + 2 * number, 45 + number, 60 + 3 * number))
        for number in range(12)
        for name, category, tags in kinds
    ]
    return write_library(tmp_path / "package", entries)


class TestPictures:
    @pytest.fixture
    def box(self, tmp_path: Path) -> Scene:
        mesh, missing = read_furniture(one(tmp_path, Entry("Chair", size=(60, 50, 90))))
        assert missing == []
        return Scene(mesh)

    def test_depth_of_a_known_box_at_a_known_camera(self, box: Scene) -> None:
        camera = Camera.looking((0.9, 1.4, 2.1), (0, 0.45, 0), 64)
        axes = f32([[1, 0, 0], [0, 0, 1]])
        floor = Surface(np.zeros(3, np.float32), f32([0, 1, 0]), axes, np.ones((2, 2, 3), np.float32), 1.0)
        picture = box.picture(camera, (floor,), LIGHT)
        expected = box_depth(camera, (-0.3, 0, -0.25), (0.3, 0.9, 0.25))
        down = camera.rays()[:, 1].reshape(64, 64).astype(np.float64)
        with np.errstate(divide="ignore"):
            ground = np.where(down < 0, -float(camera.position[1]) / down, np.inf)
        assert 0.1 < np.isfinite(expected).mean() < 0.6
        np.testing.assert_allclose(picture.depth, np.minimum(expected, ground), atol=1e-3)
        assert np.array_equal(picture.what == 0, expected < ground)
        assert np.array_equal(picture.what == -1, (ground <= expected) & np.isfinite(ground))

    def test_the_middle_of_the_front_of_a_box_straight_ahead(self, box: Scene) -> None:
        """Two metres before the origin, the box's front is a quarter of a metre nearer: no formula of ours."""
        picture = box.picture(Camera.looking((0, 0.45, 2), (0, 0.45, 0), 33), (), LIGHT)
        assert picture.depth[16, 16] == pytest.approx(1.75, abs=1e-3)
        wide = (picture.what[16] == 0).sum()  # 0.6 m at 1.75 m with a focal length of 33 pixels
        assert wide == pytest.approx(33 * 0.6 / 1.75, abs=1)

    def test_lit_from_above_the_top_is_brighter_and_its_shadow_dark(self, box: Scene) -> None:
        camera = Camera.looking((0, 2.5, 2.5), (0, 0.3, 0), 64)
        axes = f32([[1, 0, 0], [0, 0, 1]])
        floor = Surface(np.zeros(3, np.float32), f32([0, 1, 0]), axes, np.ones((2, 2, 3), np.float32), 1.0)
        slanted = f32([0.8, 0.6, 0])
        picture = box.picture(camera, (floor,), Light(np.tile(slanted, (4, 1)), (0.5, 0.4), np.ones(3, np.float32)))
        left, right = (picture.rgb[picture.what == -1][:, 0].astype(int) for _ in range(2))
        assert left.max() - right.min() > 40  # of the white floor, in the light and in the shadow
        shadow = (picture.what == -1) & (picture.rgb[..., 0] < int(left.max()) - 40)
        assert np.argwhere(shadow)[:, 1].mean() < 32  # the light comes from the right
        red = picture.rgb[picture.what == 0].astype(float).mean(axis=0)
        assert red[0] > 2 * red[1] > 2 * red[2]

    def test_glass_shows_what_is_behind_and_cut_outs_are_holes(self, tmp_path: Path) -> None:
        camera = Camera.looking((0, 0.45, 2), (0, 0.45, 0), 32)
        back = Surface(f32([0, 0, -3]), f32([0, 0, 1]), f32([[1, 0, 0], [0, 1, 0]]),
                       np.full((1, 1, 3), [0, 0, 1], np.float32), 1.0)  # fmt: skip
        glass, _ = read_furniture(one(tmp_path / "a", Entry("Glass", mtl=PAINT.replace("d 1.0", "d 0.3"))))
        picture = Scene(glass).picture(camera, (back,), LIGHT)
        assert picture.depth[16, 16] == pytest.approx(1.75, abs=1e-3)
        assert picture.rgb[16, 16, 2] > picture.rgb[16, 16, 0] > 20
        leaf, _ = read_furniture(
            one(
                tmp_path / "b",
                Entry("Plant", mtl=PAINT + "map_Kd leaf.png\n"),
                {"leaf.png": picture_file((0, 200, 0), clear=2)},
            )
        )
        picture = Scene(leaf).picture(camera, (back,), LIGHT)
        depths = picture.depth[16]
        assert depths[12] == pytest.approx(5, abs=1e-3)  # through the holes of both sides to the wall
        assert depths[18] == pytest.approx(1.75, abs=1e-3)
        assert picture.rgb[16, 18, 1] > picture.rgb[16, 18, 0]

    def test_things_are_turned_placed_and_told_apart(self, box: Scene) -> None:
        mesh = box.mesh
        np.testing.assert_allclose(turned(np.pi / 2) @ [0, 0, 1], [1, 0, 0], atol=1e-6)
        pair = joined([mesh.placed(0, (-1, 0, 0)), mesh.placed(np.pi / 2, (1, 0, 0))])
        low, high = (pair.vertices[pair.faces[pair.owner == 1]].reshape(-1, 3), np.array([1.25, 0.9, 0.3]))
        np.testing.assert_allclose(low.max(axis=0), high, atol=1e-6)
        what = Scene(pair).picture(Camera.looking((0, 1, 4), (0, 0.4, 0), 32), (), LIGHT).what
        assert set(what[:, :16].ravel()) == {-1000, 0}
        assert set(what[:, 16:].ravel()) == {-1000, 1}


class TestModels:
    def test_size_and_rotation_are_the_catalogues(self, tmp_path: Path) -> None:
        lying = Entry("Chair", more="modelRotation#N=1 0 0 0 0 1 0 -1 0")
        mesh, _ = read_furniture(one(tmp_path, lying))
        np.testing.assert_allclose(mesh.vertices.min(axis=0), [-0.3, 0, -0.25], atol=1e-6)
        np.testing.assert_allclose(mesh.vertices.max(axis=0), [0.3, 0.9, 0.25], atol=1e-6)

    def test_is_kept_whole_in_a_file(self, tmp_path: Path) -> None:
        texture = {"wood.png": picture_file((120, 60, 30), size=(600, 2))}
        mesh, missing = read_furniture(one(tmp_path, Entry("Table", mtl=PAINT + "map_Kd C:\\me\\wood.png\n"), texture))
        assert missing == []  # found beside the model
        assert mesh.textures[0].tolist() == [0, 256, 2]
        mesh.save(tmp_path / "mesh.npz")
        again = Mesh.load(tmp_path / "mesh.npz")
        for name, value in vars(mesh).items():
            assert getattr(again, name).dtype == value.dtype
            np.testing.assert_allclose(getattr(again, name), value, atol=1e-2 if name == "normals" else 0)

    @pytest.mark.parametrize("files", [{}, {"wood.png": b"not a picture"}])
    def test_textures_that_are_not_there_are_named(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        mesh, missing = read_furniture(one(tmp_path, Entry("Table", mtl=PAINT + "map_Kd wood.png\n"), files))
        assert missing == ["wood.png"]
        np.testing.assert_allclose(mesh.colours[0], [0.8, 0.2, 0.1, 1])

    @pytest.mark.parametrize(
        ("obj", "message"),
        [
            (None, "no such file"),
            ("", "no triangles"),
            (BOX.partition("usemtl")[0], "no triangles"),
            ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "vertex that is not there|cannot be read"),
            ("v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", "no triangles"),
            ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 two 3\n", "cannot be read|no triangles"),
        ],
    )
    def test_broken_models_are_refused(self, tmp_path: Path, obj: str | None, message: str) -> None:
        with pytest.raises(MeshError, match=message):
            read_furniture(one(tmp_path, Entry("Chair", obj=obj)))

    def test_invisible_models_and_huge_members_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(MeshError, match="transparent"):
            read_furniture(one(tmp_path / "a", Entry("Chair", mtl=PAINT.replace("d 1.0", "d 0.0"))))
        monkeypatch.setattr("crossdistill.pairs.making.sweethome._MOST_BYTES", 100)
        with pytest.raises(PairsError, match="100 are the most"):
            one(tmp_path / "b", Entry("Chair"))


class TestCatalogue:
    @pytest.mark.parametrize(
        ("category", "name", "tags", "label"),
        [
            ("Living room", "Oak chair", "Blend Swap, Seat", "chair"),
            ("Living room", "Armchair", "Seat", "sofa"),
            ("Office", "Armchair", "Blend Swap", "chair"),
            ("Bedroom", "Bedside table", "Nightstand", "cabinet"),
            ("Bedroom", "Opened convertible sofa BZ", "Bed", "bed"),
            ("Exterior", "Pine", "Tree, Outdoor, Garden", "plant"),
            ("Miscellaneous", "Vase", "Flowers, Decoration", "tableware"),
            ("Miscellaneous", "Table tennis", "Game, Sport", None),
            ("Doors and windows", "Elevator", "", None),
            ("Characters", "Female", "Human, Woman, People", "person"),
            ("Characters", "Cat", "Animal", None),
        ],
    )
    def test_classes_come_from_names_and_tags(self, category: str, name: str, tags: str, label: str | None) -> None:
        assert class_of(category, name, tags) == label

    def test_entries_are_read_as_java_writes_them(self, tmp_path: Path) -> None:
        furniture = one(tmp_path, Entry("Frame H\\u00f4i An", more="elevation#N=150"))
        assert (furniture.name, furniture.author, furniture.elevation) == ("Frame Hôi An", "Jérôme", 1.5)
        assert furniture.size == (0.6, 0.9, 0.5)
        assert furniture.on_wall
        assert furniture.stem == "tiny-thing1"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("width#1=nan", "size"),
            ("depth#1=wide", "could not convert"),
            ("modelRotation#1=1 0", "rotation"),
            ("id#1=#", "id"),
        ],
    )
    def test_damaged_entries_are_one_message(self, tmp_path: Path, change: str, message: str) -> None:
        with pytest.raises(PairsError, match=message):
            one(tmp_path, Entry("Chair", more=change))


class TestViews:
    @pytest.fixture(params=[((0.1, 0.1, 0.1), 0.0), ((0.5, 1.0, 0.5), 0.0), ((4.8, 1.5, 2), 0.0), ((1, 0.3, 0.2), 2.2)])
    def thing(self, request: pytest.FixtureRequest) -> Iterator[tuple[tuple[float, float, float], float]]:
        return request.param  # type: ignore[no-any-return]

    def test_a_thing_is_in_the_picture_and_before_the_walls(
        self, thing: tuple[tuple[float, float, float], float]
    ) -> None:
        size, elevation = thing
        low = np.array([-size[0] / 2, elevation, -size[2] / 2])
        corners = np.array([low + np.array(size) * [x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
        for seed in range(40):
            stage = stage_thing(size, elevation, elevation > 0, 96, np.random.default_rng(seed))
            local = (corners - stage.camera.position) @ stage.camera.axes.T
            assert -local[:, 2].max() >= DATASET.target["near"]
            assert np.abs(local[:, :2] / local[:, 2:]).max() <= 0.5
            for surface in stage.surfaces:
                assert float((stage.camera.position - surface.point) @ surface.normal) > 0.1
                assert ((corners - surface.point) @ surface.normal).min() > -1e-5

    def test_room_cameras_stand_beside_the_things(self) -> None:
        for seed in range(100):
            rng = np.random.default_rng(seed)
            area = rng.uniform(3, 4.2)
            camera = stage_room(area, 0.6, 32, rng).camera
            assert camera.position[[0, 2]].max() > area + 0.3
            assert camera.position.min() > 0.1


class TestRooms:
    @pytest.fixture
    def furniture(self, mixed: Path) -> list[Furniture]:
        return read_libraries(mixed / HOLDS)

    def test_splits_share_no_furniture(self, furniture: list[Furniture]) -> None:
        parts = pools(furniture)
        assert {split: len(part) for split, part in parts.items()} == {"train": 24, "val": 6, "test": 6}
        assert sorted(each.id for part in parts.values() for each in part) == sorted(each.id for each in furniture)
        assert all({each.label for each in part} == {"chair", "table", "plant"} for part in parts.values())
        rooms = plan_rooms(furniture, 40, seed=3)
        assert {room.split for room in rooms} == {"train", "val", "test"}
        for room in rooms:
            assert {thing.furniture.id for thing in room.things} <= {each.id for each in parts[room.split]}
        assert plan_rooms(furniture, 10, seed=3) == rooms[:10]
        assert plan_rooms(furniture, 10, seed=4) != rooms[:10]

    def test_things_stand_on_the_floor_beside_each_other(self, furniture: list[Furniture]) -> None:
        counts = []
        for room in plan_rooms(furniture, 60, seed=0):
            taken = np.zeros((420, 420), dtype=int)
            for thing in room.things:
                wide, deep = reach(thing.furniture, thing.turn)
                assert min(thing.x - wide, thing.z - deep) > -1e-6
                assert max(thing.x + wide, thing.z + deep) <= room.area + 0.011
                rows, columns = (slice(round((place - half) * 100), round((place + half) * 100))
                                 for place, half in ((thing.z, deep), (thing.x, wide)))  # fmt: skip
                taken[rows, columns] += 1
            assert taken.max() == 1
            counts.append(len(room.things))
        assert 4.5 < np.mean(counts) <= 7

    def test_too_little_furniture(self, furniture: list[Furniture], tmp_path: Path) -> None:
        with pytest.raises(PairsError, match=r"too little furniture(.|\n)*scenes=objects"):
            plan_rooms(furniture[:2], 20, seed=0)


class TestSensor:
    def test_noise_grows_with_the_square_of_the_distance(self) -> None:
        rng = np.random.default_rng(0)
        for metres, expected in ((1.0, 0.0012 + 0.0019 * 0.36), (4.0, 0.0012 + 0.0019 * 12.96)):
            read = measured(np.full((96, 96), metres, np.float32), rng)
            assert (read > 0).all()
            assert float(read.std()) == pytest.approx(expected, rel=0.05)

    def test_holes_are_at_edges_and_beyond_the_limit(self) -> None:
        depth = np.full((96, 96), 1.0, np.float32)
        depth[:, 48:], depth[:10] = 3.0, np.inf
        depth[80:] = LIMIT + 5
        read = measured(depth, np.random.default_rng(0))
        assert (read[:9] == 0).all()
        assert (read[84:] == 0).all()
        holes = (read == 0)[14:76]
        assert 0.2 < holes[:, 47:49].mean() < 0.6
        assert not holes[:, :44].any()
        assert not holes[:, 52:].any()


class TestBuild:
    def test_objects(self, tmp_path: Path) -> None:
        entries = [Entry("Chair"), Entry("Table", tags=""), Entry("Cat", "Characters", "Animal", (30, 50, 40))]
        package = write_library(tmp_path / "package", entries)
        pairs = built(tmp_path / "set", package, sensor=False, side=64)
        assert [(pair.label, pair.group) for pair in pairs][::2] == [
            ("chair", "Tiny#thing1"), ("table", "Tiny#thing2"), (None, "Tiny#thing3"),
        ]  # fmt: skip
        names = json.loads((tmp_path / "set" / "mask_classes.json").read_text())
        assert names["1"] == "floor"
        for pair in pairs:
            depth, mask = pixels(pair.target), pixels(pair.mask)
            assert depth.dtype == np.uint16
            assert mask.dtype == np.uint8
            assert pixels(pair.source).shape == (64, 64, 3)
            number = UNLABELLED if pair.label is None else 3 + CLASSES.index(pair.label)
            assert set(np.unique(mask)) == {0, number}
            assert names[str(number)] == (pair.label or "unlabelled")
        credits_ = list(csv.DictReader((tmp_path / "set" / "credits.csv").read_text(encoding="utf-8").splitlines()))
        assert [row["author"] for row in credits_] == ["Jérôme"] * 3

    def test_depth_and_mask_agree_with_the_box(self, tmp_path: Path) -> None:
        """The views are drawn again here, and the box is intersected by another method."""
        import zlib

        package = write_library(tmp_path / "package", [Entry("Chair", size=(70, 40, 110))])
        for pair in built(tmp_path / "set", package, sensor=False, side=64, views=6, seed=5):
            view = int(Path(str(pair.source)).stem.rpartition("-")[2])
            rng = np.random.default_rng([5, 0, zlib.crc32(b"Tiny#thing1"), view])
            stage = stage_thing((0.7, 1.1, 0.4), 0.0, False, 64, rng)
            expected = box_depth(stage.camera, (-0.35, 0, -0.2), (0.35, 1.1, 0.2))
            inside = np.isfinite(expected)
            assert np.array_equal(pixels(pair.mask) > 0, inside)
            assert np.abs(pixels(pair.target)[inside] - expected[inside] * 1000).max() <= 1

    def test_the_depth_modality_reads_all_of_it(self, mixed: Path, tmp_path: Path) -> None:
        target = parse_modality(DATASET.target, "target").resolve(
            InputDefaults(size=96, mean=(0.5,), std=(0.25,), interpolation="bilinear")
        )
        pairs = built(tmp_path / "set", mixed)
        assert len(pairs) == 72
        for pair in pairs:
            assert pair.target is not None
            encoded = target.decode(pair.target).float()
            assert encoded.shape == (1, 96, 96)
            assert float(encoded.max()) > float(encoded.min()) + 0.05

    @pytest.mark.parametrize("scenes", ["objects", "rooms"])
    def test_same_seed_same_bytes_whatever_the_workers(self, mixed: Path, tmp_path: Path, scenes: str) -> None:
        options: dict[str, Any] = {"scenes": scenes, "rooms": 36, "views": 1}
        pairs = built(tmp_path / "one", mixed, **options)
        built(tmp_path / "two", mixed, workers=2 if scenes == "objects" else 1, **options)
        built(tmp_path / "other", mixed, seed=1, **options)
        first = content(tmp_path / "one")
        assert first == content(tmp_path / "two")
        assert not (tmp_path / "one" / ".parts").exists()
        other = content(tmp_path / "other")
        assert all(first[name] != other[name] for name in first if name.startswith(("source", "target")))
        if scenes == "rooms":
            assert {pair.split for pair in pairs} == {"train", "val", "test"}
            assert len({pair.group for pair in pairs}) == len(pairs) == 36
            seen = set().union(*(np.unique(pixels(pair.mask)) for pair in pairs))
            assert seen == {1, 2, *(3 + CLASSES.index(name) for name in ("chair", "table", "plant"))}

    def test_goes_on_where_it_stopped(self, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        built(tmp_path / "whole", mixed, views=1)

        def interrupted(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Pairs, "to_csv", interrupted)
            with pytest.raises(KeyboardInterrupt):
                built(tmp_path / "set", mixed, views=1)
        kept = tmp_path / "set" / "source" / "tiny-thing36-0.png"
        before = kept.stat().st_mtime_ns
        (tmp_path / "set" / ".parts" / "rendering-objects-00000.json").unlink()
        for name in ("source", "target", "mask"):
            (tmp_path / "set" / name / "tiny-thing3-0.png").unlink()
        built(tmp_path / "set", mixed, views=1)
        assert content(tmp_path / "set") == content(tmp_path / "whole")
        assert kept.stat().st_mtime_ns == before

    def test_what_is_left_out_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        entries = [
            Entry("Chair"), Entry("Ghost chair", obj="v 0 0 0\n"), Entry("Lost chair", obj=None),
            Entry("Pencil", size=(1, 14, 1)), Entry("Table", mtl=PAINT + "map_Kd wood.png\n"),
        ]  # fmt: skip
        pairs = built(tmp_path / "set", write_library(tmp_path / "package", entries))
        assert {pair.group for pair in pairs} == {"Tiny#thing1", "Tiny#thing5"}
        told = capsys.readouterr().err
        assert "1 of 5 objects are smaller" in told
        assert "left out: Ghost chair (Tiny#thing2): it has no triangles" in told
        assert "left out: Lost chair (Tiny#thing3)" in told
        assert "2 of 4 objects are left out" in told
        assert "1 objects name textures" in told
        with pytest.raises(PairsError, match="None of the package's meshes"):
            built(tmp_path / "none", write_library(tmp_path / "broken", entries[1:3]))

    def test_the_wrong_package_is_one_message(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
            archive.writestr("usr/share/doc/readme", "another package")
        with pytest.raises(PairsError, match=r"not the package(.|\n)*apt-get download sweethome3d-furniture"):
            built(tmp_path / "set", tmp_path / "other.zip")
        empty = tmp_path / "empty" / HOLDS
        empty.mkdir(parents=True)
        with pytest.raises(PairsError, match="no furniture library"):
            built(tmp_path / "set", tmp_path / "empty")
        (empty / "Tiny.sh3f").write_bytes(b"no zip")
        with pytest.raises(PairsError, match=r"cannot be read(.|\n)*Tiny.sh3f"):
            built(tmp_path / "set", tmp_path / "empty")

    def test_options_are_checked(self, tmp_path: Path, mixed: Path) -> None:
        for options in ({"scenes": "gardens"}, {"views": 0}, {"size": 96}):
            with pytest.raises(ConfigError):
                built(tmp_path / "set", mixed, **options)
