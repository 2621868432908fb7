"""Photos of one person become static videos V_id: checked, cropped to the model's shape, held still and encoded.

Every photo is looked at before anything is written, so one message says what is wrong with the folder.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from magicid.core.checks import at_least
from magicid.core.errors import DataError, UsageError
from magicid.core.files import publish_text, sha256
from magicid.core.pulse import pulse
from magicid.core.records import Photo
from magicid.core.run import EMBEDDED, Run
from magicid.core.run_dir import RunDir
from magicid.core.weights import write_weights
from magicid.media.photo import find_photos, fit, read_photo, write_png
from magicid.media.video import to_tensor
from magicid.perception.face import align, sharpness

LEFT_OUT = "left_out.json"  # photos that were not used, and their sha256
SMALL_FACE = 40  # pixels, under which a real face was unlike itself (33 px: .77, 18 px: .22)
# Variance of the Laplacian at the encoder's size. 40 real photos (crops of 112 pixels) have 52 and more, 90 drawn ones (32) 2067.
# Blurred by a Gaussian of 0.02 face heights, at which a real face is .73 like itself, 97% of the real ones lie under 30; of
# the drawn ones, which stay .91 like themselves at 0.04, none do at 0.04, and 60% at 0.08, where they are .73.
BLURRED = 30.0


class Problem(NamedTuple):
    """What is wrong with photos, in one line."""

    line: str
    photos: tuple[Path, ...]  # that cannot be used


@dataclass(frozen=True)
class Portrait:
    """A photo that passed: the picture in the model's shape and the face aligned."""

    path: Path
    image: NDArray[np.uint8]  # (H, W, 3)
    crop: NDArray[np.uint8]  # (S, S, 3)


@dataclass(frozen=True)
class Prepare:
    """Which photos will do."""

    least_photos: int = 2
    skip_unusable: bool = False  # leave out photos that will not do, and say which, instead of stopping

    def check(self) -> None:
        """Refuse settings that cannot work: a photo is never compared with itself, so two are needed."""
        at_least("prepare", 2, least_photos=self.least_photos)

    def run(self, run: Run) -> list[Photo]:
        """Write `prepare/photo-000.png` and its latents (C, F, H, W) for every photo, or nothing.

        Photos in a folder `held_out` beside them are kept for the report's judges.
        """
        geometry = run.family.geometry
        run.family.latents_shape(geometry.frames, geometry.height, geometry.width)  # of clips that cannot be, nothing is made
        paths = find_photos(run.common.photos)
        if len(paths) < self.least_photos:
            raise DataError(
                f"{run.common.photos}: {_count(len(paths), 'photo')}; need at least {self.least_photos}."
                " Add photos of the same person."
            )
        portraits, held_out, problems = _choose(run, paths)
        if problems and not self.skip_unusable:
            more = len(problems) - 1
            rest = f" (and {_count(more, 'more photo')} with problems)" if more else ""
            enough = len(portraits) >= self.least_photos
            other = " Or leave out what will not do: --prepare.skip-unusable." if enough else ""
            raise DataError(problems[0].line + rest + other)
        for problem in problems:
            run.console.print(f"left out: {problem.line}", markup=False, soft_wrap=True)
        if len(portraits) < self.least_photos:
            raise DataError(
                f"{run.common.photos}: {len(portraits)} of {_count(len(paths), 'photo')} can be used; need at least"
                f" {self.least_photos}. Add photos of the same person."
            )
        left_out = sorted({path for problem in problems for path in problem.photos})
        publish_text(run.dir.stage("prepare") / LEFT_OUT, json.dumps(_contents(run.common.photos, left_out)))
        named = [(f"photo-{i:03d}", portrait, False) for i, portrait in enumerate(portraits)]
        named += [(f"held-out-{i:03d}", portrait, True) for i, portrait in enumerate(held_out)]
        return [_keep(run, *portrait) for portrait in run.each("prepare", named, len(named))]


