"""Clips come back from mp4 as they were, and files that are no whole video are refused."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from magicid.core.errors import DataError
from magicid.media.video import SHORT_SIDE, enlargement, read_video, to_frames, to_tensor, write_video
from tests.doubles import moving_square


@pytest.mark.parametrize(("height", "width", "enlarge"), [(24, 32, None), (63, 61, None), (63, 61, 1), (64, 48, 2)])
def test_a_clip_survives_writing(tmp_path: Path, height: int, width: int, enlarge: int | None) -> None:
    video = moving_square(height=height, width=width)
    write_video(tmp_path / "a.mp4", video, 23.976, enlarge)
    read, fps = read_video(tmp_path / "a.mp4")
    assert read.shape == video.shape and read.dtype == np.uint8
    assert fps == pytest.approx(23.976, abs=1e-3)
    assert np.abs(read.astype(int) - video).mean() < 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_small_clips_are_enlarged_for_players(tmp_path: Path) -> None:
    write_video(tmp_path / "small.mp4", moving_square(2), 8)
    write_video(tmp_path / "large.mp4", moving_square(2, 256, 300), 8)
    sizes = {}
    for name in ("small", "large"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            stream = container.streams.video[0]
            sizes[name] = (stream.height, stream.width)
            assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
    assert sizes == {"small": (11 * 24, 11 * 32), "large": (256, 300)}


@pytest.mark.parametrize("side", [1, 16, 64, 100, 255, 256, 480])
def test_enlargement_just_reaches_the_short_side(side: int) -> None:
    k = enlargement(side, 832)
    assert k * side >= SHORT_SIDE and (k == 1 or (k - 1) * side < SHORT_SIDE)


def test_grey_stays_grey(tmp_path: Path) -> None:
    for level in (0, 64, 128, 255):
        video = np.full((2, 16, 16, 3), level, np.uint8)
        write_video(tmp_path / "a.mp4", video, 8)
        assert np.abs(read_video(tmp_path / "a.mp4")[0].astype(int) - level).max() <= 1


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.99])
def test_a_part_of_a_video_is_refused(tmp_path: Path, part: float) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, moving_square(), 8)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(DataError, match=r"^a.mp4: .+; videos are whole mp4 files. .+\.$"):
        read_video(path)


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\nreal.mp4\n", "ffconcat version 1.0\nfile real.mp4\n", "hello"])
def test_playlists_lead_nowhere(tmp_path: Path, text: str) -> None:
    write_video(tmp_path / "real.mp4", moving_square(), 8)
    (tmp_path / "list.mp4").write_text(text)
    with pytest.raises(DataError, match=r"^list\.mp4: unreadable"):
        read_video(tmp_path / "list.mp4")


def test_no_file_and_no_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unreadable"):
        read_video(tmp_path / "none.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(DataError, match="no video stream"):
        read_video(tmp_path / "sound.mp4")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_video(tmp_path / "a.mp4", np.zeros((2, 300, 300, 4), np.uint8), 8)
    assert list(tmp_path.iterdir()) == []


def test_tensors_and_frames_are_inverse() -> None:
    frames = np.arange(2 * 3 * 8 * 16 * 3, dtype=np.uint8).reshape(2, 3, 8, 16, 3)
    tensor = to_tensor(frames)
    assert tensor.shape == (2, 3, 3, 8, 16) and tensor.dtype == torch.float32
    assert tensor.min() == -1 and tensor.max() == 1
    assert np.array_equal(to_frames(tensor), frames)
    assert to_frames(torch.tensor([-9.0, 9.0]).reshape(1, 1, 2, 1, 1)).ravel().tolist() == [0, 255]
