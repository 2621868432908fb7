"""A model's steps walked through with tensors that have shapes and no data: what they will hold in memory, and their FLOPs.

The family's own code runs on torch's fake tensors, its transformer and autoencoder made from their configurations. So
every architecture, recompute level and size is counted and none is modelled; a 13B step takes seconds, and no memory.
Not seen: what kernels allocate inside themselves, and the text encoders at work (they are silent here, and small).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.utils.logging import disable_progress_bar
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only
from transformers.modeling_outputs import BaseModelOutputWithPooling

from magicid.core import tables
from magicid.core.interfaces import Condition, Family
from magicid.core.live_memory import LiveMemory
from magicid.core.model_folder import shapes_alone
from magicid.training import lora
from magicid.training.recompute import Level, recomputing

ADAPTER = "rehearsed"


class Seen(NamedTuple):
    """What a piece of work came to."""

    bytes: int  # alive at once beside weights and inputs
    flops: int


@dataclass
class Rehearsal:
    """A family without weights, whose steps can be walked through; `mixed`: in bf16 autocast, as a GPU does."""

    family: Family
    mixed: bool
    _mode: FakeTensorMode = field(default_factory=lambda: FakeTensorMode(allow_non_fake_inputs=True))

    @classmethod
    def of(cls, path: Path, name: str, dtype: torch.dtype, mixed: bool, adapter: lora.LoraSettings) -> "Rehearsal":
        """From a folder in the diffusers layout; weights need not be there."""
        disable_progress_bar()
        with shapes_alone():
            family: Family = tables.load(tables.FAMILIES, "family", name).load(path, dtype)
        silence(family)
        lora.add_adapter(family, ADAPTER, adapter)
        return cls(family, mixed)

    def __post_init__(self) -> None:
        self.condition: Condition = self.family.encode_prompts(["a person"])
        parts = self.family.pipeline.components.values()
        with self._mode:
            for part in parts:
                if isinstance(part, nn.Module) and part not in [encoder for _, encoder in self.family.text_encoders]:
                    _materialise(part)

    def train(self, shape: tuple[int, ...], batch: int, level: Level) -> Seen:
        """A forward and a backward pass of `batch` clips, as a training step does."""
        weights = list(lora.parameters(self.family, ADAPTER).values())

        def work(x_t: Tensor, condition: Condition) -> None:
            with lora.using(self.family, ADAPTER), recomputing(self.family.transformer, level):
                error = (self._predict(x_t, condition).float() - x_t).square().flatten(1).mean(1)
                torch.autograd.grad(error.mean(), weights)

        return self._counted(work, shape, batch, gradient=True)

    def predict(self, shape: tuple[int, ...], batch: int) -> Seen:
        """A forward pass without a gradient, as a step of sampling does."""
        return self._counted(self._predict, shape, batch)

    def decode(self, shape: tuple[int, ...]) -> Seen:
        """A clip's latents to the clip."""
        return self._in_tiles(lambda x_t, condition: self.family.decode(x_t), shape, (5, 40, 64))

    def encode(self, frames: int, height: int, width: int) -> Seen:
        """A clip to its latents."""
        return self._in_tiles(lambda video, condition: self.family.encode(video), (3, frames, height, width), (17, 320, 512))

    def _in_tiles(self, work: Callable[[Tensor, Condition], Any], shape: tuple[int, ...], probes: tuple[int, int, int]) -> Seen:
        """As it is where clips are small; a large one, which goes tile by tile, on the line through two smaller ones."""
        frames, *sides = probes
        tiled = getattr(self.family.pipeline.vae, "use_tiling", False)
        if not tiled or shape[1] <= frames or min(shape[2:]) < min(sides):
            return self._counted(work, shape, 1)
        small, large = (self._counted(work, (shape[0], frames, side, side), 1) for side in sides)
        share = (shape[1] * shape[2] * shape[3] / frames - sides[0] ** 2) / (sides[1] ** 2 - sides[0] ** 2)
        return Seen(*(int(a + share * (b - a)) for a, b in zip(small, large, strict=True)))

    def _predict(self, x_t: Tensor, condition: Condition) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
            return self.family.predict(x_t, torch.full((len(x_t),), 0.5), condition)

    def _counted(
        self, work: Callable[[Tensor, Condition], Any], shape: tuple[int, ...], batch: int, gradient: bool = False
    ) -> Seen:
        with self._mode:
            x_t = torch.empty(batch, *shape)
            condition = tree_map_only(Tensor, lambda t: torch.empty((batch, *t.shape[1:]), dtype=t.dtype), self.condition)
            parts = [part for part in self.family.pipeline.components.values() if isinstance(part, nn.Module)]
            weights = [t for part in parts for t in (*part.parameters(), *part.buffers()) if t.device.type != "meta"]
            with torch.set_grad_enabled(gradient), LiveMemory([x_t, *condition.values(), *weights]) as live:
                work(x_t, condition)
        return Seen(live.peak, live.flops)


def _materialise(module: nn.Module) -> None:
    """Give every tensor of a module on `meta` a place on the (fake) CPU."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                place = torch.empty(parameter.shape, dtype=parameter.dtype)
                part._parameters[name] = nn.Parameter(place, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def silence(family: Family) -> None:
    """Let text encoders without weights say zeros, where they are."""
    for _, encoder in family.text_encoders:
        encoder.forward = _silent(encoder)  # type: ignore[method-assign]


def _silent(encoder: Any) -> Callable[..., BaseModelOutputWithPooling]:
    """A text encoder's answer to any tokens (B, L): zeros of the right shapes."""
    config = encoder.config
    layers = getattr(config, "num_hidden_layers", 1)

    def forward(input_ids: Tensor, *others: Any, **named: Any) -> BaseModelOutputWithPooling:
        states = torch.zeros(*input_ids.shape, config.hidden_size, dtype=encoder.dtype, device=encoder.device)
        return BaseModelOutputWithPooling(states, states[:, 0], (states,) * (layers + 1))  # type: ignore[arg-type]

    return forward
