"""What is on the device beside activations, as arithmetic on parameter counts: weights by precision, adapters, guests.

Activations are counted by training/rehearsal.py. Everything here is in bytes.
"""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from magicid.core.interfaces import Family
from magicid.core.placement import blocks, guests, transformers

GIB = 2**30
BYTES = {"fp32": 4, "bf16": 2, "fp8": 1, "int8": 1}  # a weight of a block; elsewhere fp8 and int8 are bf16
AT_WORK = 2  # blocks with weights there at once: the one at work, and the next, or in training the last, which is kept whole
TRAINED = 4  # copies of an adapter that is trained, in fp32: itself, its gradient, Adam's two moments
Part = Literal["transformer", "encoders", "autoencoder"]


@dataclass(frozen=True)
class Sizes:
    """Parameters of a family's parts."""

    blocks: int  # of the transformers, all together
    largest_block: int
    rest: int  # of the transformers
    encoders: int
    autoencoder: int

    @classmethod
    def of(cls, family: Family) -> "Sizes":
        """Counted without the adapters."""
        inner = [[_count(t.get_submodule(name)) for name in blocks(t)] for t in transformers(family)]
        whole = sum(map(_count, transformers(family)))
        of_blocks = sum(map(sum, inner))
        encoders, others = (sum(map(_count, parts)) for parts in guests(family))
        return cls(of_blocks, max(map(max, inner)), whole - of_blocks, encoders, others)


def base_bytes(sizes: Sizes, precision: str) -> int:
    """The transformers' weights as they are stored."""
    return sizes.blocks * BYTES[precision] + sizes.rest * max(2, BYTES[precision])


def resident_bytes(sizes: Sizes, precision: str, offload: str, at_work: Part) -> int:
    """Weights on the device while a part works, and what fp8 or int8 are turned into to be multiplied."""
    of_guests = {"encoders": sizes.encoders * max(2, BYTES[precision]), "autoencoder": sizes.autoencoder * 4, "transformer": 0}
    visiting = sum(of_guests.values()) if offload == "none" else of_guests[at_work]
    working = min(AT_WORK * sizes.largest_block, sizes.blocks) * (at_work == "transformer")
    if offload == "block":
        visiting = 0 if at_work == "encoders" else visiting  # they answer in the host's memory
        return visiting + (sizes.rest + working) * max(2, BYTES[precision])
    if offload == "model" and at_work == "encoders":
        return visiting
    return visiting + base_bytes(sizes, precision) + working * 2 * (BYTES[precision] == 1)


def adapter_bytes(parameters: int, trained: int, kept: int = 0) -> int:
    """Of so many adapters that are trained and that are only there."""
    return parameters * 4 * (TRAINED * trained + kept)


def _count(module: Any) -> int:
    own: nn.Module = module
    return sum(parameter.numel() for name, parameter in own.named_parameters() if ".lora_" not in name)
