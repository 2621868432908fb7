"""The judges' networks: small, of different architectures where one rewards and another reports, and cheap on a CPU.

Pictures are fp32 in -1..1, shapes as in the names' suffixes: B batch, T frames, C channels, H, W pixels, L tokens,
D embedding. Only group and layer norms: a network is its parameters, without running statistics.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

SIZE, FRAMES, CROP = 64, 17, 32  # pixels of a frame, frames of a clip, pixels of an aligned face
EMBEDDING = 128
CELL = 4  # pixels of a heat-map cell


def to_input(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 pictures (..., H, W, 3) to (..., 3, H, W) in -1..1."""
    return torch.tensor(frames).movedim(-1, -3).float() / 127.5 - 1


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, group norm (8 channels a group), SiLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.GroupNorm(outputs // 8, outputs), nn.SiLU())


class Residual(nn.Module):
    """Adds what its layers say."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.layers(x)
        return x + added


class HeadDetector(nn.Module):
    """CenterNet in small: heat, box and landmarks for each 4-pixel cell of a 64-pixel picture."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        blocks = [Residual(conv(width, width), conv(width, width)) for _ in range(3)]
        self.body = nn.Sequential(conv(3, 24, 2), conv(24, width, 2), *blocks)
        self.heads = nn.Conv2d(width, 15, 1)
        nn.init.constant_(self.heads.bias, 0)  # type: ignore[arg-type]
        self.heads.bias.data[0] = -4  # type: ignore[union-attr]  # faces are rare

    def forward(self, pictures_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Heat logits (B, h, w); places (B, h, w, 14) in 64ths of the picture: x0, y0, x1, y1, five landmarks x, y."""
        if pictures_BCHW.shape[-2:] != (SIZE, SIZE):
            pictures_BCHW = F.interpolate(pictures_BCHW, (SIZE, SIZE), mode="bilinear", antialias=True)
        heat, offsets = self.heads(self.body(pictures_BCHW)).movedim(1, -1).split((1, 14), -1)
        middle = (torch.arange(SIZE // CELL, device=heat.device) + 0.5) * CELL
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        return heat[..., 0], 16 * offsets + torch.stack((x, y), -1).repeat(1, 1, 7)


class ResNetFace(nn.Module):
    """Residual convolutions on aligned 32-pixel faces; unit vectors (B, 128)."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for inputs, outputs in ((32, 48), (48, 80), (80, 96)):
            stages += [conv(inputs, outputs, 2), Residual(conv(outputs, outputs), conv(outputs, outputs))]
        self.body = nn.Sequential(conv(3, 32), *stages, nn.Flatten(), nn.LayerNorm(96 * 16))
        self.head = nn.Linear(96 * 16, EMBEDDING)

    def forward(self, crops_BCHW: Tensor) -> Tensor:
        return F.normalize(self.head(self.body(crops_BCHW)), dim=-1)


class PatchFace(nn.Module):
    """ConvMixer on 4-pixel patches of aligned 32-pixel faces; unit vectors (B, 128)."""

    def __init__(self, width: int = 192, depth: int = 6) -> None:
        super().__init__()
        mixers: list[nn.Module] = []
        for _ in range(depth):
            mixers += [
                Residual(nn.Conv2d(width, width, 5, padding=2, groups=width), nn.GELU(), nn.GroupNorm(1, width)),
                Residual(nn.Conv2d(width, width, 1), nn.GELU(), nn.GroupNorm(1, width)),
            ]
        self.body = nn.Sequential(nn.Conv2d(3, width, 6, 4, 1), nn.GELU(), nn.GroupNorm(1, width), *mixers)
        self.head = nn.Sequential(nn.Conv2d(width, 24, 1), nn.Flatten(), nn.LayerNorm(24 * 64), nn.Linear(24 * 64, EMBEDDING))

    def forward(self, crops_BCHW: Tensor) -> Tensor:
        return F.normalize(self.head(self.body(crops_BCHW)), dim=-1)


def with_motion(video_BTCHW: Tensor) -> Tensor:
    """Every second frame with its differences to the frames before and after it: (B, (T+1)/2, 9, H, W)."""
    steps = video_BTCHW[:, 1:] - video_BTCHW[:, :-1]
    none = torch.zeros_like(steps[:, :1])
    before, after = torch.cat((none, steps), 1), torch.cat((steps, none), 1)
    return torch.cat((video_BTCHW, 2 * before, 2 * after), 2)[:, ::2]


class FrameByFrame(nn.Module):
    """2-D convolutions on each frame with its motion, then 1-D ones over time: (B, T, 3, 64, 64) to (B, 2 * width)."""

    def __init__(self, width: int = EMBEDDING) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            conv(9, 24, 2), conv(24, 48, 2), Residual(conv(48, 48), conv(48, 48)),
            conv(48, 80, 2), Residual(conv(80, 80), conv(80, 80)), conv(80, 96, 2),
            nn.Flatten(), nn.Linear(96 * 16, width),
        )  # fmt: skip
        steps = [(nn.Conv1d(width, width, 3, padding=1), nn.SiLU(), nn.Conv1d(width, width, 1)) for _ in range(3)]
        self.time = nn.Sequential(*(Residual(nn.GroupNorm(8, width), *layers) for layers in steps))

    def forward(self, video_BTCHW: Tensor) -> Tensor:
        x = with_motion(video_BTCHW)
        x_BDT = self.time(self.frame(x.flatten(0, 1)).unflatten(0, x.shape[:2]).transpose(1, 2))
        return torch.cat((x_BDT.mean(-1), x_BDT.amax(-1)), -1)


class TruthClassifier(nn.Module):
    """Logits of each field of a clip's truth, by the field's name."""

    def __init__(self, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.body = FrameByFrame()
        self.penultimate = nn.Sequential(nn.Linear(2 * EMBEDDING, EMBEDDING), nn.LayerNorm(EMBEDDING), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(EMBEDDING, count) for name, count in classes.items()})

    def features(self, video_BTCHW: Tensor) -> Tensor:
        """(B, 128), what the last layer reads."""
        features: Tensor = self.penultimate(self.body(video_BTCHW))
        return features

    def forward(self, video_BTCHW: Tensor) -> dict[str, Tensor]:
        features = self.features(video_BTCHW)
        return {name: head(features) for name, head in self.heads.items()}


class Words:
    """Sentences to word numbers: 0 pads, known words have their own, the others share 64 by their spelling."""

    def __init__(self, known: Sequence[str], length: int = 40) -> None:
        self.numbers = {word: 65 + i for i, word in enumerate(known)}
        self.size, self.length = 65 + len(known), length

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """(N, L) int64, cut at `length` words; L is the longest sentence's length, at least 1."""
        rows = [
            [self.numbers.get(word, 1 + sum(word.encode()) % 64) for word in re.findall(r"[a-z]+", sentence.lower())]
            for sentence in sentences
        ]
        longest = max(1, min(self.length, max(map(len, rows), default=0)))
        return torch.tensor([(row + [0] * longest)[:longest] for row in rows], dtype=torch.int64).reshape(-1, longest)


class VideoTextNetwork(nn.Module, ABC):
    """What both video-text networks share: the joint space, the words and the learned temperature."""

    video: nn.Module  # (B, T, 3, 64, 64) -> (B, anything)
    video_out: nn.Linear
    text_out: nn.Linear

    def __init__(self, known: Sequence[str], width: int) -> None:
        super().__init__()
        self.words = Words(known)
        self.embedding = nn.Embedding(self.words.size, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.log_scale = nn.Parameter(torch.tensor(log(10.0)))

    @abstractmethod
    def read(self, embedded_BLD: Tensor, there_BL: Tensor) -> Tensor:
        """Word vectors in their context, (B, L, D)."""

    def embed_text(self, sentences: Sequence[str]) -> Tensor:
        """Unit vectors (N, 128)."""
        tokens = self.words(sentences).to(self.log_scale.device)
        there = tokens > 0
        there[:, 0] = True  # an empty sentence is one padding word
        x_BLD = self.read(self.embedding(tokens), there)
        mean = (x_BLD * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        return F.normalize(self.text_out(torch.cat((mean, x_BLD.masked_fill(~there[..., None], -1e4).amax(1)), -1)), dim=-1)

    def embed_video(self, video_BTCHW: Tensor) -> Tensor:
        """Unit vectors (B, 128)."""
        return F.normalize(self.video_out(self.video(video_BTCHW)), dim=-1)


class ConvVideoText(VideoTextNetwork):
    """Convolutions over pixels, frames and words."""

    def __init__(self, known: Sequence[str], width: int = 96) -> None:
        super().__init__(known, width)
        self.video = FrameByFrame()
        self.near, self.far = nn.Conv1d(width, width, 3, padding=1), nn.Conv1d(width, width, 3, padding=1)
        self.video_out, self.text_out = nn.Linear(2 * EMBEDDING, EMBEDDING), nn.Linear(2 * width, EMBEDDING)

    def read(self, embedded_BLD: Tensor, there_BL: Tensor) -> Tensor:
        x_BDL, there = embedded_BLD.transpose(1, 2), there_BL[:, None]
        for layer in (self.near, self.far):
            x_BDL = x_BDL + F.silu(layer(x_BDL * there))
        return x_BDL.transpose(1, 2)


def transformer(width: int, depth: int, expansion: int) -> nn.TransformerEncoder:
    """Pre-norm layers with 4 heads."""
    layer = nn.TransformerEncoderLayer(width, 4, expansion * width, 0.0, F.gelu, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)


class Tubelets(nn.Module):
    """A transformer on tokens of 8 x 8 pixels and 6 frames: (B, T, 3, 64, 64) to (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(9, 32, 7, 4, 3), nn.GELU())
        self.tubelet = nn.Conv3d(32, width, (3, 2, 2), (3, 2, 2))
        self.place = nn.Parameter(0.02 * torch.randn((FRAMES + 1) // 6 * (SIZE // 8) ** 2, width))
        self.body = transformer(width, 3, 4)

    def forward(self, video_BTCHW: Tensor) -> Tensor:
        x = with_motion(video_BTCHW)
        x_BCTHW = self.stem(x.flatten(0, 1)).unflatten(0, x.shape[:2]).transpose(1, 2)
        tokens: Tensor = self.body(self.tubelet(x_BCTHW).flatten(2).transpose(1, 2) + self.place)
        return tokens.mean(1)


class AttentionVideoText(VideoTextNetwork):
    """Transformers on tubelets and on words."""

    def __init__(self, known: Sequence[str], width: int = 112) -> None:
        super().__init__(known, width)
        self.video = Tubelets(width)
        self.order = nn.Parameter(0.02 * torch.randn(self.words.length, width))
        self.text = transformer(width, 2, 2)
        self.video_out, self.text_out = nn.Linear(width, EMBEDDING), nn.Linear(2 * width, EMBEDDING)

    def read(self, embedded_BLD: Tensor, there_BL: Tensor) -> Tensor:
        x_BLD: Tensor = self.text(embedded_BLD + self.order[: embedded_BLD.shape[1]], src_key_padding_mask=~there_BL)
        return x_BLD
