"""The video modality: files, frames by time, damage, augmentation of whole clips, and encoders of clips."""

from __future__ import annotations

import csv
import io
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from crossdistill.encoders import (
    Encoder,
    StudentConfig,
    TeacherConfig,
    build_student,
    build_teacher,
    load_encoder,
    save_encoder,
)
from crossdistill.errors import ConfigError, EncoderError, MissingDependencyError, PairsError
from crossdistill.files import read_json
from crossdistill.modalities import InputDefaults, parse_modality, video_file
from crossdistill.modalities.image import Image
from crossdistill.modalities.video import Video
from crossdistill.modalities.video_file import sampled_frames
from crossdistill.pipeline import run

av = pytest.importorskip("av")
DEFAULTS = InputDefaults(size=16, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3), interpolation="bicubic")


def video(**options: object) -> Video:
    return Video.model_validate({"size": 16, "frames": 4, **options}).resolve(DEFAULTS)


def write(
    path: Path, levels: list[int], *, codec: str = "mpeg4", times: list[int] | None = None, gap: int = 12,
    container: dict[str, str] | None = None, rotation: int = 0, size: tuple[int, int] = (64, 48),
) -> Path:  # fmt: skip
    """Grey frames, at 10 a second or at ``times`` in milliseconds; the left quarter is always black."""
    with av.open(str(path), "w", options=container or {}) as opened:
        stream = opened.add_stream(codec, rate=10, options={"g": str(gap)})
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, level in enumerate(levels):
            pixels = np.full((size[1], size[0], 3), level, np.uint8)
            pixels[:, : size[0] // 4] = 0
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode())
    return path


def levels_of(path: Path, count: int, seconds: float | None = None) -> list[int]:
    return [int(frame[:, 32:].mean()) for frame in sampled_frames(path, count, seconds)]


RAMP = [8 * number for number in range(30)]


