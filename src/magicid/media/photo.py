"""Photos of every kind that phones and programs save, read to upright 8-bit RGB; their crop of a video's shape; their copies.

Left out on purpose: colour profiles (values are taken as sRGB) and all but the first picture of animated files.
"""

import mmap
import re
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from magicid.core.errors import DataError
from magicid.core.files import publish

try:
    from pillow_heif import register_heif_opener  # type: ignore[import-not-found, unused-ignore]

    register_heif_opener()
    FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "HEIF")
except ImportError:
    FORMATS = ("JPEG", "PNG", "WEBP")

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif")
MOST_PIXELS = 60_000_000
HELD_OUT = "held_out"  # the folder, beside the photos, of those that the report alone sees
LONGEST_SIDE = 20_000  # pixels
MOST_ASPECT = 100  # of a picture: what is thinner shows nobody, and has no pixels left once it is shrunk
MOST_SCANS = 64  # of a progressive JPEG; programs write 6 to 20. At 59 megapixels 400, in 384 kB, took 95 s to decode

# Bits of 63 by which copies of 127 photos differ at most: as JPEG of quality 40, at a third of the size, brighter. Other
# pictures of them differ by 10 and more, but for pairs that are one moment or one file twice
COPY = 6

_RULE = "photos are JPEG, PNG, WebP or HEIC by content. Export it as JPEG, or drop it."
_SIZE = f"need at most {MOST_PIXELS // 10**6} megapixels and sides of {LONGEST_SIDE:,}. Make it smaller."
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")  # of a JPEG; the bytes left out have no length, or mark nothing
# What Pillow raises on broken files, and RuntimeError, which libheif raises where it would need too much memory
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, RuntimeError, struct.error)


def find_photos(folder: Path) -> list[Path]:
    """The pictures of a folder, by suffix and sorted by name; hidden files and folders inside it are not looked at."""
    photos = _pictures(folder)
    if not photos:
        raise DataError(f"{folder}: 0 photos; need some in {', '.join(SUFFIXES)}. Put photos of the person there.")
    return photos


def all_photos(folder: Path) -> list[Path]:
    """The same, and those in its `held_out`, which may be missing or hold none."""
    aside = folder / HELD_OUT
    return [*find_photos(folder), *(_pictures(aside) if aside.is_dir() else [])]


def other_files(folder: Path) -> list[Path]:
    """What lies beside the photos of a folder and is not looked at: files of other suffixes by name, but for hidden ones.

    Nothing of a folder that cannot be read, which `find_photos` refuses.
    """
    try:
        return sorted(p for p in folder.iterdir() if p.suffix.lower() not in SUFFIXES and p.is_file() and p.name[0] != ".")
    except OSError:
        return []


def _pictures(folder: Path) -> list[Path]:
    try:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; photos are read from one. Name the folder that holds them.")
        return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; photos are read from it. Allow reading it, or name another.") from error


def read_photo(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: turned as its EXIF says, alpha over white, 16 bits scaled to 8."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bombs are ours to judge; what else is odd does not stop the reading
            with Image.open(path, formats=FORMATS) as file:
                _refuse_size(path, *file.size)
                if file.format in ("JPEG", "MPO"):
                    _refuse_scans(path)
                file.load()
                return _to_rgb(ImageOps.exif_transpose(file))
    except Image.DecompressionBombError as error:
        raise DataError(f"{path.name}: far too many pixels; {_SIZE}") from error
    except UnidentifiedImageError as error:
        heic = path.suffix.lower() in (".heic", ".heif") and "HEIF" not in FORMATS
        rule = "HEIC needs a reader. Install pillow-heif, or export it as JPEG." if heic else _RULE
        raise DataError(f"{path.name}: not a readable picture; {rule}") from error
    except _BROKEN as error:
        what = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path.name}: damaged ({what}); a photo must be whole. Copy it again, or drop it.") from error


def _refuse_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise DataError(f"{path.name}: {width} x {height} pixels; {_SIZE}")
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise DataError(f"{path.name}: {width} x {height} pixels; sides may differ {MOST_ASPECT} times at most. Drop it.")


def _refuse_scans(path: Path) -> None:
    """A progressive JPEG is decoded once for each of its scans, each of which may be a few bytes long."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        scans, found = 0, _MARKER.search(data)
        while found and found[1] != b"\xd9":
            scans += found[1] == b"\xda"
            found = _MARKER.search(data, found.end() + int.from_bytes(data[found.end() : found.end() + 2]))
    if scans > MOST_SCANS:
        raise DataError(f"{path.name}: {scans} scans; need at most {MOST_SCANS}. Export it as a plain JPEG, or drop it.")


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode[0] in "IF":  # 16-bit grey, which convert("RGB") would cut off at 255
        levels = np.asarray(image).astype(np.float64) / 257
        return np.repeat(levels.round().clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"), np.uint8)


def fit(image: NDArray[np.uint8], height: int, width: int, centre: tuple[float, float], least: float = 0.0) -> NDArray[np.uint8]:
    """(height, width, 3): the largest part of that aspect, as near to `centre` (x, y in pixels) as the edges allow.

    A part lower than `least` pixels is heightened to that, as far as the picture goes: then its sides are filled in.
    """
    rows, columns = image.shape[:2]
    tall = part_height(rows, columns, height / width, least)
    h, w = max(1, round(tall)), min(columns, max(1, round(tall * width / height)))
    top = round(min(max(centre[1] - h / 2, 0), rows - h))
    left = round(min(max(centre[0] - w / 2, 0), columns - w))
    part = image[top : top + h, left : left + w]
    inner = width if tall * width <= columns * height * (1 + 1e-9) else max(1, round(columns * height / tall))
    how = cv2.INTER_AREA if tall >= height else cv2.INTER_CUBIC
    return _widened(np.asarray(cv2.resize(part, (inner, height), interpolation=how), np.uint8), width)


def part_height(rows: int, columns: int, aspect: float, least: float = 0.0) -> float:
    """Pixels: the height of the part that `fit` takes of a picture, for height / width = `aspect`."""
    return min(rows, max(columns * aspect, least))


def _widened(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The picture in the middle of its own sides, mirrored and blurred."""
    missing = width - image.shape[1]
    if missing <= 0:
        return image
    left = missing // 2
    wide = cv2.copyMakeBorder(image, 0, 0, left, missing - left, cv2.BORDER_REFLECT)
    blurred = cv2.GaussianBlur(wide, (0, 0), max(1.0, width / 40))
    x = np.arange(width)
    outside = np.maximum(left - x, x - (left + image.shape[1] - 1)).clip(0)
    share = np.minimum(1, outside / max(1.0, width / 40))[None, :, None]
    return np.asarray((wide * (1 - share) + blurred * share).round(), np.uint8)


def shrunk(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """The picture with sides of at most `longest` pixels."""
    factor = longest / max(image.shape[:2])
    if factor >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def fingerprint(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """A perceptual hash (63,): which of the lowest cosines of the grey picture lie above their median (Zauner 2010).

    Copies that were saved anew differ in `COPY` bits or fewer. So do photos of one scene from one place: frames of a person who
    talks, taken a second apart, differ in 2 to 10.
    """
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    cosines = cv2.dct(grey.astype(np.float32))[:8, :8].ravel()[1:]
    return np.asarray(cosines > np.median(cosines), np.bool_)


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Publish an RGB image (H, W, 3)."""
    publish(path, lambda temporary: Image.fromarray(image).save(temporary, format="PNG"))
