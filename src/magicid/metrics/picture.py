"""One moving picture of a run: clips of the base model, the fine-tuned one and MagicID side by side, for some prompts."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from magicid.core.files import publish
from magicid.core.records import LABELS, Photo, Video
from magicid.core.run_dir import RunDir
from magicid.media.photo import read_photo
from magicid.media.video import evenly, read_video

SIDE, EDGE, STRIP = 160, 6, 26  # pixels: of a clip's box, between two, of a line of text
MOST_FRAMES = 48
Picture = NDArray[np.uint8]


def write_picture(folder: RunDir, path: Path, prompts: int = 3) -> Path:
    """Publish an animated WebP: a row for each of the first prompts, a photo and the clips of the first seed in it."""
    photos = [read_photo(folder.root / photo.image) for photo in folder.read("prepare", Photo) if not photo.held_out]
    videos = [video for video in folder.read("generate", Video) if video.origin in LABELS]
    asked = list(dict.fromkeys(video.prompt for video in videos))[:prompts]
    rows: list[list[Picture]] = []
    seconds = 0.0
    for i, prompt in enumerate(asked):
        rows.append([photos[i % len(photos)][None]])
        for method in LABELS:
            clip, fps = read_video(folder.root / next(v.file for v in videos if (v.prompt, v.origin) == (prompt, method)))
            rows[-1].append(clip)
            seconds = max(seconds, len(clip) / fps)
    count = min(MOST_FRAMES, max(len(clip) for row in rows for clip in row))
    shown = [[evenly(clip, count) for clip in row] for row in rows]
    pages = [
        Image.fromarray(_page(asked, [[clip[min(t, len(clip) - 1)] for clip in row] for row in shown])) for t in range(count)
    ]
    how = {"save_all": True, "append_images": pages[1:], "duration": max(1, round(1000 * seconds / count)), "loop": 0}
    publish(path, lambda temporary: pages[0].save(temporary, format="WEBP", quality=80, **how))
    return path


def _page(prompts: Sequence[str], rows: Sequence[Sequence[Picture]]) -> Picture:
    """The whole picture at one moment."""
    width = (1 + len(LABELS)) * (SIDE + EDGE) - EDGE
    parts = [_text(["a photo", *LABELS.values()], width, 0.5)]
    for prompt, row in zip(prompts, rows, strict=True):
        parts += [_text([prompt], width, 0.42), np.concatenate([_box(picture) for picture in row], 1)[:, :width]]
    return np.concatenate(parts)


def _box(picture: Picture) -> Picture:
    box = np.full((SIDE + EDGE, SIDE + EDGE, 3), 255, np.uint8)
    scale = SIDE / max(picture.shape[:2])
    high, wide = (max(1, round(side * scale)) for side in picture.shape[:2])
    box[:high, :wide] = cv2.resize(picture, (wide, high), interpolation=cv2.INTER_CUBIC)
    return box


def _text(words: Sequence[str], width: int, size: float) -> Picture:
    """A strip with words at the beginning of each column."""
    strip = np.full((STRIP, width, 3), 255, np.uint8)
    for i, word in enumerate(words):
        at, said = (4 + i * (SIDE + EDGE), 18), word.encode("ascii", "replace").decode()
        cv2.putText(strip, said, at, cv2.FONT_HERSHEY_SIMPLEX, size, (40, 40, 48), 1, cv2.LINE_AA)
    return strip
