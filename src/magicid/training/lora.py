"""Adapters by PEFT on a family's transformer: one base in memory, any number of adapters, at most one at work."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils import delete_adapter_layers
from peft import LoraConfig
from torch import Tensor, nn

from magicid.core.device import device_of
from magicid.core.errors import DataError
from magicid.core.experts import networks
from magicid.core.interfaces import Family
from magicid.core.seeds import item_seed


@dataclass(frozen=True)
class LoraSettings:
    """An adapter's size."""

    rank: int = 16
    alpha: float = 16.0  # the update is scaled by alpha / rank
    targets: tuple[str, ...] = ()  # names of linear layers; empty: the family's own choice


def add_adapter(family: Family, name: str, settings: LoraSettings, seed: int = 0) -> None:
    """Add an adapter whose output is zero (B = 0, A random from the seed)."""
    targets = list(settings.targets or family.lora_targets)
    transformer: Any = family.transformer
    assert name not in (getattr(transformer, "peft_config", None) or {}), f"adapter {name!r} is loaded already"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(item_seed(seed, "lora", name))
        config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=targets)
        try:
            transformer.add_adapter(config, adapter_name=name)
        except ValueError as error:
            remove_adapter(family, name)
            for network in networks(transformer):  # diffusers says so before it is true
                network._hf_peft_config_loaded = hasattr(network, "peft_config")  # type: ignore[assignment]
            said = " ".join(str(error).split())[:200]
            raise DataError(f"targets {targets} cannot be those of {family.name} ({said}); choose others.") from error
    where = device_of(family.transformer)
    for parameter in parameters(family, name).values():  # beside a base in bf16, fp8, or in the host's memory
        parameter.data = parameter.data.to(where, torch.float32)


def linear_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """The layers that an adapter can change, by their names without any adapter in memory."""
    parts = network.named_modules()
    return {
        name.removesuffix(".base_layer"): part for name, part in parts if isinstance(part, nn.Linear) and ".lora_" not in name
    }


def remove_adapter(family: Family, name: str) -> None:
    """Take an adapter out of memory.

    Not by diffusers' `delete_adapters`, which afterwards offloads the whole transformer as it finds one block offloaded.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Adapter .* was active which is now deleted")
        for network in networks(family.transformer):
            delete_adapter_layers(network, name)


@contextmanager
def added(family: Family, name: str, settings: LoraSettings, seed: int = 0) -> Iterator[None]:
    """A new adapter, for a while."""
    add_adapter(family, name, settings, seed)
    try:
        yield
    finally:
        remove_adapter(family, name)


def parameters(family: Family, name: str) -> dict[str, nn.Parameter]:
    """The adapter's own weights, by names that do not hold the adapter's: "blocks.0.attn1.to_q.lora_A.weight"."""
    mark = f".{name}."
    return {
        key.replace(mark, "."): value for key, value in family.transformer.named_parameters() if mark in key and ".lora_" in key
    }


@torch.no_grad()
def load_weights(family: Family, name: str, tensors: dict[str, Tensor]) -> None:
    """Copy weights into an adapter; every tensor must find its place and the other way round."""
    own = parameters(family, name)
    if own.keys() != tensors.keys():
        odd = {"missing": own.keys() - tensors.keys(), "unexpected": tensors.keys() - own.keys()}
        said = "; ".join(f"{kind}: {', '.join(sorted(keys)[:3])}" for kind, keys in odd.items() if keys)
        count = len(own.keys() ^ tensors.keys())
        raise DataError(f"adapter {name!r}: {count} tensors do not match ({said}); use the same targets.")
    for key, parameter in own.items():
        if parameter.shape != tensors[key].shape:
            raise DataError(
                f"adapter {name!r}: {key} is {tuple(tensors[key].shape)}, not {tuple(parameter.shape)}; use the same rank."
            )
        parameter.copy_(tensors[key])


@torch.no_grad()
def scale(family: Family, name: str, strength: float) -> None:
    """Multiply what an adapter adds to the base model, for good; `using` does it for a while."""
    for key, parameter in parameters(family, name).items():
        if ".lora_B." in key:
            parameter.mul_(strength)


def weights(family: Family, name: str) -> dict[str, Tensor]:
    """A copy of the adapter's weights, on the CPU."""
    return {key: value.detach().cpu().clone() for key, value in parameters(family, name).items()}


@contextmanager
def using(family: Family, name: str | None, strength: float = 1.0) -> Iterator[None]:
    """Let one adapter (None: the base alone) work, at a strength; only its weights take gradients.

    It works on after the block too, until another is chosen: a backward pass that computes activations again needs it.
    """
    transformer: Any = family.transformer
    if getattr(transformer, "peft_config", None):
        if name is None or strength == 0:
            transformer.disable_adapters()
        else:
            transformer.enable_adapters()
            transformer.set_adapters([name], [strength])
    elif name is not None:
        raise DataError(f"adapter {name!r} is not loaded.")
    yield
