"""Tencent's names for LoRA tensors, which ComfyUI and diffusers both load: q, k, v (and the MLP) are one layer there.

A fused layer's A is its members' A one under the other, its B their block diagonal; a member that was not trained has
zero rows in B. Left out: the text refiner, whose fused adapter diffusers fails to split.
"""

import re

import torch
from torch import Tensor
from torch.nn import functional as F

from magicid.core.errors import DataError
from magicid.export.renamed import Pair

MLP_RATIO = 4  # rows of a single block's `proj_mlp` over the width, in every released checkpoint
_FUSED = {
    ("double", "img_attn_qkv"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("double", "txt_attn_qkv"): ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    ("single", "linear1"): ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}
_ALONE = {
    ("double", "img_attn_proj"): "attn.to_out.0", ("double", "txt_attn_proj"): "attn.to_add_out",
    ("double", "img_mlp.fc1"): "ff.net.0.proj", ("double", "img_mlp.fc2"): "ff.net.2",
    ("double", "txt_mlp.fc1"): "ff_context.net.0.proj", ("double", "txt_mlp.fc2"): "ff_context.net.2",
    ("double", "img_mod.linear"): "norm1.linear", ("double", "txt_mod.linear"): "norm1_context.linear",
    ("single", "linear2"): "proj_out", ("single", "modulation.linear"): "norm.linear",
}  # fmt: skip
_LAYERS = _FUSED | {theirs: (ours,) for theirs, ours in _ALONE.items()}
_PLACE = {(kind, ours): theirs for (kind, theirs), members in _LAYERS.items() for ours in members}
_NAME = re.compile(r"(single_)?transformer_blocks\.(\d+)\.(.+)\.lora_A\.weight")


def _fuse(members: list[Pair | None], rows: list[int]) -> Pair:
    """One adapter of a fused layer from those of its members, of which at least one was trained."""
    like = next(pair[0] for pair in members if pair)
    pairs = [pair or (like[:0], like.new_zeros(n, 0)) for pair, n in zip(members, rows, strict=True)]
    return torch.cat([a for a, _ in pairs]), torch.block_diag(*[b for _, b in pairs])


def exported(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Our tensors by universal names, `scale` folded into B.

    Every layer gets the same rank, by zeros: without alphas, diffusers before 0.42 scales those of another rank wrongly.
    """
    groups: dict[tuple[str, str, str], dict[str, Pair]] = {}
    for name, a in tensors.items():
        if ".lora_B." in name:
            continue
        match = _NAME.fullmatch(name)
        kind = "single" if match and match[1] else "double"
        if not match or (kind, match[3]) not in _PLACE:
            raise DataError(f"{name}: has no place in Tencent's layout; train other layers (finetune.targets).")
        pair = a, tensors[name.replace(".lora_A.", ".lora_B.")] * scale
        groups.setdefault((kind, match[2], _PLACE[kind, match[3]]), {})[match[3]] = pair
    width = min(min(a.shape[1], b.shape[0]) for group in groups.values() for a, b in group.values())
    layers = {}
    for (kind, index, layer), group in groups.items():
        members = _LAYERS[kind, layer]
        rows = [MLP_RATIO * width if member == "proj_mlp" else width for member in members]
        pair = _fuse([group.get(m) for m in members], rows) if len(members) > 1 else group[members[0]]
        layers[f"{kind}_blocks.{index}.{layer}"] = pair
    if not any(name.endswith("img_attn_qkv") for name in layers):  # the layer by which diffusers knows the layout
        layers["double_blocks.0.img_attn_qkv"] = torch.zeros(1, width), torch.zeros(3 * width, 1)
    rank = max(a.shape[0] for a, _ in layers.values())
    result = {}
    for name, (a, b) in layers.items():
        result[f"diffusion_model.{name}.lora_A.weight"] = F.pad(a, (0, 0, 0, rank - a.shape[0])).contiguous()
        result[f"diffusion_model.{name}.lora_B.weight"] = F.pad(b, (0, rank - b.shape[1])).contiguous()
    return result


_UNIVERSAL = re.compile(r"diffusion_model\.(double|single)_blocks\.(\d+)\.(.+)")


def imported(pairs: dict[str, Pair]) -> dict[str, Pair]:
    """A and B of layers by our names, from those by universal ones; the inverse of `exported` at scale 1.

    What was fused is split; a member that was not trained comes back with a rank of 0, and ranks that are all zeros go.
    """
    found = {}
    for name, (a, b) in pairs.items():
        match = _UNIVERSAL.fullmatch(name)
        if not match or (match[1], match[3]) not in _LAYERS:
            raise DataError(f"{name!r:.100} is unexpected: no layer's name in Tencent's layout. Convert the file to it.")
        kind, index, layer = match.groups()
        members = _LAYERS[kind, layer]
        shares = [MLP_RATIO if member == "proj_mlp" else 1 for member in members]
        if b.shape[0] % sum(shares):
            raise DataError(f"{name!r:.100}: {b.shape[0]} rows are not those of {len(members)} layers. Export the file again.")
        rows = [share * b.shape[0] // sum(shares) for share in shares]
        block = "transformer_blocks" if kind == "double" else "single_transformer_blocks"
        for member, part in zip(members, b.split(rows), strict=True):
            used = part.any(0)
            found[f"{block}.{index}.{member}"] = a[used], part[:, used]
    return found
