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
        prompt, seed, other = video.prompt, video.seed, item_seed(video.seed, "real")
        photo = photos[i % len(photos)]
        yield Shown("static", place, prompt, photo.sha256, partial(still, run, photo))
        yield Shown(
            "impostor", place, prompt, f"through-autoencoder-{stranger}-{seed}", partial(rendered, run, stranger, prompt, seed)
        )
        yield Shown(
            "ceiling", place, prompt, f"through-autoencoder-{person}-{seed}", partial(rendered, run, person, prompt, seed)
        )
        yield Shown("real", place, prompt, f"render-{person}-{other}", partial(render, run, person, prompt, other))


@torch.no_grad()
def still(run: Run, photo: Photo) -> Frames:
    """A training photo held still, through the autoencoder."""
    return _frames(run, read_latents(run, [photo.id])[photo.id][None])


@torch.no_grad()
def rendered(run: Run, person: int, prompt: str, seed: int) -> Frames:
    """A render through the autoencoder; of the true person, the best that a model could do."""
    return _frames(run, run.family.encode(to_tensor(render(run, person, prompt, seed)[None])))


def render(run: Run, person: int, prompt: str, seed: int) -> Frames:
    """The person doing what the prompt says, as the embedded world draws it, at the family's size."""
    geometry = run.family.geometry
    return render_clip(
        Identity.random(person), parse(prompt), seed % 2**31, geometry.frames, geometry.height, geometry.fps
    ).frames


def _frames(run: Run, latents_BCFHW: Tensor) -> Frames:
    frames: Frames = to_frames(run.family.decode(latents_BCFHW))[0]
    return frames