class TestFrames:
    @pytest.mark.parametrize(
        ("name", "codec"),
        [("x.mp4", "mpeg4"), ("x.mov", "mpeg4"), ("x.mkv", "mpeg4"), ("x.avi", "mpeg4"), ("x.webm", "libvpx"),
         ("x.webm", "libvpx-vp9"), ("x.gif", "gif"), ("x.mp4", "libx264"), ("x.mkv", "libx264")],
    )  # fmt: skip
    def test_are_in_the_middle_of_equal_parts(self, tmp_path: Path, name: str, codec: str) -> None:
        path = write(tmp_path / name, RAMP, codec=codec)
        np.testing.assert_allclose(levels_of(path, 5), [RAMP[place] for place in (3, 9, 15, 21, 27)], atol=14)
        np.testing.assert_allclose(levels_of(path, 2, seconds=1.0), [RAMP[2], RAMP[7]], atol=14)

    def test_go_by_time_and_not_by_number(self, tmp_path: Path) -> None:
        """Ten frames in the first tenth of a second, and one that stays for the rest of it."""
        times = [*range(0, 100, 10), 100, 990]
        path = write(tmp_path / "x.mkv", [0] * 10 + [200, 100], times=times)
        assert np.allclose(levels_of(path, 4), 200, atol=8)

    def test_a_short_video_repeats_its_frames(self, tmp_path: Path) -> None:
        assert np.allclose(levels_of(write(tmp_path / "x.mp4", [40, 200]), 4), [40, 40, 200, 200], atol=8)
        assert np.allclose(levels_of(write(tmp_path / "y.mp4", [120]), 3), 120, atol=8)

    @pytest.mark.parametrize("gap", [1, 5, 100])
    @pytest.mark.parametrize("codec", ["mpeg4", "libx264", "libx265"])
    @pytest.mark.parametrize("count", [1, 3, 40])
    def test_are_those_of_decoding_everything(self, tmp_path: Path, gap: int, codec: str, count: int) -> None:
        levels = np.random.default_rng(gap).integers(0, 255, 60).tolist()
        path = write(tmp_path / "x.mp4", levels, codec=codec, gap=gap)
        with av.open(str(path)) as opened:
            every = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in opened.decode(video=0)]
        wanted = [(number + 0.5) / count * 6.0 for number in range(count)]
        expected = [[pixels for time, pixels in every if time <= at][-1] for at in wanted]
        found = list(sampled_frames(path, count, None))
        assert len(found) == count
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))

    def test_only_what_is_needed_is_decoded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "x.mp4", list(range(200)), codec="libx264", gap=10)
        decoded = []
        plain = video_file._decoded
        monkeypatch.setattr(
            video_file, "_decoded", lambda *given: (decoded.append(frame.pts) or frame for frame in plain(*given))
        )
        assert len(list(sampled_frames(path, 2, None))) == 2
        assert len(decoded) <= 40

    def test_without_an_index(self, tmp_path: Path) -> None:
        """As browsers record: no length, no table of key frames."""
        path = write(tmp_path / "x.mkv", RAMP, codec="libvpx", container={"live": "1"})
        np.testing.assert_allclose(levels_of(path, 3), [RAMP[5], RAMP[15], RAMP[25]], atol=14)
        fragments = {"movflags": "frag_keyframe+empty_moov"}
        path = write(tmp_path / "x.mp4", RAMP, codec="libx264", container=fragments)
        np.testing.assert_allclose(levels_of(path, 3), [RAMP[5], RAMP[15], RAMP[25]], atol=14)

    @pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot write it")
    def test_are_upright(self, tmp_path: Path) -> None:
        """Stored with the black quarter on the left, to be turned counter-clockwise: it is at the bottom."""
        (frame,) = sampled_frames(write(tmp_path / "x.mp4", [200] * 3, rotation=90), 1, None)
        assert frame.shape == (64, 48, 3)
        assert frame[52:].mean() < 30 < 150 < frame[:40].mean()

    def test_from_something_that_is_no_file(self, tmp_path: Path) -> None:
        content = write(tmp_path / "x.mp4", RAMP).read_bytes()

        class Member:
            name, suffix = "x", ""

            def open(self, mode: str) -> io.BytesIO:
                return io.BytesIO(content)

            def read_bytes(self) -> bytes:
                return content

        assert torch.equal(video().decode(Member()), video().decode(tmp_path / "x.mp4"))


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("name", "codec"), [("x.mp4", "mpeg4"), ("x.mkv", "libx264"), ("x.webm", "libvpx"), ("x.avi", "mpeg4"),
                            ("x.gif", "gif")],
    )  # fmt: skip
    @pytest.mark.parametrize("damage", ["missing", "empty", "half", "most", "nonsense", "folder"])
    def test_damaged_files_give_one_message_that_names_them(
        self, tmp_path: Path, name: str, codec: str, damage: str
    ) -> None:
        path = tmp_path / name
        if damage == "folder":
            path.mkdir()
        elif damage != "missing":
            content = write(path, np.random.default_rng(0).integers(0, 255, 40).tolist(), codec=codec).read_bytes()
            damaged = {"empty": b"", "half": content[: len(content) // 2], "most": content[: len(content) * 4 // 5],
                       "nonsense": content[:8] + b"nonsense" * 500}[damage]  # fmt: skip
            path.write_bytes(damaged)
        with pytest.raises(PairsError, match=rf"x\{path.suffix}"):
            video().decode(path)

    def test_damage_in_the_middle(self, tmp_path: Path) -> None:
        """Zeroed data: either it is noticed, or what is shown is a frame of the right shape; never a traceback."""
        path = write(tmp_path / "x.mp4", RAMP, codec="libx264", container={"movflags": "faststart"})
        content = bytearray(path.read_bytes())
        place = content.index(b"mdat") + 8
        content[place:] = bytes(len(content) - place)
        path.write_bytes(bytes(content))
        with pytest.raises(PairsError, match=r"x\.mp4"):
            video().decode(path)

    @pytest.mark.parametrize(("name", "codec"), [("x.mp4", "libx264"), ("x.mkv", "mpeg4"), ("x.gif", "gif")])
    def test_whatever_the_bytes_the_answer_is_frames_or_one_message(
        self, tmp_path: Path, name: str, codec: str
    ) -> None:
        content = np.frombuffer(write(tmp_path / name, RAMP, codec=codec).read_bytes(), np.uint8)
        outcomes = set()
        for seed in range(40):
            rng = np.random.default_rng(seed)
            changed = content.copy()
            changed[rng.integers(0, 600 if seed % 2 else len(content), 8)] = rng.integers(0, 256, 8)
            (tmp_path / name).write_bytes(changed.tobytes())
            try:
                outcomes.add(str(len(list(sampled_frames(tmp_path / name, 3, None)))))
            except PairsError as error:
                outcomes.add(error.details["where"])
        assert outcomes == {"3", str(tmp_path / name)}

    def test_sound_alone(self, tmp_path: Path) -> None:
        with av.open(str(tmp_path / "x.mp4"), "w") as opened:
            stream = opened.add_stream("aac", rate=16_000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16_000
            opened.mux(stream.encode(frame))
            opened.mux(stream.encode())
        with pytest.raises(PairsError, match=r"x\.mp4(.|\n)*sound without pictures"):
            video().decode(tmp_path / "x.mp4")

    def test_no_frame_at_all(self, tmp_path: Path) -> None:
        path = tmp_path / "x.mkv"
        content = write(path, [100] * 3).read_bytes()
        path.write_bytes(content[: content.index(b"\x1f\x43\xb6\x75")])  # up to the first cluster of data
        with pytest.raises(PairsError, match=r"x\.mkv"):
            video().decode(path)
        with av.open(str(tmp_path / "y.mp4"), "w", options={"movflags": "empty_moov"}) as opened:
            opened.add_stream("mpeg4", rate=10).width = 64
            opened.start_encoding()
        with pytest.raises(PairsError, match=r"y\.mp4(.|\n)*(without a frame|cannot decode|No|not)"):
            video().decode(tmp_path / "y.mp4")

    @pytest.mark.parametrize("side", [9_000, 30_000, 65_535])
    def test_a_gif_that_claims_too_much_is_never_allocated(self, tmp_path: Path, side: int) -> None:
        path = write(tmp_path / "x.gif", [10, 200, 30], codec="gif")
        content = bytearray(path.read_bytes())
        content[6:10] = side.to_bytes(2, "little") * 2  # width and height of the screen
        path.write_bytes(bytes(content))
        with pytest.raises(PairsError, match=r"x\.gif"):
            video().decode(path)

    @pytest.mark.parametrize(
        ("name", "codec"), [("x.mp4", "libx264"), ("x.avi", "mpeg4"), ("x.webm", "libvpx"), ("x.gif", "gif")]
    )
    def test_larger_frames_than_the_limit_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str
    ) -> None:
        path = write(tmp_path / name, RAMP[:3], codec=codec, size=(640, 480))
        monkeypatch.setattr(video_file, "MOST_PIXELS", 640 * 480)
        assert len(list(sampled_frames(path, 2, None))) == 2
        monkeypatch.setattr(video_file, "MOST_PIXELS", 640 * 480 - 1)
        with pytest.raises(PairsError, match="640 x 480, where 307,199 pixels are the most"):
            video().decode(path)

    def test_hours_are_refused_unless_seconds_says_how_much_is_wanted(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.mkv", [50, 60, 200], times=[0, 1000, 5_000_000])
        with pytest.raises(PairsError, match="3,600 are the most"):
            video().decode(path)
        assert video(seconds=2).decode(path).shape == (4, 3, 16, 16)

    @pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".gif"])
    def test_no_other_file_is_opened(self, tmp_path: Path, suffix: str) -> None:
        """Playlists and lists of files are formats to FFmpeg, whatever a file is called."""
        write(tmp_path / "secret.mkv", RAMP)
        for text in (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/secret.mkv\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile secret.mkv\n",
        ):
            path = tmp_path / f"x{suffix}"
            path.write_text(text)
            with pytest.raises(PairsError, match=r"nothing that begins like"):
                video().decode(path)

    def test_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "x.mp4", RAMP)
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(MissingDependencyError, match=r"crossdistill\[video\]"):
            video().decode(path)

    def test_with_a_package_that_cannot_tell_what_is_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "x.mp4", RAMP)
        monkeypatch.setitem(sys.modules, "av", SimpleNamespace(VideoFrame=object, __version__="12.3.0"))
        with pytest.raises(MissingDependencyError, match=r"14\.1(.|\n)*12\.3\.0"):
            video().decode(path)

    @pytest.mark.parametrize("settings", [{"frames": 0}, {"seconds": 0}, {"seconds": 1e9}, {"channels": 4}])
    def test_settings_are_checked(self, settings: dict[str, object]) -> None:
        with pytest.raises(ConfigError, match=next(iter(settings))):
            parse_modality({"modality": "video", **settings}, "target")


