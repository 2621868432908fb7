"""DreamBooth-LoRA stopped early: of all that the training kept on its way, what does best on clips of validation prompts.

Best is the largest product of mean identity and mean motion: the area that the point spans, whatever the units. The
prompts are the repository's, the judges those of the rewards; the report's prompts and judges have no say.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magicid.core.errors import DataError
from magicid.core.files import publish_text
from magicid.core.records import Adapter, Prompt, Video
from magicid.core.run import Run
from magicid.core.seeds import item_seed
from magicid.media.photo import read_photo
from magicid.media.video import read_video
from magicid.perception.face import reference_faces
from magicid.perception.optical_flow import estimator_of
from magicid.perception.tracking import observe
from magicid.rewards.identity import IdentityReward
from magicid.rewards.motion import MotionReward
from magicid.training import lora
from magicid.training.adapters import load_adapter
from magicid.training.clips import Wanted, make_clips
from magicid.training.reconstruction import snapshots

FOLDER = "dreambooth_lora_early"


@dataclass(frozen=True)
class DreamboothLoraEarly:
    """How the snapshots of stage one and of `dreambooth_lora` are compared."""

    prompts: int = 4  # of the repository's, one clip of each
    sample_steps: int = 50
    batch: int = 10
    guidance: float | None = None  # classifier-free; None: the base model's own, 1: none

    def run(self, run: Run) -> Sequence[Adapter]:
        """The best snapshot; what was found of each is in `dreambooth_lora_early/validation.json`."""
        found = snapshots(run, "finetune") | snapshots(run, "dreambooth_lora")
        if not found:
            raise DataError(f"{run.dir.root}: no snapshots of finetune or dreambooth_lora; delete both and run again.")
        points = {step: self._point(run, step, adapter) for step, adapter in found.items()}
        best = max(points, key=lambda step: (area(*points[step]), -step))
        named = {step: {"identity": identity, "motion": motion} for step, (identity, motion) in points.items()}
        publish_text(run.dir.stage(FOLDER) / "validation.json", json.dumps({"best": best, "steps": named}))
        return [found[best]]

    def _point(self, run: Run, step: int, adapter: Adapter) -> tuple[float, float]:
        """Mean identity and motion of a snapshot's clips."""
        prompts = [p for p in run.dir.read("prompts", Prompt) if p.split == "repository"][: self.prompts]
        name = f"snapshot-{step}"
        wanted = [
            Wanted(f"{name}-{p.number}", FOLDER, p.text, item_seed(run.common.seed, "validation", p.id), name) for p in prompts
        ]
        load_adapter(run, name, adapter)
        videos = make_clips(run, FOLDER, wanted, self.sample_steps, self.batch, self.guidance)
        lora.remove_adapter(run.family, name)
        return _mean_rewards(run, videos)


def area(identity: float, motion: float) -> float:
    """What a point spans above the origin."""
    return max(identity, 0.0) * max(motion, 0.0)


def _mean_rewards(run: Run, videos: Sequence[Video]) -> tuple[float, float]:
    judges = run.judges
    images = [read_photo(run.file(photo.image)) for photo in run.photos()]
    references = reference_faces(images, judges.detector, judges.face_reward)
    rewards = (IdentityReward(judges.face_reward, references), MotionReward(estimator_of(run.dir.settings())))
    fps, known = run.family.geometry.fps, (judges.face_reward, references)
    seen = [
        observe(read_video(run.file(v.file))[0], v.prompt, fps, judges.detector, *known)
        for v in run.each("validate", videos, len(videos))
    ]
    values = [[reward(video).value for video in seen] for reward in rewards]
    identity, motion = (float(np.mean(found)) if (found := [v for v in vs if np.isfinite(v)]) else 0.0 for vs in values)
    return identity, motion