def refuse_other_photos(folder: RunDir, photos: Path) -> None:
    """`UsageError` when the photos are not those that the run was made from; where their folder is gone, nothing is said."""
    if not folder.finished("prepare") or not photos.is_dir():
        return
    aside = photos / "held_out"
    taken = folder.read("prepare", Photo)
    there = {f"{'held_out/' if photo.held_out else ''}{photo.source}": photo.sha256 for photo in taken}
    left_out = folder.root / "prepare" / LEFT_OUT
    there |= json.loads(left_out.read_text()) if left_out.exists() else {}
    now = _contents(photos, [*find_photos(photos), *(find_photos(aside) if aside.is_dir() else [])])
    if other := sorted(name for name in there.keys() | now.keys() if there.get(name) != now.get(name)):
        raise UsageError(
            f"{photos}: {', '.join(other)} added, gone or changed since {folder.root} was made; put the photos back, "
            "choose another --out, or delete its stages' folders to do them again."
        )


def _contents(photos: Path, paths: Sequence[Path]) -> dict[str, str]:
    """The sha256 of each photo by its place in the folder; "" of one that cannot be read."""
    found = {}
    for path in paths:
        name = path.relative_to(photos).as_posix()
        try:
            found[name] = sha256(path)
        except OSError:
            found[name] = ""
    return found


def _choose(run: Run, paths: Sequence[Path]) -> tuple[list[Portrait], list[Portrait], list[Problem]]:
    """The photos that will do, those held out that will do, and what is wrong with the others."""
    aside = run.common.photos / "held_out"
    portraits, problems = _look(run, paths)
    held_out, others = _look(run, find_photos(aside)) if aside.is_dir() else ([], [])
    problems += others + _copies(run, [*portraits, *held_out])
    portraits = _without(portraits, problems)
    problems += _strangers(run, portraits)
    portraits, held_out = _without(portraits, problems), _without(held_out, problems)
    problems += _strangers_aside(run, portraits, held_out)
    return portraits, _without(held_out, problems), problems


def _without(portraits: Sequence[Portrait], problems: Sequence[Problem]) -> list[Portrait]:
    bad = {path for problem in problems for path in problem.photos}
    return [portrait for portrait in portraits if portrait.path not in bad]


def _look(run: Run, paths: Sequence[Path]) -> tuple[list[Portrait], list[Problem]]:
    """The photos with exactly one face, and a line for each of the others."""
    geometry, portraits, problems = run.family.geometry, list[Portrait](), list[Problem]()
    known = " (the judges 'avatar' know drawn people only)" if run.common.judges == EMBEDDED else ""
    for path in paths:
        pulse("photo", path.name)
        try:
            image = read_photo(path)
        except DataError as error:
            problems.append(Problem(str(error), (path,)))
            continue
        faces = run.judges.detector.detect(image[None])[0]
        if len(faces) != 1:
            remedy = "Crop it to the one meant, or drop it." if faces else f"Choose one that shows the face{known}, or drop it."
            problems.append(Problem(f"{path.name}: {_count(len(faces), 'face')}; need exactly 1. {remedy}", (path,)))
            continue
        x0, y0, x1, y1 = faces[0].box
        if y1 - y0 < SMALL_FACE:
            run.console.print(
                f"{path.name}: the face is {y1 - y0:.0f} px high; from {SMALL_FACE} it is known better.", markup=False
            )
        crop = align(image, faces[0].landmarks, run.judges.face_reward.crop_size)
        if (sharp := sharpness(crop)) < BLURRED:
            what = f"the face is blurred (sharpness {sharp:.0f}); from {BLURRED:.0f} it is known better."
            run.console.print(f"{path.name}: {what}", markup=False)
        picture = fit(image, geometry.height, geometry.width, ((x0 + x1) / 2, (y0 + y1) / 2))
        if not run.judges.detector.detect(picture[None])[0]:
            what = f"no face is left at {geometry.width}x{geometry.height} pixels"
            problems.append(Problem(f"{path.name}: {what}; the face must be larger. Crop it closer, or drop it.", (path,)))
            continue
        portraits.append(Portrait(path, picture, crop))
    return portraits, problems


