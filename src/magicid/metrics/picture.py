"""One picture of a run: the photos, then frames of the base model, the fine-tuned one and MagicID for some prompts."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from magicid.core.records import Photo, Video
from magicid.core.run_dir import RunDir
from magicid.media.photo import read_photo, write_png
from magicid.media.video import evenly, read_video

METHODS = {"base": "base model", "finetuned": "fine-tuned", "magicid": "MagicID"}
SIDE, EDGE, LABEL = 128, 6, 118  # pixels


def write_picture(folder: RunDir, path: Path, prompts: int = 2, frames: int = 6) -> Path:
    """Publish the PNG; clips of the first seed of the first prompts, `frames` of each, evenly spaced."""
    photos = [read_photo(folder.root / photo.image) for photo in folder.read("prepare", Photo) if not photo.held_out]
    videos = [video for video in folder.read("generate", Video) if video.origin in METHODS]
    rows = [_row("photos", photos[:frames], frames)]
    for prompt in list(dict.fromkeys(video.prompt for video in videos))[:prompts]:
        rows.append(_caption(prompt, rows[0].shape[1]))
        for method, label in METHODS.items():
            clip = next(v for v in videos if v.prompt == prompt and v.origin == method)
            shown = read_video(folder.root / clip.file)[0]
            rows.append(_row(label, list(evenly(shown, frames)), frames))
    write_png(path, np.concatenate(rows))
    return path


def _row(label: str, pictures: list[NDArray[np.uint8]], places: int) -> NDArray[np.uint8]:
    height = SIDE + EDGE
    row = np.full((height, LABEL + places * height, 3), 255, np.uint8)
    _write(row, label, (8, height // 2 + 4), 0.5)
    for i, picture in enumerate(pictures):
        x = LABEL + i * height
        scale = SIDE / max(picture.shape[:2])
        high, wide = (max(1, round(side * scale)) for side in picture.shape[:2])
        row[:high, x : x + wide] = cv2.resize(picture, (wide, high), interpolation=cv2.INTER_CUBIC)
    return row


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    strip = np.full((30, width, 3), 255, np.uint8)
    _write(strip, text, (8, 20), 0.42)
    return strip


def _write(image: NDArray[np.uint8], text: str, at: tuple[int, int], size: float) -> None:
    cv2.putText(image, text.encode("ascii", "replace").decode(), at, cv2.FONT_HERSHEY_SIMPLEX, size, (40, 40, 48), 1, cv2.LINE_AA)
