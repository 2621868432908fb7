"""A part of pretraining after the others: the decoder learns to draw what the transformer says as sharply as clips are.

Trained on latents of clips alone, it draws what a small transformer leaves vague as it is said: faces blur, and flow finds
little on them to follow. Here clips are noised for a part of the way and taken back by the transformer, and the decoder
learns to draw of that the clips themselves. The encoder stays, and with it what latents mean to everything else.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from magicid.avatar.dataset import ClipStore
from magicid.avatar.pretrain_autoencoder import decode, head_weight, to_video
from magicid.avatar.pretrain_transformer import latents_scale
from magicid.core.checks import at_least, within
from magicid.core.device import autocast
from magicid.core.files import publish
from magicid.core.interfaces import Family
from magicid.core.seeds import item_seed
from magicid.training.loop import LoopSettings
from magicid.training.sampling import sample

CLIPS = 1000  # at most: more than a training looks at


@dataclass(frozen=True)
class DecoderSettings:
    """How long, and on what."""

    loop: LoopSettings = field(
        default=LoopSettings(
            steps=400, learning_rate=2e-4, weight_decay=0.0, warmup_steps=20, cosine=True, betas=(0.9, 0.99), ema_decay=0.98
        )
    )
    batch: int = 3  # clips of a step, whole: the decoder looks back over twenty frames
    least_back: int = 2  # sampling steps that clips are taken back: so many at least,
    most_back: int = 6  # and at most, since from further off another person comes back
    sample_steps: int = 10  # from noise to a clip
    clean: float = 0.5  # share of clips with their own latents, so that nothing is forgotten
    edges: float = 0.5  # weight of the error of differences between neighbouring pixels and frames

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("decoder", 1, batch=self.batch, least_back=self.least_back)
        at_least("decoder", self.least_back, most_back=self.most_back)
        at_least("decoder", self.most_back, sample_steps=self.sample_steps)
        at_least("decoder", 0, edges=self.edges)
        within("decoder", 0, 1, clean=self.clean)


@torch.no_grad()
def own_and_made(family: Family, store: ClipStore, folder: Path, settings: DecoderSettings, batch: int = 16) -> Tensor:
    """Latents (N, 2, C, F, H, W), fp16, of each clip: its own, and what `family` makes of them noised; kept in `folder`."""
    seeds = [item_seed(store.seed, "decoder", store.first + clip) for clip in range(len(store))]
    back = [int(np.random.default_rng(seed).integers(settings.least_back, settings.most_back + 1)) for seed in seeds]
    shape, negative = family.latents_shape(*store.frames.shape[1:4]), family.encode_prompts([""])
    times, latents = family.law.times(settings.sample_steps).flip(0), torch.empty(len(store), 2, *shape, dtype=torch.float16)
    for steps in sorted(set(back)):
        alike = [clip for clip, taken in enumerate(back) if taken == steps]
        for first in range(0, len(alike), batch):
            part, path = alike[first : first + batch], folder / f"{steps}-{first}.npy"
            if not path.exists():
                own = family.encode(to_video(store.frames[part]))
                wanted = family.encode_prompts([store.item(clip).sentence for clip in part])
                start = own, float(times[steps])
                made = sample(family, wanted, negative, [seeds[i] for i in part], shape, settings.sample_steps, start=start)
                publish(path, partial(np.save, arr=torch.stack((own, made), 1).half().cpu().numpy()))
            latents[part] = torch.from_numpy(np.load(path))
    return latents


class DecoderLoss:
    """Errors of what is drawn, and of its edges in space and time, weighted towards the head."""

    def __init__(
        self, vae: AutoencoderKLWan, store: ClipStore, latents_N2: Tensor, settings: DecoderSettings, seed: int = 0
    ) -> None:
        self.vae, self.store, self.latents_N2, self.settings, self.seed = vae, store, latents_N2, settings, seed
        self.mean, self.std = latents_scale(vae)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by its name in the autoencoder."""
        return {name: p for name, p in self.vae.named_parameters() if name.startswith(("decoder.", "post_quant_conv."))}

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng(item_seed(self.seed, "decoder", step, micro))
        clips = rng.integers(len(self.store), size=self.settings.batch)
        made = rng.random(self.settings.batch) >= self.settings.clean
        video, size = to_video(self.store.frames[clips]), self.store.frames.shape[2]
        weight = torch.from_numpy(np.stack([head_weight(self.store.boxes[clip], size) for clip in clips]))[:, None]
        with autocast(video.device):
            drawn = decode(self.vae, self.latents_N2[clips, made.astype(int)].float() * self.std + self.mean)
        missed, edges = errors(drawn.float() - video, weight)
        return missed + self.settings.edges * edges, {"missed": float(missed.detach()), "edges": float(edges.detach())}


def errors(error_BCFHW: Tensor, weight_B1FHW: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means of an error's size, and of its change from frame to frame, row to row and column to column, summed."""
    changes = [error_BCFHW.diff(dim=d, append=error_BCFHW.narrow(d, -1, 1)) for d in (2, 3, 4)]
    missed, *edges = ((weight_B1FHW * part.abs()).mean() for part in (error_BCFHW, *changes))
    return missed, torch.stack(edges).sum()
