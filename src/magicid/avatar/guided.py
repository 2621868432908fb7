"""A target that writes guidance into the weights: what a network says, moved away from what a weaker self would say.

A trained network shrinks what it is not sure of. So, step by step, its own clips lose motion and draw each frame's face
almost by itself. Kept from looking at other frames it says less of what frames share, and a step away from that restores
it (perturbed attention, arXiv:2403.17377; for video, arXiv:2411.18664). While sampling that costs one prediction more a
step and is in no stock pipeline. Here a frozen copy, the teacher, says it about noised clips, and the network learns to
say it by itself (arXiv:2210.03142).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from magicid.avatar.plain_attention import PlainAttention

if TYPE_CHECKING:
    from magicid.avatar.pretrain_transformer import TextToLatents

WEAKER_FROM = 2  # blocks before this one look at all frames in the weaker self too
FRAMES_BELOW = 0.8  # above this time motion is still being decided, and the step between frames would shrink it
SWING_ABOVE = 0.5  # below this time motion is decided, and the swing would only raise contrast


@dataclass(frozen=True)
class Guided:
    """How far the target goes; all 0: no teacher, the target is the data's."""

    between_frames: float = 0.0  # weight of the step away from self-attention that stays within each frame
    swing: float = 0.0  # the predicted clip's departure from its mean frame is enlarged by so much of itself

    def __bool__(self) -> bool:
        return bool(self.between_frames or self.swing)


class Teacher:
    """`model`, which nobody trains, under guidance; a frame has `frame_tokens` tokens."""

    def __init__(self, model: "TextToLatents", guided: Guided, frame_tokens: int) -> None:
        self.model, self.guided, self.frame_tokens = model, guided, frame_tokens

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t_B: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """The guided velocity, fp32, of noised clips (B, C, F, H, W) at times above 0, told of sentences."""
        t = t_B.reshape(-1, 1, 1, 1, 1)
        text = self.model.text(ids_BL, mask_BL)
        weaker = self._say(self.frame_tokens, x_t, t_B, text) if self.guided.between_frames else None
        wanted = plain = self._say(0, x_t, t_B, text)
        if weaker is not None:
            wanted = plain + self.guided.between_frames * (t < FRAMES_BELOW) * (plain - weaker)
        clean = x_t - t * wanted
        return wanted - self.guided.swing * (t > SWING_ABOVE) * (clean - clean.mean(2, keepdim=True)) / t

    def _say(self, frame_tokens: int, x_t: Tensor, t_B: Tensor, text_BLD: Tensor) -> Tensor:
        for block in self.model.transformer.blocks[WEAKER_FROM:]:
            block.attn1.set_processor(PlainAttention(frame_tokens))
        velocity: Tensor = self.model.transformer(x_t, t_B * 1000, text_BLD, return_dict=False)[0]
        return velocity.float()
