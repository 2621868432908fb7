"""What is seen in one photo, alone: its faces, and of the one face its size, blur, pose and expression.

Whatever finds faces is handed in. Nothing is written here, and no photo is changed.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magicid.core.errors import DataError
from magicid.core.interfaces import Face, FaceDetector
from magicid.media.photo import HELD_OUT, fingerprint, fit, part_height, read_photo, shrunk
from magicid.perception.expression import expression
from magicid.perception.face import LEAST_FACE, Pose, align, pose, sharpness

SMALL_FACE = 40  # pixels, under which a real face was unlike itself (33 px: .77, 18 px: .22)
# Variance of the Laplacian at the encoder's size. 40 real photos (crops of 112 pixels) have 69 and more, 90 drawn ones (32) 2067.
# Blurred by a Gaussian of 0.02 face heights, at which a real face is .73 like itself, 97% of the real ones lie under 30; of
# the drawn ones, which stay .91 like themselves at 0.04, none do at 0.04, and 60% at 0.08, where they are .73.
BLURRED = 30.0
CLOSE_UP = 0.6  # of the height: a face higher than that leaves no room for its hair and chin, which need 1.5 times as much
HALF, PROFILE = 20.0, 55.0  # degrees of yaw from which a head is turned, or seen from the side
DRAWN_ONLY = " The judges 'avatar' know drawn people only; for others set --judges real."
_THUMBNAIL = 512  # pixels of the longer side, where no model says its shape

Picture = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True, eq=False)
class Portrait:
    """The one face of a photo."""

    crop: Picture  # (S, S, 3), aligned
    height: float  # pixels in the photo
    share: float  # of the photo's height
    sharpness: float
    pose: Pose
    expression: str

    @property
    def view(self) -> str:
        """frontal, half left, half right, profile left or profile right: where the nose points in the picture."""
        yaw = self.pose.yaw
        if abs(yaw) < HALF:
            return "frontal"
        return f"{'half' if abs(yaw) < PROFILE else 'profile'} {'left' if yaw < 0 else 'right'}"

    @property
    def unclear(self) -> str:
        """Why the face is hard to know, "" where it is not."""
        if self.height < SMALL_FACE:
            return f"the face is {self.height:.0f} px high; from {SMALL_FACE} it is known better"
        if self.sharpness < BLURRED:
            return f"the face is blurred (sharpness {self.sharpness:.0f}); from {BLURRED:.0f} it is known better"
        return ""


@dataclass(frozen=True, eq=False)
class Look:
    """One photo as it was seen."""

    path: Path
    name: str  # its place in the folder of photos
    faces: int | None = None  # None: it could not be read
    picture: Picture | None = None  # in the model's shape; a thumbnail where no model is asked
    mark: NDArray[np.bool_] | None = None  # the photo's fingerprint
    portrait: Portrait | None = None  # where there is one face
    similarity: float = float("nan")  # median cosine to the others; of a held-out photo, to the nearest of them
    problem: str = ""  # why it will not do, with the remedy
    warnings: tuple[str, ...] = ()  # what could be better

    @property
    def kept(self) -> bool:
        """Whether it will do."""
        return not self.problem

    @property
    def held_out(self) -> bool:
        """Whether only the report's judges may see it."""
        return self.name.startswith(f"{HELD_OUT}/")


def look_at(
    path: Path, detector: FaceDetector, crop_size: int, shape: tuple[int, int] | None = None, drawn: bool = False
) -> Look:
    """Look at one photo alone."""
    seen = Look(path, path.name)
    try:
        image = read_photo(path)
    except DataError as error:
        return replace(seen, problem=str(error).removeprefix(f"{path.name}: "))
    faces = detector.detect(image[None])[0]
    seen = replace(seen, faces=len(faces), picture=shrunk(image, _THUMBNAIL), mark=fingerprint(image))
    if len(faces) != 1:
        known = DRAWN_ONLY if drawn else ""
        remedy = "Crop it to the one meant, or drop it." if faces else f"Choose one that shows the face, or drop it.{known}"
        return replace(seen, problem=f"{count(len(faces), 'face')}; need exactly 1. {remedy}")
    portrait = _portrait(image, faces[0], crop_size)
    seen = replace(seen, portrait=portrait, warnings=_warnings(image, faces[0], portrait))
    if shape is None:
        return seen
    picture, filled = _fitted(image, faces[0], shape)
    if filled > 0.01:
        said = f"{filled:.0%} of the clip's width is filled in; a wider photo would do without"
        seen = replace(seen, warnings=(*seen.warnings, said))
    height = max((face.box[3] - face.box[1] for face in detector.detect(picture[None])[0]), default=0.0)
    if not height:
        what = f"no face is left at {shape[1]}x{shape[0]} pixels"
        seen = replace(seen, problem=f"{what}; the face must be larger. Crop it closer, or drop it.")
    elif height < (least := LEAST_FACE * crop_size):
        what = f"the face is {height:.0f} px high at {shape[1]}x{shape[0]} pixels; from {least:.0f} it is known better"
        seen = replace(seen, warnings=(*seen.warnings, f"{what}. Crop it closer"))
    return replace(seen, picture=picture)


def _portrait(image: Picture, face: Face, crop_size: int) -> Portrait:
    crop, height = align(image, face.landmarks, crop_size), face.box[3] - face.box[1]
    mouth = expression(image, face.landmarks)
    return Portrait(crop, height, height / len(image), sharpness(crop), pose(face.landmarks), mouth)


def _warnings(image: Picture, face: Face, portrait: Portrait) -> tuple[str, ...]:
    """What could be better about a photo that is seen alone."""
    x0, _, x1, y1 = face.box
    said = [portrait.unclear] if portrait.unclear else []
    if portrait.share > CLOSE_UP:
        said.append(f"a close-up (the face fills {portrait.share:.0%} of the height), which teaches close-ups")
    # Not the top: 24 of 40 whole real faces reach over it by up to .025 of their height, and those whose upper fifth is cut off
    # by no more, since a detector does not guess at the forehead that it cannot see.
    if x0 < 0 or x1 > image.shape[1] or y1 > len(image):
        said.append("the face is cut off by the photo's edge")
    return tuple(said)


def _fitted(image: Picture, face: Face, shape: tuple[int, int]) -> tuple[Picture, float]:
    """The photo in a clip's shape, and the share of its width that is filled in so that the face has room."""
    (x0, y0, x1, y1), (height, width), (rows, columns) = face.box, shape, image.shape[:2]
    least = (y1 - y0) / CLOSE_UP
    filled = 1 - columns / (part_height(rows, columns, height / width, least) * width / height)
    return fit(image, height, width, ((x0 + x1) / 2, (y0 + y1) / 2), least), max(0.0, filled)


def count(number: int, noun: str) -> str:
    """1 face, 2 faces."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def short(cosine: float) -> str:
    """.12 for 0.12."""
    return f"{cosine:.2f}".replace("0.", ".", 1)
