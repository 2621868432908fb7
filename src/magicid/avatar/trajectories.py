"""Clips on their way from noise to clean latents, each at its own time, as the sampler takes them there.

Reward feedback looks at what a network makes of its own clips, not of noised real ones. Drawing them anew for each step
would cost ten predictions for one that is learnt from; here a step takes the clips that it looks at one time further.
"""

import numpy as np
import torch
from torch import Tensor, nn

from magicid.core.seeds import item_seed, noise


class Trajectories:
    """`count` clips; their tensors, `state`, belong into a training's checkpoints."""

    def __init__(self, latents: Tensor, count: int, times: int, seed: int) -> None:
        """Real clips of `latents` (N, C, F, H, W) noised to all of the `times` between clean and noise."""
        self.times, self.seed, self.clips = times, seed, len(latents)
        rng = np.random.default_rng(item_seed(seed, "feedback", "begin"))
        clips, left = torch.from_numpy(rng.integers(len(latents), size=count)), torch.arange(count) % times + 1
        t = (left / times).reshape(-1, 1, 1, 1, 1)
        x = (1 - t) * latents[clips].float() + t * noise(tuple(latents[clips].shape), seed, "feedback", "begin")
        x = x.contiguous()  # as a checkpoint gives it back: kernels round by how a tensor lies in memory
        self.state = {  # floats, as all that a checkpoint holds
            "trajectories.x": nn.Parameter(x, requires_grad=False),
            "trajectories.clip": nn.Parameter(clips.float(), requires_grad=False),  # whose sentence each is told
            "trajectories.left": nn.Parameter(left.float(), requires_grad=False),  # sampling steps to the clean clip
        }

    def look(self, step: int, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Which of them a step looks at: places (B,), latents (B, C, F, H, W), times (B,) and clips of the store (B,)."""
        rng = np.random.default_rng(item_seed(self.seed, "feedback", "look", step))
        places = torch.from_numpy(rng.choice(len(self.state["trajectories.x"]), batch, replace=False))
        x, clips, left = (self.state[f"trajectories.{name}"][places] for name in ("x", "clip", "left"))
        return places, x, left / self.times, clips.long()

    @torch.no_grad()
    def advance(self, step: int, places: Tensor, velocity: Tensor) -> None:
        """Take these one sampling step further; those that have arrived begin anew, as noise told of another clip's sentence."""
        x, clips, left = (self.state[f"trajectories.{name}"] for name in ("x", "clip", "left"))
        x[places] -= velocity / self.times
        left[places] -= 1
        rng = np.random.default_rng(item_seed(self.seed, "feedback", "anew", step))
        for place in places[left[places] == 0].tolist():
            x[place] = noise(tuple(x[place].shape), self.seed, "feedback", "anew", step, place)
            clips[place], left[place] = int(rng.integers(self.clips)), self.times
