"""What stands beside the methods in a table and is no method: a still photo, a stranger, and the person as really rendered."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from magicid.avatar.identity import Identity
from magicid.avatar.prompts import parse
from magicid.avatar.renderer import render_clip
from magicid.comparison.clips import Shown, places
from magicid.core.interfaces import Frames
from magicid.core.records import Photo
from magicid.core.run import Run
from magicid.core.seeds import item_seed
from magicid.media.video import to_frames, to_tensor
from magicid.training.clips import read_latents


def controls(run: Run, person: int, stranger: int) -> Iterator[Shown]:
    """At every place, through the autoencoder as all generated clips are: `static`, `impostor` and `ceiling`.

    And `real`, another render of the person, not through the autoencoder: what Frechet distances are measured from.
    """
    photos = run.photos()
    for i, (place, video) in enumerate(places(run).items()):
        photo = photos[i % len(photos)]
        yield Shown("static", place, video.prompt, photo.sha256, partial(still, run, photo))
    yield from renders(run, "impostor", stranger)
    yield from bounds(run, person)


def bounds(run: Run, person: int) -> Iterator[Shown]:
    """The two controls that every table needs: `ceiling`, which shares are of, and `real`."""
    yield from renders(run, "ceiling", person)
    for place, video in places(run).items():
        seed = item_seed(video.seed, "real")
        yield Shown("real", place, video.prompt, f"render-{person}-{seed}", partial(render, run, person, video.prompt, seed))


def renders(run: Run, method: str, person: int, frames: int = 0) -> Iterator[Shown]:
    """A person at every place, through the autoencoder, for so many frames (0: the family's own number)."""
    made = f"-{frames}f" if frames else ""
    for place, video in places(run).items():
        key = f"through-autoencoder-{person}-{video.seed}{made}"
        yield Shown(method, place, video.prompt, key, partial(rendered, run, person, video.prompt, video.seed, frames))


@torch.no_grad()
def still(run: Run, photo: Photo) -> Frames:
    """A training photo held still, through the autoencoder."""
    return _frames(run, read_latents(run, [photo.id])[photo.id][None])


@torch.no_grad()
def rendered(run: Run, person: int, prompt: str, seed: int, frames: int = 0) -> Frames:
    """A render through the autoencoder; of the true person, the best that a model could do."""
    return _frames(run, run.family.encode(to_tensor(render(run, person, prompt, seed, frames)[None])))


def render(run: Run, person: int, prompt: str, seed: int, frames: int = 0) -> Frames:
    """The person doing what the prompt says, as the embedded world draws it, at the family's size, or with other `frames`."""
    geometry = run.family.geometry
    return render_clip(
        Identity.random(person), parse(prompt), seed % 2**31, frames or geometry.frames, geometry.height, geometry.fps
    ).frames


def _frames(run: Run, latents_BCFHW: Tensor) -> Frames:
    frames: Frames = to_frames(run.family.decode(latents_BCFHW))[0]
    return frames
