"""A pool of clips on their way from noise to clean latents, each at a time of its own, as the sampler takes them there.

Reward feedback looks at what a network makes of its own clips, not of noised real ones. Drawing them anew for each step
would cost ten predictions for one that is learnt from; here a step takes the clips that it looks at one time further.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from magicid.core.diffusion import NoiseLaw, ddim_step
from magicid.core.seeds import item_seed, noise


class Trajectories:
    """`pool` clips of one shape (C, F, H, W), told of sentences of some `clips` of a store; `state` belongs into checkpoints.

    Clips that are named several times come as much more often.
    """

    def __init__(
        self, law: NoiseLaw, shape: tuple[int, ...], pool: int, sample_steps: int, clips: NDArray[np.integer], seed: int
    ) -> None:
        self.law, self.times, self.clips, self.seed = law, law.times(sample_steps).flip(0), clips, seed
        x, clip, left = torch.zeros(pool, *shape), torch.zeros(pool), torch.zeros(pool)  # floats, as all in a checkpoint
        tensors = {"x": x, "clip": clip, "left": left}  # left: sampling steps to the clean clip
        self.state = {f"trajectories.{name}": nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()}
        self._begin(-1, torch.arange(pool))

    def look(self, turn: int, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Which of them a turn looks at: places (B,), latents (B, C, F, H, W), times (B,) and clips of the store (B,)."""
        rng = np.random.default_rng(item_seed(self.seed, "trajectories", "look", turn))
        x, clip, left = self.state.values()
        places = torch.from_numpy(rng.choice(len(x), batch, replace=False))
        return places, x[places], self.times[left[places].long()], clip[places].long()

    @torch.no_grad()
    def advance(self, turn: int, places: Tensor, prediction: Tensor) -> None:
        """Take these one sampling step further; those that arrive begin anew. What is not finite changes nothing."""
        x, _, left = self.state.values()
        now = left[places].long()
        after = ddim_step(self.law, x[places], prediction, self.times[now], self.times[now - 1])
        if bool(after.isfinite().all()):
            x[places], left[places] = after, left[places] - 1
            self._begin(turn, places[left[places] == 0])

    @torch.no_grad()
    def _begin(self, turn: int, places: Tensor) -> None:
        """Noise, told of the sentence of some clip."""
        x, clip, left = self.state.values()
        rng = np.random.default_rng(item_seed(self.seed, "trajectories", "begin", turn))
        for place in places.tolist():
            x[place] = noise(tuple(x.shape[1:]), self.seed, "trajectories", turn, place)
            clip[place], left[place] = int(rng.choice(self.clips)), len(self.times) - 1
