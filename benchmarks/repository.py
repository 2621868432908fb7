"""The preference repository, sample -> decode -> score -> pair: seconds per video, ours against a plain loop.

The plain loop is what one writes first: the stock diffusers pipeline once per video, with true guidance and its text
encoded each time; the mp4 written, read again, encoded to latents for training, and scored alone. Ours is the stages
`sample`, `score` and `pair`. Both draw the same number of clips of the same length on the same loaded weights, guided at
every step (the embedded base's own guidance ends half-way, which is no idea of the engine's), with the adapter at work for
half of them, in turns, and use all cores.

Left out: loading the weights, and `prepare`, which both need alike. The clips are few, so that it ends within three
minutes on 2 cores; a run's repository has 120 and batches of 10.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import diffusers
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from magicid.avatar.photos import new_photos
from magicid.core.records import Adapter, Photo, Prompt, Record, Video
from magicid.core.records import Score as Rated
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.core.seeds import generator
from magicid.media.photo import read_photo
from magicid.media.video import read_video, to_tensor, write_video
from magicid.perception.face import reference_faces
from magicid.perception.tracking import observe
from magicid.rewards.calibration import calibrate
from magicid.rewards.identity import IdentityReward
from magicid.rewards.motion import MotionReward
from magicid.rewards.prompt import PromptReward
from magicid.selection.choice import scored
from magicid.selection.scored import Scored
from magicid.stages.pair import Pair
from magicid.stages.prepare import Prepare
from magicid.stages.sample import Sample
from magicid.stages.score import Score
from magicid.training import lora
from magicid.training.adapters import load_adapter, save_adapter

SENTENCES = (
    "a chef in a white jacket waves in a kitchen", "a hiker in a red coat nods in the mountains",
    "a doctor in a lab coat turns the head in an office", "a runner in a blue shirt walks in the park",
    "a student in a green sweater laughs in the library", "a pilot in a black jacket waves on the beach",
)  # fmt: skip
SETTINGS = {"finetune.rank": 16, "finetune.alpha": 16.0, "finetune.targets": []}
PAIR = Pair()


@dataclass(frozen=True)
class Repository:
    """What is measured."""

    prompts: int = 6  # of each one clip by the adapter and one by the base model
    steps: int = 12  # the quick preset's
    batch: int = 3  # clips that ours draws in one forward pass
    rounds: int = 3
    ideas: bool = False  # also measure ours with each idea left out
    json: bool = False  # the last line is one JSON object


@dataclass
class Clock:
    """Seconds by the name of the part."""

    parts: dict[str, float] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """Do the work, add its time, and give its result."""
        start = time.perf_counter()
        result = work()
        self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - start
        return result


def begin(root: Path, asked: Repository) -> Run:
    """A run that has come to `sample`: drawn photos, a random adapter and the first sentences."""
    with redirect_stdout(None):
        new_photos(9, root / "photos", count=4, held_out=0)
    run = Run(RunDir(root / "begun"), Common(root / "photos"), Console(quiet=True))
    run.family.geometry = replace(run.family.geometry, guidance_until=0.0)
    run.dir.freeze(SETTINGS)
    run.dir.publish("prepare", Prepare().run(run))
    lora.add_adapter(run.family, "random", lora.LoraSettings())
    shapes = lora.weights(run.family, "random")
    weights = {name: 0.02 * torch.randn(w.shape, generator=generator(0, name)) for name, w in shapes.items()}
    lora.remove_adapter(run.family, "random")
    adapter = save_adapter(run, "finetune", weights)
    run.dir.publish("finetune", [adapter])
    texts = [f"{run.common.trigger}, {text}" for text in SENTENCES[: asked.prompts]]
    run.dir.publish("prompts", [Prompt(f"prompt-{i:03d}", text, "repository") for i, text in enumerate(texts)])
    run.dir.publish("distill", [adapter])
    return run


def ours(run: Run, asked: Repository, batch: int | None = None) -> dict[str, float]:
    """Seconds of our stages, on a copy of the run whose models are in memory already."""
    clock, stages = Clock(), {
        "sample": Sample(finetuned_per_prompt=1, base_per_prompt=1, steps=asked.steps, batch=batch or asked.batch),
        "score": Score(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(run.dir.root, folder, dirs_exist_ok=True)
        copy = Run(RunDir(Path(folder)), run.common, run.console)
        copy.family, copy.judges = run.family, run.judges
        for name, stage in stages.items():
            records: list[Record] = clock.time(name, lambda stage=stage: stage.run(copy))
            copy.dir.publish(name, records)
        clock.time("pair", lambda: PAIR.choose(scored(copy, copy.dir.read("sample", Video), copy.dir.read("score", Rated))))
        copy.dir.close()
    return clock.parts


def one_lane(run: Run, asked: Repository) -> dict[str, float]:
    """Ours with nothing side by side."""

    def one_by_one(work: Callable[[Any], Any], items: Sequence[Any], count: int) -> Iterator[Any]:
        return map(work, items)

    with patch("magicid.training.clips.side_by_side", one_by_one), patch("magicid.rewards.scoring.side_by_side", one_by_one):
        return ours(run, asked)


def plain(run: Run, asked: Repository) -> dict[str, float]:
    """Seconds of the plain loop: one video at a time from prompt to score."""
    clock, family, judges, shape = Clock(), run.family, run.judges, run.family.geometry
    pipeline = family.pipeline  # type: ignore[attr-defined]
    pipeline.set_progress_bar_config(disable=True)
    diffusers.utils.logging.set_verbosity_error()  # it says each time that it rounds the number of frames
    photos = [read_photo(run.file(photo.image)) for photo in run.dir.read("prepare", Photo)]
    references = clock.time("score", lambda: reference_faces(photos, judges.detector, judges.face_reward))
    rewards = [IdentityReward(judges.face_reward, references), MotionReward(), PromptReward(judges.text_reward)]
    load_adapter(run, "stage_one", run.dir.read("finetune", Adapter)[0])
    found: list[tuple[str, str, str, list[float]]] = []
    length = shape.frames - (pipeline.vae_scale_factor_temporal == 1)  # it rounds up to one more: docs/decisions.md

    def draw(text: str, seed: int) -> NDArray[np.float32]:
        return pipeline(
            prompt=text, negative_prompt="", height=shape.height, width=shape.width, num_frames=length,
            num_inference_steps=asked.steps, guidance_scale=shape.guidance, max_sequence_length=40,
            generator=torch.Generator().manual_seed(seed),
        ).frames[0]  # fmt: skip

    def score(origin: str, text: str, frames: NDArray[np.uint8]) -> None:
        seen = observe(frames, text, shape.fps, judges.detector)
        found.append((f"{origin}-{len(found)}", origin, text, [reward(seen).value for reward in rewards]))

    with tempfile.TemporaryDirectory() as folder:
        for i, prompt in enumerate(run.dir.read("prompts", Prompt)):
            for origin, adapter in (("finetuned", "stage_one"), ("base", None)):
                path = Path(folder) / f"{origin}-{i}.mp4"
                with lora.using(family, adapter):
                    frames = clock.time("sample", lambda text=prompt.text, i=i: draw(text, i))
                pixels = (255 * frames).round().astype(np.uint8)
                assert len(pixels) == shape.frames, f"{len(pixels)} frames, not {shape.frames}"
                clock.time("write", lambda path=path, pixels=pixels: write_video(path, pixels, shape.fps))
                again = clock.time("read", lambda path=path: read_video(path)[0])
                latents = clock.time("encode", lambda again=again: family.encode(to_tensor(again[None]))[0])
                save_file({"latents": latents.contiguous()}, path.with_suffix(".safetensors"))
                clock.time("score", lambda o=origin, t=prompt.text, f=again: score(o, t, f))
    for photo in photos:
        clock.time("score", lambda photo=photo: score("static", "", np.repeat(photo[None], shape.frames, 0)))
    clock.time("pair", lambda: choose(found))
    lora.remove_adapter(family, "stage_one")
    return clock.parts


def choose(found: list[tuple[str, str, str, list[float]]]) -> None:
    """Calibrate the raw scores and choose pairs."""
    scaled = [calibrate({name: values[i] for name, _, _, values in found}) for i in range(3)]
    PAIR.choose([Scored(*row[:3], *(s[row[0]] for s in scaled)) for row in found if all(row[0] in s for s in scaled)])


def main(asked: Repository) -> None:
    """Measure, print a table, and with --json an object with `speedup`."""
    with tempfile.TemporaryDirectory() as folder:
        run = begin(Path(folder), asked)
        ways: dict[str, Callable[[], dict[str, float]]] = {"plain": lambda: plain(run, asked), "ours": lambda: ours(run, asked)}
        if asked.ideas:
            ways |= {"ours, one clip a batch": lambda: ours(run, asked, 1), "ours, one lane": lambda: one_lane(run, asked)}
        warm = Repository(1, 1)
        plain(run, warm), ours(run, warm)
        times: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for i in range(asked.rounds):
            for way in list(ways)[:: 1 - 2 * (i % 2)]:  # there and back, so that a slow minute hits all alike
                times[way].append(ways[way]())
        run.dir.close()
    report(asked, times)


def report(asked: Repository, times: dict[str, list[dict[str, float]]]) -> None:
    """Medians over the rounds, with least and most."""
    videos = 2 * asked.prompts
    totals = {way: [sum(parts.values()) / videos for parts in rounds] for way, rounds in times.items()}
    speedups = {way: median(totals["plain"]) / median(seconds) for way, seconds in totals.items()}
    title = f"seconds per video: {videos} videos of {asked.steps} steps, {asked.rounds} rounds, {torch.get_num_threads()} threads"
    table = Table("", "median", "least", "most", "of which", "speed-up", title=title)
    for way, seconds in totals.items():
        parts = {name: median(r[name] for r in times[way]) / videos for name in times[way][0]}
        spent = ", ".join(f"{name} {value:.3f}" for name, value in parts.items() if value > 5e-4)
        table.add_row(way, *(f"{f(seconds):.2f}" for f in (median, min, max)), spent, f"{speedups[way]:.2f}")
    Console(stderr=asked.json, width=120).print(table)
    if asked.json:
        print(
            json.dumps(
                {"speedup": speedups["ours"], "speedups": speedups, "seconds": totals, "videos": videos, "steps": asked.steps}
            )
        )


if __name__ == "__main__":
    if os.environ.pop("OMP_WAIT_POLICY", ""):  # read when torch is loaded; a passive one makes the plain loop twice as slow
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    main(tyro.cli(Repository))
