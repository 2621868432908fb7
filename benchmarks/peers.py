"""The preference step as peers write it: what `hpo_step` measures ours against.

After the published training scripts for diffusion DPO on video models with LoRA: a pair at a time, its prompt encoded in
the step, the noised winner and loser each through the policy, the adapter switched, each through the reference, the
adapter switched back, mean squared errors under autocast, one loss and one backward pass through both graphs, and every
block of the transformer under the library's own gradient checkpointing.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from magicid.core.device import autocast
from magicid.core.interfaces import Family
from magicid.training import lora
from magicid.training.preference import POLICY, REFERENCE
from magicid.training.timesteps import Draws


def peers_step(family: Family, clips: Sequence[tuple[Tensor, Tensor, str, int]], draws: Draws, beta: float) -> float:
    """Loss of pairs of (winner's latents, loser's latents, prompt, draw); leaves the gradient in the policy's weights."""
    transformer, total = family.transformer, 0.0
    device = next(transformer.parameters()).device
    transformer.enable_gradient_checkpointing()  # type: ignore[operator]
    for winner, loser, prompt, draw in clips:
        condition = family.encode_prompts([prompt])
        noise, t = draws.eps[draw : draw + 1].to(device), draws.t[draw : draw + 1].to(device)

        def error(clean: Tensor, noise: Tensor = noise, t: Tensor = t, condition: dict[str, Tensor] = condition) -> Tensor:
            clean = clean[None].to(device)
            with autocast(device):
                prediction = family.predict(family.law.add_noise(clean, noise, t), t, condition)
                return F.mse_loss(prediction.float(), family.law.target(clean, noise, t).float())

        with lora.using(family, POLICY):
            win, lose = error(winner), error(loser)
        with lora.using(family, REFERENCE), torch.no_grad():
            reference_win, reference_lose = error(winner), error(loser)
        loss = -F.logsigmoid(-0.5 * beta * ((win - reference_win) - (lose - reference_lose)))
        with lora.using(family, POLICY):
            (loss / len(clips)).backward()
        total += float(loss.detach()) / len(clips)
    transformer.disable_gradient_checkpointing()  # type: ignore[operator]
    return total
