"""Attention as two plain matrix products, for training on a CPU.

torch's fused attention has a slow backward pass there: pretraining ran at 27 clips a second with it, at 39 with this
(2 cores with AMX, bf16, compiled blocks). What is trained is the same function; the stock processor serves it.
"""

import torch
from diffusers.models.transformers.transformer_wan import WanAttention
from torch import Tensor


class PlainAttention:
    """A processor for `WanAttention`; L queries, M keys, D per head, rotary (cos, sin) of (1, L, 1, D) each.

    With `frame_tokens`, how many a frame has, attention stays within each frame: the weaker self of avatar/guided.py.
    """

    def __init__(self, frame_tokens: int = 0) -> None:
        self.frame_tokens = frame_tokens

    def __call__(
        self,
        attn: WanAttention,
        hidden_BLC: Tensor,
        text_BMC: Tensor | None = None,
        attention_mask: None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        source = hidden_BLC if text_BMC is None else text_BMC
        value = attn.to_v(source)
        query, key = attn.norm_q(attn.to_q(hidden_BLC)), attn.norm_k(attn.to_k(source))
        query, key, value = (x.unflatten(2, (attn.heads, -1)) for x in (query, key, value))
        if rotary_emb is not None:
            query, key = rotate(query, *rotary_emb), rotate(key, *rotary_emb)
        if self.frame_tokens:
            query, key, value = (x.reshape(-1, self.frame_tokens, *x.shape[2:]) for x in (query, key, value))
        query, key, value = (x.transpose(1, 2).to(value.dtype) for x in (query, key, value))
        logits = (query * query.shape[-1] ** -0.5) @ key.mT
        mixed = logits.softmax(-1, dtype=torch.float32).to(value.dtype) @ value
        output: Tensor = attn.to_out[0](mixed.transpose(1, 2).reshape(hidden_BLC.shape))
        return output


def rotate(x_BLHD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn neighbouring channels by the place's angle."""
    even, odd = x_BLHD.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[..., 0::2], sin[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)
