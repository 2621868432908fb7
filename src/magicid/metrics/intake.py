"""What was seen in a folder of photos, for people: a table, a line for each photo, what the set lacks, and a page of its own."""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from magicid.core.files import publish_text
from magicid.media.photo import HELD_OUT, SUFFIXES, other_files
from magicid.metrics.page import embedded, rendered
from magicid.perception.expression import SMILING
from magicid.perception.look import CLOSE_UP, Look, count, short

MOST_NAMES = 8  # of files that are not looked at
LEGEND = (
    "px: height of the face in the photo. sharp: variance of the face's Laplacian. pose: yaw (+ to the picture's right), pitch"
    " (+ down), roll (+ clockwise) in degrees, from five landmarks: yaw is right to about 10, pitch to about 20. expression:"
    " rough, by the mouth's colours; a smile with closed lips counts as neutral. like: median similarity to the other photos, of"
    " held-out ones to the nearest."
)


def print_intake(console: Console, looks: Sequence[Look]) -> None:
    """Print the table of the photos and what the set lacks."""
    table = Table("photo", "faces", "px", "sharp", "pose", "expression", "like", "verdict")
    for look in looks:
        table.add_row(Text(look.name, overflow="fold"), *_cells(look), Text(verdict(look), "" if look.kept else "bold"))
    console.print(table)
    for line in (sentence(looks), *advice(looks)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_others(console: Console, folder: Path) -> None:
    """Print one line that names the files beside the photos that are not looked at; nothing where there are none."""
    parts = [part for part in (folder, folder / HELD_OUT) if part.is_dir()]
    names = [" ".join(path.relative_to(folder).as_posix().split()) for part in parts for path in other_files(part)]
    if names:
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        said = (
            f"not looked at: {', '.join(names[:MOST_NAMES])}{more}; photos end in {', '.join(SUFFIXES)}. Export others as JPEG."
        )
        console.print(said, markup=False, highlight=False, soft_wrap=True)


def _cells(look: Look) -> list[str]:
    faces, portrait = "-" if look.faces is None else str(look.faces), look.portrait
    if portrait is None:
        return [faces, *("-" * 5)]
    pose = f"{portrait.view}\n{portrait.pose.yaw:+.0f} {portrait.pose.pitch:+.0f} {portrait.pose.roll:+.0f}"
    like = "-" if np.isnan(look.similarity) else short(look.similarity)
    return [faces, f"{portrait.height:.0f}", f"{portrait.sharpness:.0f}", pose, portrait.expression, like]


def verdict(look: Look) -> str:
    """Kept or dropped, and why."""
    return "; ".join(("kept", *look.warnings)) if look.kept else f"dropped: {look.problem}"


def described(look: Look) -> str:
    """What was seen in a photo, and what became of it, in one line."""
    parts, portrait = [] if look.faces is None else [count(look.faces, "face")], look.portrait
    if portrait:
        yaw, pitch, roll = portrait.pose
        parts += [f"{portrait.height:.0f} px high", f"sharpness {portrait.sharpness:.0f}"]
        parts += [f"{portrait.view} ({yaw:+.0f}, {pitch:+.0f}, {roll:+.0f} degrees)", portrait.expression]
        parts += [] if np.isnan(look.similarity) else [f"similarity {short(look.similarity)}"]
    return "; ".join(filter(None, (", ".join(parts), verdict(look))))


def sentence(looks: Sequence[Look]) -> str:
    """How many photos are kept, and how many of them are held out."""
    kept = [look for look in looks if look.kept]
    aside = sum(look.held_out for look in kept)
    return f"{len(kept)} of {count(len(looks), 'photo')} kept" + (f", {aside} of them held out." if aside else ".")


def advice(looks: Sequence[Look]) -> list[str]:
    """What the photos kept for training cover, and what they lack."""
    portraits = [look.portrait for look in looks if look.kept and not look.held_out and look.portrait]
    if not portraits:
        return []
    views = Counter(portrait.view for portrait in portraits)
    lines = ["poses: " + ", ".join(f"{number} {view}" for view, number in views.most_common())]
    sides = {side for view in views for side in ("left", "right") if view.endswith(side)}
    if not views["frontal"]:
        lines.append("none from the front: add a photo that looks into the camera.")
    if not sides:
        lines.append("all from the front: add photos with the head turned half left and half right.")
    elif len(sides) == 1:
        lines.append(f"none turned to the picture's {({'left', 'right'} - sides).pop()}: add one.")
    if not any(view.startswith("profile") for view in views):
        lines.append("no profile: add a photo from the side.")
    if all(portrait.expression == SMILING for portrait in portraits):
        lines.append("all photos smile: add one with a calm face.")
    if all(portrait.share > CLOSE_UP for portrait in portraits):
        lines.append("all photos are close-ups: add one that shows the shoulders and what is behind.")
    return lines


def write_page(looks: Sequence[Look], name: str, path: Path) -> None:
    """Publish a page that opens with no server: each photo beside its aligned face, with its line."""
    photos = [(look, [_jpeg(image) for image in _images(look)]) for look in looks]
    values = {"name": name, "sentence": sentence(looks), "advice": advice(looks), "photos": photos, "legend": LEGEND}
    publish_text(path, rendered("intake.html.j2", described=described, **values))


def _images(look: Look) -> list[NDArray[np.uint8]]:
    """The photo and its aligned face, as far as there are any."""
    found = (look.picture, look.portrait.crop if look.portrait else None)
    return [image for image in found if image is not None]


def _jpeg(image: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    return embedded(buffer.getvalue(), "image/jpeg")
