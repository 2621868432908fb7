"""Portrait photos of a drawn person, as a user would bring them, and others held out for evaluation."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magicid.avatar.identity import Identity
from magicid.avatar.renderer import render_photo
from magicid.core.errors import DataError, UsageError
from magicid.media.photo import SUFFIXES, read_photo, write_png

HELD_OUT_FROM = 1000  # photo seeds from here on are never given to training
LEAST_SIZE, MOST_SIZE = 32, 4096  # pixels


def new_photos(seed: int, out: Path, count: int = 7, held_out: int = 4, size: int = 256) -> list[Path]:
    """Draw a person's photos, and say where they are; other photos in the folder are left as they are, and refused.

    Args:
        seed: names the person.
        out: folder for photo-1.png, photo-2.png, ...
        count: how many photos, 1,000 at most.
        held_out: how many more under out/held_out, in other poses, scenes and lights, for evaluation.
        size: side in pixels.
    """
    if seed < 0:
        raise UsageError(f"seed {seed}: people are named by whole numbers from 0 on. Choose another --seed.")
    if not 1 <= count <= HELD_OUT_FROM or not 0 <= held_out <= HELD_OUT_FROM or not LEAST_SIZE <= size <= MOST_SIZE:
        rule = f"need 1 to {HELD_OUT_FROM} photos, 0 to as many held out, and a side of {LEAST_SIZE} to {MOST_SIZE} pixels"
        raise UsageError(f"count {count}, held-out {held_out}, size {size}: {rule}. Choose others.")
    person = Identity.random(seed)
    seeds = {out / f"photo-{i + 1}.png": 10_000 * seed + i for i in range(count)}
    seeds |= {out / "held_out" / f"photo-{i + 1}.png": 10_000 * seed + HELD_OUT_FROM + i for i in range(held_out)}
    images = {path: render_photo(person, number, size).image for path, number in seeds.items()}
    for path in sorted((*out.glob("[!.]*"), *out.glob("held_out/[!.]*"))):
        if path.suffix.lower() in SUFFIXES and not (path in images and _shows(path, images[path])):
            rule = f"it is not what is drawn of person {seed}, and a folder holds one person's photos"
            raise UsageError(f"{path}: there already; {rule}. Choose another --out.")
    try:
        for path, image in images.items():
            write_png(path, image)
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror}; photos need a folder that can be written. Choose another --out.") from error
    return list(images)


def _shows(path: Path, image: NDArray[np.uint8]) -> bool:
    try:
        return np.array_equal(read_photo(path), image)
    except DataError:
        return False
