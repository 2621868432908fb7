"""Draw clips and keep them: latents and mp4, published whole and entered in the stage's journal, batches side by side.

A kill loses the batches in flight, one a lane.

Training reads their latents back here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch

from magicid.core.errors import DataError, NotFinite
from magicid.core.files import require_room
from magicid.core.interfaces import Condition, Geometry, Predict
from magicid.core.lanes import side_by_side
from magicid.core.records import Video
from magicid.core.run import Run
from magicid.core.run_dir import Journal
from magicid.core.weights import read_weights, write_weights
from magicid.media.video import to_frames, write_video
from magicid.training import lora
from magicid.training.sampling import sample


@dataclass(frozen=True)
class Wanted:
    """One clip to draw."""

    id: str
    origin: str
    prompt: str
    seed: int
    adapter: str | None  # None: the base model alone
    strength: float = 1.0


def make_clips(
    run: Run,
    stage: str,
    wanted: Sequence[Wanted],
    steps: int,
    batch: int,
    guidance: float | None = None,
    shown: Geometry | None = None,
    predictor: Callable[[Sequence[Wanted]], Predict] | None = None,
) -> list[Video]:
    """Records of all wanted clips, in order; those that the journal holds whole are not drawn again.

    `shown` is their size; None: that of the run's other clips. `predictor(batch)` replaces `family.predict`; batches are
    then drawn one at a time, since it may switch adapters.
    """
    family, geometry, negative = run.family, shown or run.clips(), run.negative
    shape = family.latents_shape(geometry.frames, geometry.height, geometry.width)
    journal = Journal(run.dir, stage)
    done: dict[str, Video] = {}
    size = clip_bytes(shape, geometry)
    origins = {clip.origin for clip in wanted}
    with run.bar(origins.pop() if len(origins) == 1 else stage, len(wanted)) as bar:
        for clip in wanted:
            video = journal.get(Video, clip.id, run.path(stage, f"{clip.id}.safetensors"))
            if video is not None and run.file(video.file).exists():
                done[clip.id] = video
                bar.advance(bar.task_ids[0])
        require_room(run.dir.stage(stage), (len(wanted) - len(done)) * size, f"{stage}'s clips")
        for (adapter, strength), group in groupby(sorted(wanted, key=_setting), key=lambda w: (w.adapter, w.strength)):
            clips = list(group)
            parts = [clips[start : start + batch] for start in range(0, len(clips), batch)]
            # batches are the same after a kill: their company changes the last bits of clips
            left = [part for part in parts if not all(clip.id in done for clip in part)]
            conditions = [family.encode_prompts([clip.prompt for clip in part]) for part in left]

            def make(asked: tuple[list[Wanted], Condition]) -> list[Video]:
                part, condition = asked
                predict, seeds = predictor(part) if predictor else None, [clip.seed for clip in part]
                latents = sample(family, condition, negative, seeds, shape, steps, guidance, predict=predict).float()
                frames = to_frames(family.decode(latents))
                drawn = zip(part, latents.cpu(), frames, strict=True)
                return [_keep(run, stage, journal, *clip) for clip in drawn if clip[0].id not in done]

            with lora.using(family, adapter, strength):
                for videos in side_by_side(make, list(zip(left, conditions, strict=True)), 1 if predictor else len(parts)):
                    done.update((video.id, video) for video in videos)
                    bar.advance(bar.task_ids[0], len(videos))
    return [done[clip.id] for clip in wanted]


def clip_bytes(shape: tuple[int, ...], size: Geometry) -> int:
    """Of a clip's latents of that shape in fp32, and of a mp4 at its largest."""
    return math.prod(shape) * 4 + size.frames * size.height * size.width


def sampling_of(run: Run) -> tuple[int, int, float | None]:
    """Steps, batch and guidance with which the run's repository was drawn."""
    settings = run.dir.settings()
    return settings["sample.steps"], settings["sample.batch"], settings.get("sample.guidance")


def read_latents(run: Run, ids: Iterable[str], others: Sequence[Video] = ()) -> dict[str, torch.Tensor]:
    """Latents (C, F, H, W) by id, of clips of the repository, of `others` and of photos.

    `DataError` where a clip is not what was drawn.
    """
    asked = set(ids)
    videos = [*(run.dir.read("sample", Video) if run.dir.finished("sample") else []), *others]
    known = {video.id: video for video in videos if video.id in asked}
    files = {key: run.checked(video.latents, video.sha256) for key, video in known.items()}
    for photo in run.photos():
        if photo.id in asked:
            digest = photo.latents_sha256
            files[photo.id] = run.checked(photo.latents, digest) if digest else run.file(photo.latents)
    return {key: _latents(file) for key, file in files.items()}


def _latents(path: Path) -> torch.Tensor:
    tensors = read_weights(path)
    if tensors.keys() != {"latents"}:
        raise DataError(f"{path}: {', '.join(sorted(tensors)[:3]) or 'nothing'} in it; it holds latents. Bring it back.")
    return tensors["latents"]


def _setting(clip: Wanted) -> tuple[str, float]:
    return clip.adapter or "", clip.strength


def _keep(run: Run, stage: str, journal: Journal, clip: Wanted, latent: torch.Tensor, frames: object) -> Video:
    """Publish a clip's files, and enter it."""
    if not torch.isfinite(latent).all():
        raise NotFinite(f"{clip.id}: the sampled latents are not finite; lower the strength or the learning rate.")
    path, movie = run.path(stage, f"{clip.id}.safetensors"), run.path(stage, f"{clip.id}.mp4")
    write_video(run.file(movie), frames, run.family.geometry.fps)  # type: ignore[arg-type]
    digest = write_weights(run.file(path), {"latents": latent})
    video = Video(clip.id, clip.origin, clip.prompt, clip.seed, clip.strength, movie, path, digest)
    journal.add(video, video.id)
    return video
