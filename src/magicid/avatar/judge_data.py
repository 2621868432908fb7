"""What the judges learn from: people seen in several clips, reconstructed clips, and small damage to pictures."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from magicid.avatar.dataset import FPS, FRAMES, SIZE, ClipStore
from magicid.avatar.identity import Identity
from magicid.avatar.renderer import render_clip
from magicid.avatar.truth import random_truth
from magicid.core.device import autocast
from magicid.core.files import digest
from magicid.media.video import to_frames, to_tensor
from magicid.perception.face import align
from magicid.perception.networks import CROP, to_input

CLIPS, PICKED = 2, 6  # a person's clips, and the frames kept of each
_CHUNK = 32


@dataclass(frozen=True)
class Reconstruct:
    """Passes clips (N, T, H, W, 3) through an autoencoder; `version` tells autoencoders apart, for names of what is kept."""

    version: str
    through: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self.through(clips)


def reconstructor(folder: Path) -> Reconstruct | None:
    """The autoencoder saved under `folder`; None where there is none yet."""
    if not (folder / "config.json").exists():
        return None
    from diffusers import AutoencoderKLWan

    from magicid.avatar.pretrain_autoencoder import decode, encode

    vae = AutoencoderKLWan.from_pretrained(folder, dtype=torch.float32)  # type: ignore[no-untyped-call]

    def reconstruct(clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with torch.inference_mode(), autocast(vae.device):
            return to_frames(decode(vae, encode(vae, to_tensor(clips))[0]))

    return Reconstruct(digest(folder)[:12], reconstruct)


@dataclass(frozen=True)
class FaceStore:
    """P people, 12 frames each, of two clips with different truths; axis V is (drawn,) or (drawn, reconstructed)."""

    frames: NDArray[np.uint8]  # (V, P, 12, H, W, 3)
    landmarks: NDArray[np.float32]  # (P, 12, 5, 2) true ones, in pixels

    def crop(self, rng: np.random.Generator, person: int) -> NDArray[np.uint8]:
        """A random aligned face of a person, cut as carelessly as a detector would: 1 pixel off, 3% scale, 3% shift."""
        version, frame = int(rng.integers(len(self.frames))), int(rng.integers(self.landmarks.shape[1]))
        spots = self.landmarks[person, frame]
        middle, width = spots.mean(0), np.ptp(spots[:, 0])
        careless = (spots - middle) * rng.normal(1, 0.03) + middle + width * rng.normal(0, 0.03, 2)
        picture = np.asarray(self.frames[version, person, frame])
        return align(picture, careless + rng.normal(0, 0.7, (5, 2)), CROP)


def face_store(folder: Path, seed: int, people: int, reconstruct: Reconstruct | None = None, workers: int = 2) -> FaceStore:
    """Open the store under `folder`, drawing it first where it is not there."""
    base = folder / f"faces-{seed}-{people}{f'-{reconstruct.version}' if reconstruct else ''}"
    if not (base / "done").exists():
        base.mkdir(parents=True, exist_ok=True)
        versions, count = (2 if reconstruct else 1), CLIPS * PICKED
        shape = (versions, people, count, SIZE, SIZE, 3)
        frames = np.lib.format.open_memmap(base / "frames.npy", "w+", np.uint8, shape)
        landmarks = np.lib.format.open_memmap(base / "landmarks.npy", "w+", np.float32, (people, count, 5, 2))
        with ProcessPoolExecutor(workers) as pool:
            for start in range(0, people, _CHUNK):  # in chunks, since the pool keeps what waits here in memory
                chunk = range(start, min(start + _CHUNK, people))
                for person, drawn in zip(chunk, pool.map(partial(_person, seed), chunk), strict=True):
                    clips, picks, spots = drawn
                    landmarks[person] = spots
                    rows = np.arange(CLIPS)[:, None]
                    for version, shown in enumerate((clips, reconstruct(clips)) if reconstruct else (clips,)):
                        frames[version, person] = shown[rows, picks].reshape(count, SIZE, SIZE, 3)
        frames.flush()
        landmarks.flush()
        (base / "done").touch()
    return FaceStore(*(np.load(base / f"{name}.npy", mmap_mode="r") for name in ("frames", "landmarks")))


def _person(seed: int, person: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
    """A person's clips (2, T, H, W, 3), the frames picked of each (2, 6), and their landmarks (12, 5, 2)."""
    rng = np.random.default_rng([seed, 0xFA, person])
    identity = Identity.random(int(rng.integers(2**31)))
    draws = [(random_truth(rng), int(rng.integers(2**31))) for _ in range(CLIPS)]
    clips = [render_clip(identity, truth, number, FRAMES, SIZE, FPS) for truth, number in draws]
    picks = np.stack([np.sort(rng.choice(FRAMES, PICKED, replace=False)) for _ in clips])
    spots = [clip.landmarks[pick] for clip, pick in zip(clips, picks, strict=True)]
    return np.stack([clip.frames for clip in clips]), picks, np.concatenate(spots)


@dataclass(frozen=True)
class Views:
    """A store's clips, where the first ones are also there `rebuilt` (K, T, H, W, 3) by the autoencoder, or K is 0."""

    store: ClipStore
    rebuilt: NDArray[np.uint8]

    def draw(self, rng: np.random.Generator) -> tuple[int, NDArray[np.uint8]]:
        """A random clip's index and frames; one in three is a reconstruction."""
        if len(self.rebuilt) and rng.random() < 1 / 3:
            index = int(rng.integers(len(self.rebuilt)))
            return index, self.rebuilt[index]
        index = int(rng.integers(len(self.store)))
        return index, self.store.frames[index]


def views(folder: Path, store: ClipStore, reconstruct: Reconstruct | None = None, count: int = 1500) -> Views:
    """The store with its first `count` clips reconstructed too, kept under `folder`."""
    if reconstruct is None:
        return Views(store, store.frames[:0])
    count = min(count, len(store))
    path, temporary = (folder / f"{prefix}rebuilt-{store.seed}-{count}-{reconstruct.version}.npy" for prefix in ("", ".tmp-"))
    if not path.exists():
        rebuilt = np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, *store.frames.shape[1:]))
        for i in range(0, count, 2):
            rebuilt[i : i + 2] = reconstruct(store.frames[i : min(i + 2, count)])
        rebuilt.flush()
        temporary.rename(path)
    return Views(store, np.load(path, mmap_mode="r"))


def damaged(rng: np.random.Generator, pictures: NDArray[np.uint8]) -> Tensor:
    """Pictures (N, H, W, 3) as a network's input (N, 3, H, W), with one random colour gain, blur and grain."""
    if rng.random() < 0.3:
        sigma = rng.uniform(0.3, 0.9)
        pictures = np.stack([cv2.GaussianBlur(picture, (5, 5), sigma) for picture in pictures])
    gain = torch.from_numpy(rng.normal(1, 0.06) * rng.normal(1, 0.03, 3)).float()[:, None, None]
    x = to_input(pictures) * gain + float(rng.normal(0, 0.05))
    if rng.random() < 0.5:
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        x = x + float(rng.uniform(0, 0.08)) * torch.randn(x.shape, generator=noise)
    return x.clamp(-1, 1)