def _strangers(run: Run, portraits: Sequence[Portrait]) -> list[Problem]:
    """A line for each photo that looks like another person: the unlikest is set aside until the rest agree."""
    if len(portraits) < 2:
        return []
    need = run.judges.face_reward.same_person
    vectors = run.judges.face_reward.embed(np.stack([portrait.crop for portrait in portraits]))
    cosines = (vectors @ vectors.T).astype(np.float64)
    if len(portraits) == 2:
        if cosines[0, 1] >= need:
            return []
        names = " and ".join(portrait.path.name for portrait in portraits)
        what = f"look like two people (similarity {_short(cosines[0, 1])}; need {_short(need)})"
        line = f"{names}: {what}. Drop one and add another, or split the folder."
        return [Problem(line, tuple(portrait.path for portrait in portraits))]
    np.fill_diagonal(cosines, np.nan)
    problems, left = list[Problem](), list(range(len(portraits)))
    while len(left) > 1:
        medians = np.nanmedian(cosines[np.ix_(left, left)], 1)
        worst = int(medians.argmin())
        if medians[worst] >= need:
            break
        what = f"looks like another person (median similarity {_short(medians[worst])}; need {_short(need)})"
        path = portraits[left.pop(worst)].path
        problems.append(Problem(f"{path.name}: {what}. Drop it, or split the folder.", (path,)))
    return problems


def _strangers_aside(run: Run, portraits: Sequence[Portrait], held_out: Sequence[Portrait]) -> list[Problem]:
    """A line for each held-out photo that is like none of the photos of training.

    The nearest counts, as in the identity reward: by the median 3 of 160 photos of 40 drawn people would be strangers to
    themselves, by the nearest none.
    """
    if not portraits or not held_out:
        return []
    encoder = run.judges.face_reward
    known, others = (encoder.embed(np.stack([portrait.crop for portrait in some])) for some in (portraits, held_out))
    nearest = (others @ known.T).max(1).tolist()
    return [
        Problem(
            f"{_name(run, portrait)}: looks like another person (similarity {_short(cosine)} to the nearest photo outside"
            f" held_out; need {_short(encoder.same_person)}). Drop it.",
            (portrait.path,),
        )
        for portrait, cosine in zip(held_out, nearest, strict=True)
        if cosine < encoder.same_person
    ]


def _copies(run: Run, portraits: Sequence[Portrait]) -> list[Problem]:
    """A line for each photo that is one before it again: it would be as like its twin as nothing else is."""
    first: dict[str, Portrait] = {}
    twins = [(first.setdefault(sha256(portrait.path), portrait), portrait) for portrait in portraits]
    return [
        Problem(
            f"{_name(run, one)} and {_name(run, other)}: the same file; all photos must be different. Drop one.", (other.path,)
        )
        for one, other in twins
        if one is not other
    ]


@torch.no_grad()
def _keep(run: Run, key: str, portrait: Portrait, held_out: bool) -> Photo:
    image = run.path("prepare", f"{key}.png")
    write_png(run.file(image), portrait.image)
    if held_out:
        return Photo(key, portrait.path.name, image, "", sha256(portrait.path), held_out)
    latents = run.path("prepare", f"{key}.safetensors")
    still = np.repeat(portrait.image[None], run.family.geometry.frames, 0)
    digest = write_weights(run.file(latents), {"latents": run.family.encode(to_tensor(still[None]))[0].float()})
    return Photo(key, portrait.path.name, image, latents, sha256(portrait.path), held_out, digest)


def _name(run: Run, portrait: Portrait) -> str:
    """The photo's place in the folder of photos."""
    return portrait.path.relative_to(run.common.photos).as_posix()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _short(cosine: float) -> str:
    """.12 for 0.12."""
    return f"{cosine:.2f}".replace("0.", ".", 1)
