"""Rendered clips on disk, drawn once and read by every part of pretraining.

Clip `i` of a store is a pure function of (seed, i): its person, truth, sentence and frames. No part of
pretraining has the seed of `HELD_OUT`, and no reward's judge that of one of the report's.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magicid.avatar.identity import Identity
from magicid.avatar.prompts import describe
from magicid.avatar.renderer import Clip, render_clip
from magicid.avatar.truth import Truth, random_truth

FRAMES, SIZE, FPS = 17, 64, 8.0
HELD_OUT = 9_000  # seed of the people and clips that nothing was trained on


@dataclass(frozen=True)
class Item:
    """Who and what clip `index` of a store shows."""

    identity: Identity
    truth: Truth
    sentence: str
    seed: int


def item(seed: int, index: int) -> Item:
    """The index-th item under `seed`."""
    rng = np.random.default_rng([seed, index])
    identity = Identity.random(int(rng.integers(2**31)))
    truth = random_truth(rng)
    return Item(identity, truth, describe(truth, rng), int(rng.integers(2**31)))


def render(seed: int, index: int) -> Clip:
    """Render the index-th clip under `seed`."""
    it = item(seed, index)
    return render_clip(it.identity, it.truth, it.seed, FRAMES, SIZE, FPS)


@dataclass(frozen=True)
class ClipStore:
    """`frames` (N, T, H, W, 3) uint8, `boxes` (N, T, 4) and `landmarks` (N, T, 5, 2) in pixels, mapped from disk."""

    seed: int
    frames: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    first: int = 0  # the seed's number of clip 0

    def __len__(self) -> int:
        return len(self.frames)

    def item(self, index: int) -> Item:
        """Who and what the store's clip `index` shows."""
        return item(self.seed, self.first + index)


def clip_store(folder: Path, seed: int, count: int, first: int = 0, workers: int = 2) -> ClipStore:
    """Open the store of `count` clips, from the `first` on, under `folder`, drawing it where it is not there."""
    base = folder / f"clips-{seed}-{f'{first}-' if first else ''}{count}"
    done = base / "done"
    base.mkdir(parents=True, exist_ok=True)
    shapes = {"frames": (FRAMES, SIZE, SIZE, 3), "boxes": (FRAMES, 4), "landmarks": (FRAMES, 5, 2)}
    if not done.exists():
        arrays = {
            name: np.lib.format.open_memmap(
                base / f"{name}.npy", "w+", np.uint8 if name == "frames" else np.float32, (count, *shape)
            )
            for name, shape in shapes.items()
        }
        with ProcessPoolExecutor(workers) as pool:
            for index, clip in enumerate(pool.map(partial(render, seed), range(first, first + count), chunksize=64)):
                for name, array in arrays.items():
                    array[index] = getattr(clip, name)
        for array in arrays.values():
            array.flush()
        done.touch()
    frames, boxes, landmarks = (np.load(base / f"{name}.npy", mmap_mode="r") for name in shapes)
    return ClipStore(seed, frames, boxes, landmarks, first)
