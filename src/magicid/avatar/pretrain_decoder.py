"""A last step of pretraining: the decoder learns to draw what the transformer says as sharply as clips are.

Trained on latents of clips alone, it draws what a small transformer leaves vague as it is said: faces blur, and flow finds
little on them to follow. Here clips are noised for a part of the way and taken back by the transformer, and the decoder
learns to draw of that the clips themselves. The encoder stays, and with it what latents mean to everything else.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from magicid.avatar.dataset import ClipStore
from magicid.avatar.pretrain_autoencoder import decode, head_weight, to_video
from magicid.avatar.pretrain_transformer import latents_scale
from magicid.core.device import autocast
from magicid.core.files import publish
from magicid.core.interfaces import Family
from magicid.core.seeds import item_seed
from magicid.training.loop import LoopSettings
from magicid.training.sampling import sample


@dataclass(frozen=True)
class DecoderSettings:
    """How long, and on what."""

    loop: LoopSettings = field(
        default=LoopSettings(
            steps=600, learning_rate=2e-4, weight_decay=0.0, warmup_steps=20, cosine=True, betas=(0.9, 0.99), ema_decay=0.98
        )
    )
    batch: int = 8  # windows of a step
    frames: int = 5  # of a window
    times: tuple[float, float] = (0.15, 0.65)  # clips are noised to one between these: later ones are other people's
    sample_steps: int = 10  # from noise to a clip; from these times, their share
    clean: float = 0.3  # share of windows with a clip's own latents, so that nothing is forgotten
    edges: float = 0.5  # weight of the error of differences between neighbouring pixels and frames


@torch.no_grad()
def taken_back(family: Family, store: ClipStore, cache: Path, settings: DecoderSettings, batch: int = 16) -> Tensor:
    """Latents (N, 2, C, F, H, W), fp16, of each clip: its own, and what `family` makes of them noised; kept in `cache`."""
    if not cache.exists():
        negative, parts = family.encode_prompts([""]), []
        for first in range(0, len(store), batch):
            numbers = range(first, min(first + batch, len(store)))
            own = family.encode(to_video(store.frames[first : first + batch]))
            seeds = [item_seed(store.seed, "decoder", store.first + i) for i in numbers]
            start = own, float(np.random.default_rng(seeds[0]).uniform(*settings.times))
            wanted = family.encode_prompts([store.item(i).sentence for i in numbers])
            shape = family.latents_shape(*store.frames.shape[1:4])
            made = sample(family, wanted, negative, seeds, shape, settings.sample_steps, start=start)
            parts.append(torch.stack((own, made), 1).half().cpu().numpy())
        pairs = np.concatenate(parts)
        publish(cache, lambda path: np.save(path, pairs))
    return torch.from_numpy(np.load(cache))


class DecoderLoss:
    """Errors of what is drawn, and of its edges in space and time, weighted towards the head."""

    def __init__(self, vae: AutoencoderKLWan, store: ClipStore, pairs: Tensor, settings: DecoderSettings, seed: int = 0) -> None:
        self.vae, self.store, self.pairs, self.settings, self.seed = vae, store, pairs, settings, seed
        self.mean, self.std = latents_scale(vae)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by its name in the autoencoder."""
        return {name: p for name, p in self.vae.named_parameters() if name.startswith(("decoder.", "post_quant_conv."))}

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng(item_seed(self.seed, "decoder", step, micro))
        length = self.settings.frames
        latents, frames, weights = [], [], []
        for clip in rng.integers(len(self.store), size=self.settings.batch):
            first = int(rng.integers(self.store.frames.shape[1] - length + 1))
            window = slice(first, first + length)
            latents.append(self.pairs[clip, int(rng.random() >= self.settings.clean), :, window])
            frames.append(self.store.frames[clip, window])
            weights.append(head_weight(self.store.boxes[clip, window], self.store.frames.shape[2]))
        video, weight = to_video(np.stack(frames)), torch.from_numpy(np.stack(weights))[:, None]
        with autocast(video.device):
            drawn = decode(self.vae, torch.stack(latents).float() * self.std + self.mean)
        error = drawn.float() - video
        missed = (weight * error.abs()).mean()
        steps = [error.diff(dim=d, append=error.narrow(d, -1, 1)) for d in (2, 3, 4)]
        edges = torch.stack([(weight * step.abs()).mean() for step in steps]).sum()
        return missed + self.settings.edges * edges, {"missed": float(missed.detach()), "edges": float(edges.detach())}
