"""Last step of pretraining: the transformer hears what reward models say of its own clips (avatar/feedback.py).

Flow matching asks for the mean of what may be, and a small network's own clips drift from it: each frame's face is drawn
almost by itself. Here each step takes some clips one sampling step further and makes the clean clips that it predicts of
them more like one person who moves, not far from what the weights before predict.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from magicid.avatar.dataset import ClipStore
from magicid.avatar.face_look import FaceLook
from magicid.avatar.feedback import FeedbackWeights, RewardModels
from magicid.avatar.flow_feedback import FlowReward
from magicid.avatar.guided import Teacher
from magicid.avatar.pretrain_autoencoder import decode
from magicid.avatar.pretrain_transformer import TextToLatents, latents_scale, latents_shape, tokens
from magicid.avatar.prompts import describe
from magicid.avatar.trajectories import Trajectories
from magicid.avatar.truth import ACTIONS
from magicid.core.device import autocast
from magicid.core.diffusion import FlowMatching
from magicid.core.interfaces import Geometry
from magicid.core.seeds import item_seed
from magicid.media.video import to_tensor
from magicid.training.loop import LoopSettings

FLOW_BELOW = 0.8  # above this time a predicted clip is too vague for flow
OVER = 1.2  # pixels count up to so far beyond -1..1: at 1 those that are a little too bright would get no gradient


@dataclass(frozen=True)
class FeedbackSettings:
    """How long and how hard."""

    loop: LoopSettings = field(
        default=LoopSettings(steps=1200, learning_rate=8e-5, weight_decay=0.0, betas=(0.9, 0.99), ema_decay=0.97)
    )
    batch: int = 8  # clips of a step
    pool: int = 48  # clips on their way at once
    sample_steps: int = 16  # from noise to a clip
    often: tuple[str, ...] = ("sways", "sways", "waves", "laughs", "looks")  # actions that come once more for each time here
    weights: FeedbackWeights = field(default=FeedbackWeights())


class FeedbackLoss:
    """Rewards of the clips that a step looks at, and how far the network is from the weights before, swing and all.

    The unconditional prediction, from which guidance departs, is neither trained nor held.
    """

    def __init__(
        self,
        model: TextToLatents,
        before: Teacher,
        vae: AutoencoderKLWan,
        tokenizer: PreTrainedTokenizerFast,
        store: ClipStore,
        geometry: Geometry,
        rewards: RewardModels,
        settings: FeedbackSettings,
        seed: int = 0,
    ) -> None:
        self.model, self.before, self.vae, self.tokenizer, self.store = model, before, vae, tokenizer, store
        self.geometry, self.rewards, self.settings, self.law = geometry, rewards, settings, FlowMatching()
        shape, (pool, steps) = latents_shape(vae), (settings.pool, settings.sample_steps)
        times = [1 + settings.often.count(store.item(i).truth.action) for i in range(len(store))]
        clips = np.repeat(np.arange(len(store)), times)
        self.trajectories = Trajectories(self.law, shape, pool, steps, clips, seed)
        self.face_look = FaceLook(store) if settings.weights.face else None
        self.flow = FlowReward(store, settings.weights.aim) if settings.weights.flow else None
        self.mean, self.std = latents_scale(vae)
        self.nothing = tokens(tokenizer, [""] * settings.batch)

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        turn = step * self.settings.loop.micro_batches + micro
        places, x_t, t_B, clips = self.trajectories.look(turn, self.settings.batch)
        actions, sentences = zip(*(self._sentences(int(clip)) for clip in clips), strict=True)
        prompt = tokens(self.tokenizer, [choice[action] for action, choice in zip(actions, sentences, strict=True)])
        with autocast(x_t.device):
            target = self.before(x_t, t_B, *prompt)
            velocity = self.model(x_t, t_B, *prompt).float()
            with torch.no_grad():
                unconditional = self.model(x_t, t_B, *self.nothing).float()
            g = self.geometry
            scale = torch.where(t_B < g.guidance_until, g.guidance_after, g.guidance).reshape(-1, 1, 1, 1, 1)
            guided = unconditional + scale * (velocity - unconditional)
            clean, _ = self.law.clean_and_noise(x_t, guided, t_B)
            video = decode(self.vae, clean * self.std + self.mean).float().clamp(-OVER, OVER)
        rewards = self.rewards(video, to_tensor(self.store.frames[clips.numpy()]), list(sentences), torch.tensor(actions))
        weights, gone = self.settings.weights, velocity - target
        loss_B, gap_B, measured_B = rewards.loss(weights), torch.zeros(len(t_B)), torch.zeros(len(t_B), dtype=torch.bool)
        if self.flow is not None:
            measured_B = rewards.followed_B & (t_B < FLOW_BELOW)
            gap_B = self.flow(video, rewards.boxes_BF4, clips.tolist(), measured_B)
            loss_B = loss_B + weights.flow * F.smooth_l1_loss(gap_B, torch.zeros_like(gap_B), reduction="none")
        odd_B = torch.zeros(len(t_B))
        if self.face_look is not None:  # of all frames: where no head is sure, the likeliest place is to look like a face
            odd_B = self.face_look(rewards.crops_BFCHW.flatten(0, 1)).reshape(len(t_B), -1).mean(1)
            loss_B = loss_B + weights.face * odd_B
        self.trajectories.advance(turn, places, guided.detach())
        distance, look = gone.square().mean(), gone.mean(2).square().mean()
        fed = (loss_B * (1 - t_B)).mean()  # what is mostly noise still can hardly be judged
        logged = {
            "distance": distance, "look": look, "within": rewards.within_B.mean(), "across": rewards.across_B.mean(),
            "speed": rewards.speed_B2.mean(), "action": rewards.action_B.mean(), "seen": rewards.seen_B.mean(),
            "lost": rewards.lost_B.mean(), "leaps": rewards.leaps_B.mean(), "odd": odd_B.mean(),
            "followed": rewards.followed_B.float().mean(), "measured": measured_B.float().mean(),
            "gap": gap_B.sum() / measured_B.sum().clamp(min=1),
        }  # fmt: skip
        return weights.anchor * distance + weights.look * look + fed, {k: float(v.detach()) for k, v in logged.items()}

    def _sentences(self, clip: int) -> tuple[int, list[str]]:
        """Which action clip `clip` of the store shows, and its sentence with each action in the place of that one."""
        truth, phrasing = self.store.item(clip).truth, item_seed(clip, "feedback-sentence")
        told = [describe(replace(truth, action=action), np.random.default_rng(phrasing)) for action in ACTIONS]
        return ACTIONS.index(truth.action), told
