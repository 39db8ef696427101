"""Tiny trees in the official layouts and file formats of the data sets of the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from crossdistill.modalities.audio import Audio
from crossdistill.modalities.image import Image
from crossdistill.modalities.thermal import Thermal

# What a whole tiny tree has, in place of the official numbers.
COUNTS: dict[str, dict[str, tuple[int, ...]]] = {
    "audioset": {"balanced_train": (6,), "unbalanced_train": (4,), "eval": (3,), "classes": (3,)},
    "esc-50": {"clips": (20,), "classes": (2,), "clips of the smallest fold": (4,)},
    "flir-aligned": {"train": (6,), "test": (2,)},
    "llvip": {"train": (8,), "test": (3,)},
    "nyu-depth-v2": {"train": (5,), "test": (2,)},
    "sketchy": {"photos": (8,), "sketches": (16,), "categories": (2,), "test photos": (2,)},
    "sun-rgbd": {
        "train": (6,), "test": (2,), "train of the 19 scenes": (5,), "test of the 19 scenes": (2,),
    },
    "tu-berlin": {"sketches": (12,), "categories": (3,), "sketches of the smallest category": (4,)},
    "vggsound": {"train": (5,), "test": (2,), "classes": (3,)},
}  # fmt: skip


def picture(path: Path, label: int = 0, variant: int = 0, *, rich: bool = True) -> Path:
    Image.write_fake(path, label, variant, rich)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def sketchy(root: Path) -> None:
    for label, (category, synset) in enumerate((("airplane", "n02691156"), ("hot-air_balloon", "n03541923"))):
        for number in range(4):
            name = f"{synset}_{10 + number}"
            picture(root / f"256x256/photo/tx_000000000000/{category}/{name}.jpg", label, number)
            for sketch in (1, 2):
                file = f"256x256/sketch/tx_000000000000/{category}/{name}-{sketch}.png"
                picture(root / file, label, 10 * number + sketch, rich=False)
    text(root / "info/testset.txt", "airplane/n02691156_12.jpg\nhot-air_balloon/n03541923_11.jpg\n")
    text(root / "info/invalid-error.txt", "n02691156_10-1\nn02691156_10-2\n")
    text(root / "info/invalid-ambiguous.txt", "n03541923_10-2\n")


def tu_berlin(root: Path) -> None:
    names = []
    for label, category in enumerate(("airplane", "flying bird", "teapot")):
        for number in range(1, 5):
            file = f"{category}/{80 * label + number}.png"
            picture(root / "png" / file, label, number, rich=False)
            names.append(file)
    text(root / "png/filelist.txt", "\n".join(names))


def tu_berlin_svg(root: Path) -> None:
    for label, category in enumerate(("airplane", "flying bird", "teapot")):
        for number in range(1, 5):
            drawing = (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="80"><path d="M5 {number} L70 {40 + label}"'
            )
            text(root / f"svg/{category}/{number}.svg", drawing + ' stroke="black" fill="none"/></svg>')


def nyu_arrays() -> dict[str, np.ndarray]:
    """Pictures (7, H, W, 3), metres (7, H, W) and labels (7, H, W), as anybody would have them."""
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (7, 16, 24, 3), dtype=np.uint8),
        "depths": rng.uniform(1, 5, (7, 16, 24)).astype(np.float32),
        "labels": rng.integers(0, 895, (7, 16, 24)).astype(np.uint16),
    }


NYU_SCENES = [
    "kitchen_0001a",
    "kitchen_0001b",
    "office_0002",
    "office_0002",
    "bath_room_0003c",
    "office_0009",
    "den_0001",
]
NYU_TO_40 = (np.arange(894) * 7 % 40 + 1).astype(np.uint8)
NYU_TO_13 = (np.arange(40) * 5 % 13 + 1).astype(np.uint8)


def nyu_depth_v2(root: Path) -> None:
    import h5py
    from scipy.io import savemat

    root.mkdir(parents=True, exist_ok=True)
    arrays = nyu_arrays()
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        file["images"] = arrays["images"].transpose(0, 3, 2, 1)
        file["depths"] = arrays["depths"].transpose(0, 2, 1)
        file["rawDepths"] = np.where(arrays["depths"] < 2, 0, arrays["depths"]).transpose(0, 2, 1)
        file["labels"] = arrays["labels"].transpose(0, 2, 1)
        kinds = [scene.rpartition("_")[0] for scene in NYU_SCENES]
        for name, values in (("scenes", NYU_SCENES), ("sceneTypes", kinds)):
            cells = file.create_dataset(name, (1, len(values)), dtype=h5py.ref_dtype)
            for column, value in enumerate(values):
                codes = np.array([[ord(each)] for each in value], dtype=np.uint16)
                cells[0, column] = file.create_dataset(f"#refs#/{name}{column}", data=codes).ref
    savemat(root / "splits.mat", {"trainNdxs": np.array([[1], [2], [3], [4], [7]]), "testNdxs": np.array([[5], [6]])})
    savemat(root / "classMapping40.mat", {"mapClass": NYU_TO_40[None], "className": cells_of(["wall"] * 40)})
    coarse = {"labels13": NYU_TO_13[None], "class13Names": cells_of(["bed"] * 13)}
    savemat(root / "class13Mapping.mat", {"classMapping13": coarse})


def cells_of(values: list[str]) -> np.ndarray:
    """A cell array of text in one row."""
    cells = np.empty((1, len(values)), dtype=object)
    cells[0] = values
    return cells


SUN_SCENES = {
    "kv1/NYUdata/NYU0001": "bedroom", "kv1/NYUdata/NYU0002": "office",
    "kv2/kinect2data/000065_2014-05-16_20-14-38_260595134347_rgbf000121-resize": "printer_room",
    "realsense/lg/2014_10_21-18_16_30-1311000073": "kitchen",
    "xtion/sun3ddata/home_ac/scan1/0000003": "living_room", "xtion/sun3ddata/home_ac/scan1/0000009": "living_room",
    "xtion/sun3ddata/mit_lab/scan2/0000004": "lab", "xtion/sun3ddata/mit_lab/scan3/0000005": "lab",
}  # fmt: skip


def sun_depth_millimetres(number: int) -> np.ndarray:
    return (1000 + 500 * number + np.arange(12 * 20).reshape(12, 20)).astype(np.uint16)


def sun_rgbd(root: Path) -> None:
    from scipy.io import savemat

    for number, (scene, kind) in enumerate(SUN_SCENES.items()):
        folder = root / "SUNRGBD" / scene
        picture(folder / "image/0000001.jpg", 0, number)
        millimetres = sun_depth_millimetres(number)
        stored = (millimetres << np.uint16(3)) | (millimetres >> np.uint16(13))
        for name in ("depth", "depth_bfx"):
            (folder / name).mkdir()
            Pillow.fromarray(stored).save(folder / name / "0000001.png")
        text(folder / "scene.txt", f"{kind}\n")
    paths = [f"/n/fs/sun3d/data/SUNRGBD/{scene}" for scene in SUN_SCENES]
    toolbox = root / "SUNRGBDtoolbox/traintestSUNRGBD"
    toolbox.mkdir(parents=True)
    train = [f"{paths[0]}/", *paths[1:6]]  # some end in a slash
    savemat(toolbox / "allsplit.mat", {"alltrain": cells_of(train), "alltest": cells_of(paths[6:])})


def video(
    path: Path, *, sound: bool = True, pictures: bool = True, seconds: float = 1.0, pitch: float = 440.0,
    white: int = 255,
) -> Path:  # fmt: skip
    """An MP4 file that turns from black to ``white``, with a tone."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    frames, rate = round(10 * seconds), 16_000
    with av.open(str(path), "w") as container:
        if pictures:
            stream: Any = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if sound:
            track: Any = container.add_stream("aac", rate=rate, layout="stereo")
        if pictures:
            for number in range(frames):
                grey = np.full((48, 64, 3), round(white * number / max(frames - 1, 1)), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
        if sound:
            wave = np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate).astype(np.float32) * 0.5
            frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = rate, 0
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return path


