"""Photos of one person become static videos V_id: checked, cropped to the model's shape, held still and encoded.

Every photo is looked at (perception/intake.py) before anything is written, so one message says what is wrong with the folder.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from magicid.core.checks import at_least
from magicid.core.errors import DataError, UsageError
from magicid.core.files import again, publish_text, read_json, sha256
from magicid.core.records import Photo
from magicid.core.run import EMBEDDED, Run
from magicid.core.run_dir import RunDir
from magicid.core.weights import write_weights
from magicid.media.photo import HELD_OUT, all_photos, find_photos, write_png
from magicid.media.video import to_tensor
from magicid.metrics.intake import described, print_intake, print_others
from magicid.perception.intake import examine
from magicid.perception.look import Look, count
from magicid.perception.motion import refuse_short

LEFT_OUT = "left_out.json"  # photos that were not used, and their sha256


@dataclass(frozen=True)
class Prepare:
    """Which photos will do."""

    least_photos: int = 2
    skip_unusable: bool = False  # leave out photos that will not do, and say which, instead of stopping

    def check(self) -> None:
        """Refuse settings that cannot work: a photo is never compared with itself, so two are needed."""
        at_least("prepare", 2, least_photos=self.least_photos)

    def run(self, run: Run) -> list[Photo]:
        """Write `prepare/photo-000.png`, its aligned face and its latents (C, F, H, W) for every photo, or nothing.

        Photos in a folder `held_out` beside them are kept for the report's judges.
        """
        photos, geometry = run.common.photos, run.family.geometry
        run.family.latents_shape(geometry.frames, geometry.height, geometry.width)  # of clips that cannot be, nothing is made
        refuse_short("frames", geometry.frames, geometry.fps)
        found = len(find_photos(photos))
        print_others(run.console, photos)
        if found < self.least_photos:
            raise DataError(
                f"{photos}: {count(found, 'photo')}; need at least {self.least_photos}. Add photos of the same person."
            )
        looks = examine(photos, run.judges, (geometry.height, geometry.width), drawn=run.common.judges == EMBEDDED)
        if not self.skip_unusable:
            self._refuse_unusable(looks)
        print_intake(run.console, looks)
        self.need_enough(photos, looks)
        left_out = sorted(look.path for look in looks if not look.kept)
        publish_text(run.dir.stage("prepare") / LEFT_OUT, json.dumps(_contents(photos, left_out)))
        kept = [look for look in looks if look.kept]
        named = [(f"photo-{i:03d}", look) for i, look in enumerate(look for look in kept if not look.held_out)]
        named += [(f"held-out-{i:03d}", look) for i, look in enumerate(look for look in kept if look.held_out)]
        return [_keep(run, *photo) for photo in run.each("prepare", named, len(named))]

    def need_enough(self, photos: Path, looks: Sequence[Look]) -> None:
        """`DataError` where too few photos are left for training."""
        training = [look for look in looks if not look.held_out]
        if (kept := sum(look.kept for look in training)) < self.least_photos:
            raise DataError(
                f"{photos}: {kept} of {count(len(training), 'photo')} can be used; need at least {self.least_photos}."
                " Add photos of the same person."
            )

    def _refuse_unusable(self, looks: Sequence[Look]) -> None:
        """`DataError` with what is wrong with the first photo that will not do."""
        bad = [look for look in looks if not look.kept]
        if not bad:
            return
        rest = f" (and {count(len(bad) - 1, 'more photo')} with problems)" if len(bad) > 1 else ""
        enough = sum(look.kept and not look.held_out for look in looks) >= self.least_photos
        other = " Or leave out what will not do: --prepare.skip-unusable." if enough else ""
        raise DataError(f"{bad[0].name}: {bad[0].problem}{rest}{other}")


def refuse_other_photos(folder: RunDir, photos: Path) -> None:
    """`UsageError` when the photos are not those that the run was made from; where their folder is gone, nothing is said."""
    if not folder.finished("prepare") or not photos.is_dir():
        return
    taken = folder.read("prepare", Photo)
    there = {f"{HELD_OUT + '/' if photo.held_out else ''}{photo.source}": photo.sha256 for photo in taken}
    left_out = folder.root / "prepare" / LEFT_OUT
    there |= read_json(left_out, again("prepare")) if left_out.exists() else {}
    now = _contents(photos, all_photos(photos))
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


@torch.no_grad()
def _keep(run: Run, key: str, look: Look) -> Photo:
    assert look.picture is not None and look.portrait is not None, f"{look.name} is kept without a face"
    image, crop = run.path("prepare", f"{key}.png"), run.path("prepare", f"{key}-face.png")
    write_png(run.file(image), look.picture)
    write_png(run.file(crop), look.portrait.crop)
    latents, digest = "", ""
    if not look.held_out:
        latents = run.path("prepare", f"{key}.safetensors")
        still = np.repeat(look.picture[None], run.family.geometry.frames, 0)
        digest = write_weights(run.file(latents), {"latents": run.family.encode(to_tensor(still[None]))[0].float()})
    return Photo(key, look.path.name, image, latents, sha256(look.path), look.held_out, digest, crop, described(look))
