"""Clips as mp4 files and as tensors. Shapes: B batch, C channels, F frames, H height, W width.

A small clip is written enlarged, since players blur small pictures; the file says by how much, and reading undoes it.

Only clips that we wrote are read. Videos of strangers would be decoded in a process of its own, with limits on its memory
and time.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray
from torch import Tensor

from magicid.core.errors import DataError
from magicid.core.files import publish

CRF = 12  # x264's quality, 0 lossless to 51; 12 is hard to tell from the original
SHORT_SIDE = 256  # pixels, from which a clip is written as it is
MOST_FRAMES = 3_000
MOST_PIXELS = 500_000_000  # of all frames together: 1.5 GB; 61 frames of 1280 x 720 have 56 million
LARGEST_FRAME = 8192 * 4320  # pixels

_SHARED = Interpolation.AREA  # how 2 x 2 pixels share a colour, and how they get it back: without smearing it further,
_SPREAD = Interpolation.POINT | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT  # or darkening by 1 in 255
_NOTE = "magicid: enlarged "
_RULE = "videos are whole mp4 files. Make it again, or drop it."
_SIZE = f"need at most {MOST_FRAMES:,} frames and {MOST_PIXELS // 10**6} million pixels in all. Make it shorter or smaller."


def enlargement(height: int, width: int) -> int:
    """The smallest whole factor that brings the short side to `SHORT_SIDE` pixels."""
    return -(-SHORT_SIDE // min(height, width))


def write_video(path: Path, frames: NDArray[np.uint8], fps: float, enlarge: int | None = None) -> None:
    """Publish frames (F, H, W, 3) RGB as H.264, each pixel a square of `enlarge` pixels (None: see `enlargement`)."""
    height, width = frames.shape[1:3]
    factor = enlarge or enlargement(height, width)
    if height * factor % 2 or width * factor % 2:
        factor *= 2  # yuv420p has one colour for 2 x 2 pixels
    publish(path, lambda temporary: _encode(temporary, frames, fps, factor))


def _encode(path: Path, frames: NDArray[np.uint8], fps: float, factor: int) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = f"{_NOTE}{factor}"
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1] * factor, frames.shape[2] * factor
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(CRF)}
        codec = stream.codec_context
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries = codec.color_trc = 1  # BT.709; without these players guess by size
        for pixels in frames:
            large = np.ascontiguousarray(pixels.repeat(factor, 0).repeat(factor, 1))
            picture = av.VideoFrame.from_ndarray(large, format="rgb24")
            yuv = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=_SHARED)
            container.mux(stream.encode(yuv))
        container.mux(stream.encode(None))


def read_video(path: Path) -> tuple[NDArray[np.uint8], float]:
    """Frames (F, H, W, 3) RGB and frames a second; an enlarged clip comes back in its own size.

    The file is opened by us and the demuxer forced, so a playlist named .mp4 cannot lead anywhere. The header is judged before
    a frame is decoded, and the frames as they come: FFmpeg itself refuses a larger one than `LARGEST_FRAME`.
    """
    limit = {"max_pixels": str(LARGEST_FRAME)}
    try:
        with path.open("rb") as file, av.open(file, "r", format="mp4", options=limit, metadata_errors="replace") as container:
            if not container.streams.video:
                raise DataError(f"{path.name}: no video stream; {_RULE}")
            stream = container.streams.video[0]
            promised, fps, codec = stream.frames, float(stream.average_rate or 0), stream.codec_context
            if codec is None:
                raise DataError(f"{path.name}: of an unknown codec; {_RULE}")
            _refuse_large(path, max(promised, 1), codec.height, codec.width)
            codec.options = limit | {"err_detect": "explode"}
            pictures = list[NDArray[np.uint8]]()
            for frame in container.decode(stream):
                _refuse_large(path, len(pictures) + 1, frame.height, frame.width)
                pictures.append(_picture(path, frame))
                if pictures[-1].shape != pictures[0].shape:
                    raise DataError(f"{path.name}: its frames change their size; {_RULE}")
            note = container.metadata.get("comment", "")
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path.name}: unreadable ({error.strerror or error}); {_RULE}") from error
    if not pictures or len(pictures) < promised:
        raise DataError(f"{path.name}: {len(pictures)} of {promised} frames; {_RULE}")
    return _reduced(np.stack(pictures), note), fps


def _refuse_large(path: Path, frames: int, height: int, width: int) -> None:
    if frames > MOST_FRAMES or frames * height * width > MOST_PIXELS or height * width > LARGEST_FRAME:
        raise DataError(f"{path.name}: {frames:,} frames of {width} x {height} pixels; {_SIZE}")


def _picture(path: Path, frame: av.VideoFrame) -> NDArray[np.uint8]:
    if frame.is_corrupt:
        raise DataError(f"{path.name}: damaged at {frame.time:.2f} s; {_RULE}")
    return np.asarray(frame.to_ndarray(format="rgb24", interpolation=_SPREAD), np.uint8)


def _reduced(frames: NDArray[np.uint8], note: str) -> NDArray[np.uint8]:
    """Squares of pixels back to one pixel each, their mean."""
    digits = note.removeprefix(_NOTE)
    k = int(digits) if note.startswith(_NOTE) and digits.isdecimal() and len(digits) < 5 else 1
    count, height, width, _ = frames.shape
    if k < 2 or height % k or width % k:
        return frames
    rows = frames.reshape(count, height // k, k, width * 3).sum(2, dtype=np.uint32)
    sums: NDArray[np.uint32] = rows.reshape(count, height // k, width // k, k, 3).sum(3)
    return np.round(sums / np.float32(k * k)).astype(np.uint8)


def evenly(frames: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`count` frames evenly spaced from the first to the last, or all where there are no more."""
    chosen: NDArray[np.uint8] = frames[np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)]
    return chosen


def to_frames(video: Tensor) -> NDArray[np.uint8]:
    """Videos (B, C, F, H, W) in -1..1 to pixels (B, F, H, W, 3)."""
    pixels = ((video.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 4, 1).cpu().numpy())


def to_tensor(frames: NDArray[np.uint8]) -> Tensor:
    """Pixels (B, F, H, W, 3) to videos (B, C, F, H, W), fp32 in -1..1."""
    return torch.from_numpy(np.array(frames)).permute(0, 4, 1, 2, 3).contiguous().float() / 127.5 - 1
