"""How a clip is drawn, in numbers that another program can follow: kept beside clips, and in what stands beside an export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicid._version import __version__
from magicid.core import hub
from magicid.core.diffusion import FlowMatching
from magicid.core.files import sha256
from magicid.core.records import Prompt, Record, Video
from magicid.core.run import Run
from magicid.core.seeds import item_seed
from magicid.export.programs import arguments
from magicid.training.sampling import guidances


@dataclass(frozen=True)
class Recipe(Record):
    """One clip of one adapter on one base model."""

    version: str  # of magicid
    family: str
    base: str  # a folder or a hub id
    base_digest: str
    base_commit: str  # of a hub id
    trigger: str  # stands for the person
    adapter: str  # its file
    adapter_sha256: str
    adapter_low: str  # the file of the model's second expert, if that has one of its own
    strength: float
    prompt: str  # as the text encoder gets it
    noise_seed: int  # torch.Generator().manual_seed(this) and torch.randn(noise_shape) are the noise, fp32, drawn on the CPU
    noise_shape: tuple[int, ...]  # (1, C, F, H, W)
    frames: int
    height: int  # pixels
    width: int
    fps: float
    steps: int  # of Euler on the flow path, or of DDIM where there is no shift
    shift: float | None  # of the flow's times, which are even before it
    terminal: float | None  # the flow's last time before 0, to which those above are stretched
    guidance: float  # classifier-free; 1: none
    guidance_until: float  # time, 1 noise to 0 clean, down to which it acts so
    guidance_after: float  # the scale below that time
    arguments: dict[str, Any]  # of the stock pipeline, besides those above


def recipe(
    run: Run, prompt: str, seed: int, steps: int, guidance: float | None, adapter: Path, *low: Path, strength: float = 1.0
) -> Recipe:
    """What `training/sampling.sample` does with these; `seed` is the clip's, `guidance` None the base model's own."""
    family, geometry, law = run.family, run.drawn, run.family.law
    scale, after = guidances(geometry, guidance)
    return Recipe(
        version=__version__,
        family=run.common.family,
        base=run.common.base if hub.is_id(run.common.base) else str(run.base_path),
        base_digest=run.dir.settings().get("base_digest", ""),
        base_commit=run.dir.settings().get("base_commit", ""),
        trigger=run.common.trigger,
        adapter=str(adapter),
        adapter_sha256=sha256(adapter),
        adapter_low=str(low[0]) if low else "",
        strength=strength,
        prompt=prompt,
        noise_seed=item_seed(seed, "sample"),
        noise_shape=(1, *family.latents_shape(geometry.frames, geometry.height, geometry.width)),
        frames=geometry.frames,
        height=geometry.height,
        width=geometry.width,
        fps=geometry.fps,
        steps=steps,
        shift=law.shift if isinstance(law, FlowMatching) else None,
        terminal=(law.terminal or None) if isinstance(law, FlowMatching) else None,
        guidance=scale,
        guidance_until=geometry.guidance_until,
        guidance_after=after,
        arguments=arguments(family, scale),
    )


def sample_recipe(run: Run, *adapter: Path) -> Recipe:
    """Of the run's first MagicID clip; of its first evaluation prompt, where no clips are drawn yet."""
    settings = run.dir.settings()
    prompt = next(prompt.text for prompt in run.dir.read("prompts", Prompt) if prompt.split == "evaluation")
    seed, strength = item_seed(run.common.seed, prompt), 1.0  # as `magicid generate` has it
    videos = run.dir.read("generate", Video) if run.dir.finished("generate") else []
    if video := next((video for video in videos if video.origin == "magicid"), None):
        prompt, seed, strength = video.prompt, video.seed, video.strength
    return recipe(run, prompt, seed, settings["generate.steps"], settings.get("generate.guidance"), *adapter, strength=strength)
