"""A last step of pretraining: the transformer hears what the judges say of its own clips (avatar/feedback.py).

Flow matching asks for the mean of what may be, and a small network's own clips drift from it: each frame's face is drawn
almost by itself. Here each step takes some clips one sampling step further and makes the clean clips that it predicts of
them more like one person who moves, not far from what the weights before predict.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from magicid.avatar.dataset import ClipStore
from magicid.avatar.feedback import Feedback, Listener
from magicid.avatar.guided import Teacher
from magicid.avatar.pretrain_autoencoder import decode
from magicid.avatar.pretrain_transformer import TOKENS, TextToLatents
from magicid.avatar.prompts import describe
from magicid.avatar.trajectories import Trajectories
from magicid.avatar.truth import ACTIONS
from magicid.core.device import autocast
from magicid.core.interfaces import Geometry
from magicid.core.seeds import item_seed
from magicid.training.loop import LoopSettings


@dataclass(frozen=True)
class FeedbackSettings:
    """How long and how hard."""

    loop: LoopSettings = field(
        default=LoopSettings(steps=750, learning_rate=5e-5, weight_decay=0.0, betas=(0.9, 0.99), ema_decay=0.97)
    )
    batch: int = 8  # clips of a step
    clips: int = 48  # on their way at once
    times: int = 16  # sampling steps from noise to a clip
    weights: Feedback = field(default=Feedback())


class FeedbackLoss:
    """What is heard of the clips that a step looks at, and how far the network has gone from the weights before."""

    def __init__(
        self,
        model: TextToLatents,
        before: Teacher,
        vae: AutoencoderKLWan,
        tokenizer: PreTrainedTokenizerFast,
        store: ClipStore,
        latents: Tensor,
        geometry: Geometry,
        settings: FeedbackSettings,
        seed: int,
    ) -> None:
        self.model, self.before, self.vae, self.tokenizer, self.store = model, before, vae, tokenizer, store
        self.geometry, self.settings, self.listener = geometry, settings, Listener()
        self.trajectories = Trajectories(latents, settings.clips, settings.times, seed)
        self.mean, self.std = (
            torch.tensor(values).reshape(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        self.nothing = self._tokens([""] * settings.batch)

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        places, x_t, t_B, clips = self.trajectories.look(step, self.settings.batch)
        actions, sentences = zip(*(self._sentences(int(clip)) for clip in clips), strict=True)
        told = self._tokens([choice[action] for action, choice in zip(actions, sentences, strict=True)])
        t = t_B.reshape(-1, 1, 1, 1, 1)
        with autocast(x_t.device):
            said = self.before(x_t, t_B, *told)
            velocity = self.model(x_t, t_B, *told).float()
            with torch.no_grad():
                untold = self.model(x_t, t_B, *self.nothing).float()
            scale = 1 + (self.geometry.guidance - 1) * (t >= self.geometry.guidance_until)
            drawn = untold + scale * (velocity - untold)
            video = decode(self.vae, (x_t - t * drawn) * self.std + self.mean)
        real = torch.from_numpy(self.store.landmarks[clips.numpy()])
        heard = self.listener(video.float().clamp(-1.2, 1.2), real, list(sentences), torch.tensor(actions))
        self.trajectories.advance(step, places, drawn.detach())
        weights, gone = self.settings.weights, velocity - said
        distance, look = gone.square().mean(), gone.mean(2).square().mean()
        fed = (heard.loss(weights) * (1 - t_B)).mean()  # what is mostly noise still can hardly be judged
        logged = {
            "distance": distance, "look": look, "within": heard.within_B.mean(), "across": heard.across_B.mean(),
            "speed": heard.speed_B2.mean(), "action": heard.action_B.mean(), "seen": heard.seen_B.mean(),
        }  # fmt: skip
        return weights.anchor * distance + weights.look * look + fed, {k: float(v.detach()) for k, v in logged.items()}

    def _sentences(self, clip: int) -> tuple[int, list[str]]:
        """Which action clip `clip` of the store shows, and its sentence with each action in the place of that one."""
        truth, phrasing = self.store.item(clip).truth, item_seed(clip, "feedback-sentence")
        told = [describe(replace(truth, action=action), np.random.default_rng(phrasing)) for action in ACTIONS]
        return ACTIONS.index(truth.action), told

    def _tokens(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        read = self.tokenizer(sentences, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
        return read.input_ids, read.attention_mask