VGGSOUND = """\
---g-f_I2yQ,1,people marching,test
--0PQM4-hqg,30,waterfall burbling,train
--9O4XZOge4,30,"female speech, woman speaking",train
B5KE79I2f-A,188,people marching,train
B5KE79I2f-A,220,people marching,train
-0gone00000,5,waterfall burbling,train
zzwbG0dHLhI,150,waterfall burbling,test
"""


def vggsound(root: Path) -> None:
    text(root / "vggsound.csv", VGGSOUND)
    for number, line in enumerate(VGGSOUND.splitlines()):
        identity, start = line.split(",")[:2]
        if "gone" not in identity:
            video(root / f"videos/{identity}_{int(start):06}.mp4", pitch=200 + 50 * number, white=255 - 20 * number)


def vggsound_files(root: Path) -> None:
    """The same with frames and sounds taken out of the videos."""
    text(root / "vggsound.csv", VGGSOUND)
    for number, line in enumerate(VGGSOUND.splitlines()):
        identity, start = line.split(",")[:2]
        if "gone" not in identity:
            picture(root / f"frames/{identity}_{int(start):06}.jpg", number % 3, number)
            Audio.write_fake(root / f"audio/{identity}_{int(start):06}.wav", number % 3, number, rich=True)


_HEAD = """\
# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids={0}, num_segs={0}, num_unique_labels=527, num_positive_labels=51804
# YTID, start_seconds, end_seconds, positive_labels
"""
AUDIOSET = {
    "balanced_train": [
        '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"', '--ZhevVpy1s, 50.000, 60.000, "/t/dd00088"',
        '-0DLPzsiXXE, 0.000, 10.000, "/m/09x0r,/m/0jbk"', '-0DdlOuIFUI, 50.000, 60.000, "/m/09x0r"',
        '-0FHUc78Gqo, 30.000, 40.000, "/m/09x0r"', '-0gone00000, 30.000, 40.000, "/m/0jbk"',
    ],
    "unbalanced_train": [f'unbalance{number:02}, 0.000, 10.000, "/m/0jbk"' for number in range(4)],
    "eval": [
        '-0RWZT-miFs, 420.000, 430.000, "/m/0jbk,/m/09x0r"', 'evaluation1, 7.000, 17.000, "/m/09x0r"',
        'evaluation2, 0.000, 10.000, "/t/dd00088"',
    ],
}  # fmt: skip