class TestArrays:
    def test_shapes(self, tmp_path: Path) -> None:
        frames = np.stack([np.full((20, 20), level, np.uint8) for level in (0, 60, 120, 180)])
        for array in (frames, frames[..., None], np.stack([frames] * 3, axis=-1)):
            found = video(frames=2).from_array(array)
            assert found.shape == (2, 3, 16, 16)
            assert found[:, 0, 0, 0].tolist() == [60, 180]
        np.save(tmp_path / "x.npy", frames)
        assert torch.equal(video(frames=2).decode(tmp_path / "x.npy"), video(frames=2).from_array(frames))
        assert video(channels=1, mean=None, std=None).from_array(frames).shape == (4, 1, 16, 16)

    @pytest.mark.parametrize(
        "array", [np.zeros((20, 20), np.uint8), np.zeros((3, 4, 4)), np.zeros((2, 4, 4, 7), np.uint8),
                  np.zeros((0, 4, 4), np.uint8)],
    )  # fmt: skip
    def test_what_is_no_video_is_refused(self, tmp_path: Path, array: np.ndarray) -> None:
        with pytest.raises(PairsError, match="no video"):
            video().from_array(array)
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(PairsError, match=r"x\.npy"):
            video().decode(tmp_path / "x.npy")

    def test_seconds_of_an_array_mean_nothing(self) -> None:
        with pytest.raises(PairsError, match="time"):
            video(seconds=1).from_array(np.zeros((3, 4, 4), np.uint8))

    @pytest.mark.parametrize("content", [None, b"", b"nonsense"])
    def test_damaged_arrays(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(PairsError, match=r"x\.npy"):
            video().decode(tmp_path / "x.npy")


class TestClips:
    @pytest.fixture
    def batch(self) -> torch.Tensor:
        """Three clips of four equal frames each."""
        torch.manual_seed(0)
        return torch.randint(0, 256, (3, 1, 3, 16, 16), dtype=torch.uint8).expand(-1, 4, -1, -1, -1).contiguous()

    def test_all_frames_are_changed_alike_and_clips_are_not(self, batch: torch.Tensor) -> None:
        every = {"crop": [0.5, 1], "saturation": 0.3, "hue": 0.1, "grayscale": 0.5, "blur": 0.5}
        modality = video(augment=every)
        torch.manual_seed(1)
        changed = modality.augment(batch)
        assert changed.dtype == torch.float32
        assert changed.shape == batch.shape
        torch.testing.assert_close(changed, changed[:, :1].expand_as(changed), rtol=0, atol=0.01)
        assert float((changed - batch).abs().mean()) > 5
        assert not torch.allclose(changed[0], modality.augment(batch[:1].expand_as(batch))[1])
        torch.manual_seed(1)
        assert torch.equal(modality.augment(batch), changed)
        assert not torch.equal(modality.contrastive().augment(batch), changed)

    def test_frames_are_not_mixed(self) -> None:
        clip = torch.stack([torch.full((3, 16, 16), level) for level in (0, 80, 160, 240)]).to(torch.uint8)[None]
        changed = video(augment={"brightness": 0, "contrast": 0}).augment(clip)
        torch.testing.assert_close(changed, clip.float(), rtol=0, atol=0.01)

    def test_takes_a_placement(self, batch: torch.Tensor) -> None:
        modality = video(augment={"brightness": 0, "contrast": 0})
        mirror = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]).expand(3, -1, -1)
        torch.testing.assert_close(modality.augment(batch, mirror), batch.float().flip(4), rtol=0, atol=0.01)
        assert modality.geometry is not None

    def test_statistics_and_preprocessing(self, tmp_path: Path) -> None:
        Video.write_fake(tmp_path / "x.mp4", 1, 2, rich=True)
        items = torch.stack([video().decode(tmp_path / "x.mp4")] * 2)
        assert items.dtype == torch.uint8
        standard = Video(size=16, frames=4).with_statistics(items).resolve(DEFAULTS).normalise(items)
        torch.testing.assert_close(standard.mean(dim=(0, 1, 3, 4)), torch.zeros(3), rtol=0, atol=1e-2)
        torch.testing.assert_close(standard.std(dim=(0, 1, 3, 4)), torch.ones(3), rtol=0, atol=1e-2)
        assert parse_modality(video().model_dump(mode="json", by_alias=True)) == video()
        assert video().as_defaults() == DEFAULTS
        assert video(seconds=1).decoding != video().decoding

    def test_draws_itself(self, tmp_path: Path) -> None:
        Video.write_fake(tmp_path / "x.mp4", 1, 2, rich=True)
        picture = Video().picture(tmp_path / "x.mp4", 97)
        assert picture.size == (97, 97)
        assert len(picture.getcolors(10_000) or []) > 20
        values = video(frames=8).augment(video(frames=8).decode(tmp_path / "x.mp4")[None])[0]
        assert video(frames=8).draw(values, 64).size == (64, 64)
        assert video(frames=1).draw(values[:1], 64).size == (64, 64)


