"""The photos of a folder beside each other: copies, strangers, and which of them will do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from magicid.core.files import sha256
from magicid.core.interfaces import FaceEncoder, Judges
from magicid.core.pulse import pulse
from magicid.media.photo import COPY, all_photos
from magicid.perception.look import DRAWN_ONLY, Look, look_at, short


def examine(folder: Path, judges: Judges, shape: tuple[int, int] | None = None, drawn: bool = False) -> list[Look]:
    """Look at the photos of a folder, and at those in its `held_out`; `DataError` where there are none.

    Args:
        folder: of one person's photos.
        judges: of whom only `detector` and `face_reward` are asked.
        shape: height and width of the model's clips, in which the face must still be found; None: no model is asked.
        drawn: whether the judges know drawn people only, which is then said.
    """
    looks = list[Look]()
    for path in all_photos(folder):
        pulse("photo", path.name)
        seen = look_at(path, judges.detector, judges.face_reward.crop_size, shape, drawn)
        looks.append(replace(seen, name=path.relative_to(folder).as_posix()))
    looks = _strangers(_copies(looks), judges.face_reward, DRAWN_ONLY if drawn else "")
    return _near_copies(_strangers_aside(looks, judges.face_reward))


def _copies(looks: Sequence[Look]) -> list[Look]:
    """A photo that is one before it again will not do: it would be as like its twin as nothing else is."""
    first = dict[str, str]()
    twins = {look.name: first.setdefault(sha256(look.path), look.name) for look in looks if look.kept}
    problems = {
        name: f"the same file as {twin}; all photos must be different. Drop one." for name, twin in twins.items() if twin != name
    }
    return _judged(looks, problems, {})


def _near_copies(looks: Sequence[Look]) -> list[Look]:
    """A photo that looks like one before it is warned of: whether it is a copy or the next moment, a hash cannot tell.

    Held out, a picture nearly like one that is learnt from will not do.
    """
    judged = list[Look]()
    for look in sorted(looks, key=lambda look: look.held_out):
        twin = next((other for other in judged if _bits(look, other) <= COPY), None)
        if twin and look.held_out and not twin.held_out:
            learnt = f"nearly the same picture as {twin.name}, by which the report would judge what was learnt. Choose another."
            look = replace(look, problem=learnt)
        elif twin:
            look = replace(look, warnings=(*look.warnings, f"nearly the same picture as {twin.name}: one of them is enough"))
        judged.append(look)
    order = {look.name: place for place, look in enumerate(looks)}
    return sorted(judged, key=lambda look: order[look.name])


def _bits(one: Look, other: Look) -> int:
    """How many bits of two photos' fingerprints differ; of a photo that is not kept, more than there are."""
    if one.mark is None or other.mark is None or not (one.kept and other.kept):
        return 64
    return int((one.mark != other.mark).sum())


def _strangers(looks: Sequence[Look], encoder: FaceEncoder, hint: str) -> list[Look]:
    """The photo unlikest to the others is set aside, until the rest agree; where those aside are as many, all are."""
    crops = {look.name: look.portrait.crop for look in looks if look.kept and look.portrait and not look.held_out}
    names, need = list(crops), encoder.same_person
    if len(names) < 2:
        return list(looks)
    vectors = encoder.embed(np.stack(list(crops.values())))
    cosines = (vectors @ vectors.T).astype(np.float64)
    np.fill_diagonal(cosines, np.nan)
    problems, alike, left = dict[str, str](), dict[str, float](), list(range(len(names)))
    while len(left) > 1:
        medians = np.nanmedian(cosines[np.ix_(left, left)], 1)
        alike |= {names[i]: median for i, median in zip(left, medians.tolist(), strict=True)}
        worst = int(medians.argmin())
        if medians[worst] >= need:
            break
        what = f"(median similarity {short(medians[worst])}; need {short(need)}). Drop it, or split the folder.{hint}"
        aside = [left[worst]] if len(left) > 2 else left
        problems |= {names[i]: f"looks like another person {what}" for i in aside}
        left = [i for i in left if i not in aside]
    if len(problems) >= len(left):  # as many of somebody else: who is meant is not ours to say
        what = f"one of {len(left)} photos of one person beside {len(problems)} of others. Split the folder.{hint}"
        problems |= {names[i]: what for i in left if problems}
    return _judged(looks, problems, alike)


def _strangers_aside(looks: Sequence[Look], encoder: FaceEncoder) -> list[Look]:
    """A held-out photo that is like none of the photos of training will not do.

    The nearest counts, as in the identity reward: by the median 3 of 160 photos of 40 drawn people would be strangers to
    themselves, by the nearest none.
    """
    known = [look.portrait.crop for look in looks if look.kept and look.portrait and not look.held_out]
    aside = {look.name: look.portrait.crop for look in looks if look.kept and look.portrait and look.held_out}
    if not known or not aside:
        return list(looks)
    cosines = encoder.embed(np.stack(list(aside.values()))) @ encoder.embed(np.stack(known)).T
    alike = dict(zip(aside, cosines.max(1).tolist(), strict=True))
    problems = {
        name: f"looks like another person (similarity {short(cosine)} to the nearest photo outside held_out; need"
        f" {short(encoder.same_person)}). Drop it."
        for name, cosine in alike.items()
        if cosine < encoder.same_person
    }
    return _judged(looks, problems, alike)


def _judged(looks: Sequence[Look], problems: Mapping[str, str], alike: Mapping[str, float]) -> list[Look]:
    """The looks with what was found out by name; a face that is hard to know may be why it looks like somebody else."""
    judged = []
    for look in looks:
        problem = problems.get(look.name, look.problem)
        if look.name in problems and look.name in alike and look.portrait and look.portrait.unclear:
            problem += f" Or it cannot be known: {look.portrait.unclear}."
        judged.append(replace(look, problem=problem, similarity=alike.get(look.name, look.similarity)))
    return judged
