"""Portrait photos of a drawn person, as a user would bring them, and others held out for evaluation."""

from pathlib import Path

from magicid.avatar.identity import Identity
from magicid.avatar.renderer import render_photo
from magicid.core.errors import UsageError
from magicid.media.photo import write_png

HELD_OUT_FROM = 1000  # photo seeds from here on are never given to training


def new_photos(seed: int, out: Path, count: int = 7, held_out: int = 4, size: int = 256) -> None:
    """Draw a person's photos.

    Args:
        seed: names the person.
        out: folder for photo-1.png, photo-2.png, ...
        count: how many photos.
        held_out: how many more under out/held_out, in other poses, scenes and lights, for evaluation.
        size: side in pixels.
    """
    if seed < 0:
        raise UsageError(f"seed {seed}: people are named by whole numbers from 0 on. Choose another --seed.")
    person = Identity.random(seed)
    for i in range(count):
        write_png(out / f"photo-{i + 1}.png", render_photo(person, 10_000 * seed + i, size).image)
    for i in range(held_out):
        write_png(out / "held_out" / f"photo-{i + 1}.png", render_photo(person, 10_000 * seed + HELD_OUT_FROM + i, size).image)
    print(f"{count + held_out} photos of person {seed} in {out}")
