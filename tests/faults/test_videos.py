"""Videos that are not whole, not videos or far too large are errors, never skipped (rows 46 and 47)."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from magicid.core.errors import DataError
from magicid.media import video as media
from magicid.media.video import read_video, write_video
from tests.doubles import moving_square, peak_of
from tests.faults.guards import Guard

VIDEO = "media/video.py"
GUARDS = {
    46: Guard(VIDEO, "if not pictures or len(pictures) < promised:", "if False:"),
    47: Guard(VIDEO, 'av.open(file, "r", format="mp4", ', 'av.open(str(path), "r", '),
}


WHOLE = r"; videos are whole mp4 files\."


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A clip of 24 frames."""
    write_video(tmp_path / "real.mp4", moving_square(24, 64, 64), 8)
    return tmp_path / "real.mp4"


def encode(path: Path, frames: int, side: int, **options: str) -> Path:
    """A black video made without our writer."""
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt, stream.options = side, side, "yuv420p", {"preset": "ultrafast"}
        container.start_encoding()
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), format="rgb24")))
        if frames:
            container.mux(stream.encode(None))
    return path


def refused(path: Path, reason: str) -> None:
    """Reading must end in one line with a reason."""
    with pytest.raises(DataError, match=rf"^{path.name}: {reason}") as caught:
        read_video(path)
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\0" * 999, b"\x89PNG\r\n\x1a\n", bytes(range(256)) * 16])
def test_row_46_what_is_no_video_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    refused(tmp_path / "a.mp4", f"unreadable .*{WHOLE}")


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}])
def test_row_46_a_video_without_frames_is_an_error(tmp_path: Path, options: dict[str, str]) -> None:
    refused(encode(tmp_path / "a.mp4", 0, 64, **options), f".*{WHOLE}")


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_row_46_a_video_that_was_cut_is_an_error(whole: Path, share: float) -> None:
    content = whole.read_bytes()
    whole.write_bytes(content[: int(share * len(content))])
    refused(whole, f".*{WHOLE}")


@pytest.mark.parametrize("noise", [True, False])
def test_row_46_a_video_half_of_which_is_garbage_is_an_error(whole: Path, noise: bool) -> None:
    content = bytearray(whole.read_bytes())
    middle = (content.index(b"mdat") + 4 + len(content)) // 2
    count = len(content) - middle
    content[middle:] = np.random.default_rng(0).bytes(count) if noise else bytes(count)
    whole.write_bytes(content)
    refused(whole, f".*{WHOLE}")


def test_row_46_an_unknown_codec_is_an_error(whole: Path) -> None:
    whole.write_bytes(whole.read_bytes().replace(b"avc1", b"zzzz"))
    refused(whole, f"of an unknown codec{WHOLE}")


@pytest.mark.parametrize(("name", "most"), [("MOST_FRAMES", 20), ("MOST_PIXELS", 20 * 64 * 64), ("LARGEST_FRAME", 63 * 64)])
@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}])
def test_row_46_too_much_is_refused_by_the_header_or_as_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int, options: dict[str, str]
) -> None:
    path = encode(tmp_path / "a.mp4", 24, 64, **options)  # in fragments the header does not say how many
    assert read_video(path)[0].shape == (24, 64, 64, 3)
    monkeypatch.setattr(media, name, most)
    count = {"LARGEST_FRAME": 1}.get(name, 21) if options else 24
    refused(path, rf"({count} frames of 64 x 64 pixels; need at most |unreadable)")


def test_row_46_a_huge_frame_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", 2, 8192)
    assert path.stat().st_size < 2**18
    assert peak_of("magicid.media.video", "read_video", path, "2 frames of 8192 x 8192 pixels; need at most ") < 100


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\nreal.mp4\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile real.mp4\n",
        "ffconcat version 1.0\nfile /etc/passwd\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>real.mp4</BaseURL></Period></MPD>',
    ],
)
def test_row_47_a_playlist_leads_nowhere(whole: Path, text: str) -> None:
    path = whole.with_name("list.mp4")
    path.write_text(text)
    refused(path, f"unreadable .*{WHOLE}")