def audioset(root: Path) -> None:
    for name, lines in AUDIOSET.items():
        text(root / f"{name}_segments.csv", _HEAD.format(len(lines)) + "\n".join(lines) + "\n")
    labels = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/0jbk,"Animal"\n2,/t/dd00088,"Gush, spurt"\n'
    text(root / "class_labels_indices.csv", labels)
    names = ["--PJHxphWEs_30.wav", "Y--ZhevVpy1s.wav", "-0DLPzsiXXE_000000.wav", "-0DdlOuIFUI_50000_60000.wav",
             "-0RWZT-miFs.wav", "evaluation1_7_17.wav"]  # fmt: skip
    for number, name in enumerate(names):
        Audio.write_fake(root / "clips" / name, number % 3, number, rich=True)
    video(root / "clips/-0FHUc78Gqo_30000.mp4")
    video(root / "clips/evaluation2_000000.mp4", white=99)


def esc_50(root: Path) -> None:
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for number, (target, category) in enumerate(((0, "dog"), (0, "dog"), (41, "chainsaw"), (41, "chainsaw"))):
            source = f"{fold}000{number // 3}{target}"
            name = f"{fold}-{source}-{'AB'[number % 2]}-{target}.wav"
            Audio.write_fake(root / "audio" / name, target % 3, 10 * fold + number, rich=True)
            lines.append(f"{name},{fold},{target},{category},{target == 0},{source},{'AB'[number % 2]}")
    text(root / "meta/esc50.csv", "\n".join(lines) + "\n")


def llvip(root: Path) -> None:
    names = {"train": [f"{scene:02}{number:04}" for scene in (1, 2, 5, 9) for number in (1, 2)],
             "test": ["190001", "190002", "200001"]}  # fmt: skip
    for split, each in names.items():
        for number, name in enumerate(each):
            picture(root / f"visible/{split}/{name}.jpg", 1, number)
            thermal(root / f"infrared/{split}/{name}.jpg", number)
    text(root / "Annotations/010001.xml", "<annotation/>")


def flir_aligned(root: Path) -> None:
    stems = {"train": [f"FLIR_{number:05}" for number in range(1, 7)], "validation": ["FLIR_08863", "FLIR_08865"]}
    for split, each in stems.items():
        text(root / f"align_{split}.txt", "".join(f"{stem}_PreviewData\n" for stem in each))
        for number, stem in enumerate(each):
            picture(root / f"JPEGImages/{stem}_RGB.jpg", 1, number)
            thermal(root / f"JPEGImages/{stem}_PreviewData.jpeg", number)


def thermal(path: Path, number: int) -> None:
    """As infrared pictures come: JPEG of three equal channels."""
    Thermal.write_fake(path.with_suffix(".png"), 1, number, rich=True)
    with Pillow.open(path.with_suffix(".png")) as opened:
        values = np.asarray(opened).astype(np.float64)
    path.with_suffix(".png").unlink()
    grey = (255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)
    Pillow.fromarray(np.stack([grey] * 3, axis=-1)).save(path, quality=95)


def write(name: str, root: Path) -> Path:
    """Writes the tree of the set ``name``."""
    globals()[name.replace("-", "_")](root)
    return root
