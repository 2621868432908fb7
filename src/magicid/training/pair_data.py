"""The pairs as tensors, cached in memory: each video's latents once, each prompt's condition once."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from magicid.core.interfaces import Condition
from magicid.core.records import Pair
from magicid.core.seeds import generator
from magicid.training.sampling import stack


class PairData:
    """Pairs by number; `winners`, `losers` and `prompts` hold each pair's rows of `latents` and of the conditions."""

    def __init__(
        self, pairs: Sequence[Pair], latents: Mapping[str, Tensor], encode: Callable[[Sequence[str]], Condition]
    ) -> None:
        videos = sorted({video for p in pairs for video in (p.winner, p.loser)})
        prompts = sorted({p.prompt for p in pairs})
        self.latents = torch.stack([latents[video] for video in videos])  # (V, C, F, H, W)
        self.winners = [videos.index(p.winner) for p in pairs]
        self.losers = [videos.index(p.loser) for p in pairs]
        self.prompts = [prompts.index(p.prompt) for p in pairs]
        self.identity = [p.kind == "identity" for p in pairs]
        # an identity winner that moves a little more than its loser is still nearly a still: only dynamic ones count
        self.moving = torch.tensor([float(p.kind == "dynamic" and p.motion_gap > 0) for p in pairs])
        self._conditions = stack([encode([prompt]) for prompt in prompts])
        self._epochs: dict[tuple[int, int, int], list[tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self.winners)

    def condition(self, prompts: Sequence[int]) -> Condition:
        """Rows of the prompts' condition."""
        return {name: tensor[torch.tensor(prompts, device=tensor.device)] for name, tensor in self._conditions.items()}

    def groups(self, share: int, drawn: torch.Generator) -> list[list[int]]:
        """All pairs once, shuffled, in groups of at most `share` that have one kind, winner and prompt."""
        unfilled: dict[tuple[bool, int, int], list[int]] = {}
        groups: list[list[int]] = []
        for pair in torch.randperm(len(self), generator=drawn).tolist():
            alike = (self.identity[pair], self.winners[pair], self.prompts[pair])
            group = unfilled.get(alike)
            if group is None or len(group) == share:
                group = unfilled[alike] = []
                groups.append(group)
            group.append(pair)
        return groups

    def batch(self, number: int, size: int, share: int, seed: int) -> list[list[int]]:
        """The `number`-th `size` pairs, in groups, of an endless sequence in which each epoch has every pair once."""
        found: dict[tuple[int, int], list[int]] = {}
        for position in range(number * size, (number + 1) * size):
            epoch, place = divmod(position, len(self))
            group, pair = self._epoch(epoch, share, seed)[place]
            found.setdefault((epoch, group), []).append(pair)
        return list(found.values())

    def _epoch(self, epoch: int, share: int, seed: int) -> list[tuple[int, int]]:
        """(group, pair) in order."""
        key = (epoch, share, seed)
        if key not in self._epochs:
            self._epochs = {k: v for k, v in self._epochs.items() if k[0] == epoch - 1}
            groups = self.groups(share, generator(seed, "optimize", "epoch", epoch))
            self._epochs[key] = [(number, pair) for number, group in enumerate(groups) for pair in group]
        return self._epochs[key]