class TestEncoders:
    def test_a_clip_is_the_mean_of_its_frames(self) -> None:
        encoder = build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), video(size=32)).eval()
        clips = torch.randn(2, 4, 3, 32, 32)
        expected = torch.stack([encoder.backbone(clip).mean(dim=0) for clip in clips])
        with torch.no_grad():
            torch.testing.assert_close(encoder.features(clips), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder.features(clips), expected, rtol=1e-4, atol=1e-5)
        encoder(clips).sum().backward()
        assert all(parameter.grad is not None for parameter in encoder.parameters())

    def test_of_images_serve_for_clips_and_come_back(self, tmp_path: Path) -> None:
        student = build_student(StudentConfig(backbone="test_vit"), Image(size=32), 7).eval()
        save_encoder(tmp_path / "student", student, {})
        teacher = build_teacher(TeacherConfig(weights=str(tmp_path)), Video(size=32, frames=2)).eval()
        frame = torch.randn(1, 3, 32, 32)
        still = torch.stack([frame, frame], dim=1)
        torch.testing.assert_close(teacher(still), student(frame), rtol=1e-4, atol=1e-5)
        save_encoder(tmp_path / "again", teacher, {})
        again = load_encoder(tmp_path / "again")
        assert again.modality == teacher.modality
        torch.testing.assert_close(again(still), teacher(still))
        with pytest.raises(EncoderError, match="number of channels"):
            build_teacher(TeacherConfig(weights=str(tmp_path)), Video(size=32, channels=1))

    def test_a_module_of_ones_own_is_given_whole_clips(self) -> None:
        class Space3D(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv3d(3, 5, 3)

            def forward(self, clips: torch.Tensor) -> torch.Tensor:
                return self.conv(clips.transpose(1, 2)).mean(dim=(2, 3, 4))

        encoder = Encoder.from_module(Space3D(), video())
        assert encoder(torch.randn(2, 4, 3, 16, 16)).shape == (2, 5)
        with pytest.raises(EncoderError, match="frames, channels, height, width"):
            Encoder.from_module(nn.Conv2d(3, 5, 3), video())

    def test_a_teacher_and_a_student_of_clips(self, tmp_path: Path) -> None:
        rows = []
        for label in range(3):
            for variant in range(8):
                for side in ("source", "target"):
                    Video.write_fake(tmp_path / side / f"{label}-{variant}.mp4", label, variant, side == "source")
                rows.append([f"source/{label}-{variant}.mp4", f"target/{label}-{variant}.mp4", str(label)])
        with (tmp_path / "pairs.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([["source", "target", "label"], *rows])
        section = {"modality": "video", "size": 32, "frames": 2}
        folder = run(
            {
                "pairs": str(tmp_path / "pairs.csv"),
                "source": section,
                "target": {**section, "channels": 1},
                "pretrain": {"backbone": "test_vit", "epochs": 1, "batch_size": 8, "embed_at_once": 4},
                "teacher": {"weights": "pretrain"},
                "student": {"backbone": "test_resnet"},
                "train": {"epochs": 1, "batch_size": 8},
                "evaluate": {"protocols": ["retrieval", "linear"], "shots": [2], "controls": ["teacher_on_target"]},
                "out": str(tmp_path / "run"),
            }
        )
        names = [outcome["name"] for outcome in read_json(folder.metrics)["outcomes"]]
        assert names == ["cmcd", "teacher_on_target"]
