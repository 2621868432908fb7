"""Stage two of hybrid selection: pairs along the identity-motion front, as the paper has it and with strict dominance.

`axes` are the rewards that take part: identity and motion, or fewer or more of them in the ablation of rewards.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from magicid.core import pareto
from magicid.selection.scored import Candidate, RewardName, Scored, follows, spread

AXES: tuple[RewardName, ...] = ("identity", "motion")


def fronts(videos: Sequence[Scored], axes: Sequence[RewardName] = AXES) -> list[list[Scored]]:
    """Non-dominated sorting of videos, the best front first."""
    points = np.array([[video.reward(name) for name in axes] for video in videos]).reshape(len(videos), len(axes))
    return [[videos[i] for i in front] for front in pareto.fronts(points)]


def paper_pairs(
    videos: Sequence[Scored],
    count: int,
    axes: Sequence[RewardName] = AXES,
    least_prompt: float = -math.inf,
    taken: Sequence[Candidate] = (),
) -> list[Candidate]:
    """As the paper has it: winners from the upper half of the fronts, losers from the lower, largest identity gap first."""
    layers = fronts(videos, axes)
    middle = (len(layers) + 1) // 2
    upper = [v for layer in layers[:middle] for v in layer if follows(v, least_prompt)]
    lower = [v for layer in layers[middle:] for v in layer]
    candidates = [Candidate(w, s) for w in upper for s in lower if w.identity > s.identity]
    return spread(sorted(candidates, key=lambda c: (-c.gap("identity"), *c.ids)), count, taken=taken)


def dominance_pairs(
    videos: Sequence[Scored],
    count: int,
    least_gaps: Mapping[RewardName, float],
    least_prompt: float = -math.inf,
    most_uses: int | None = None,
    taken: Sequence[Candidate] = (),
) -> list[Candidate]:
    """Ours: winners that beat their losers by every one of `least_gaps`; pairs of one prompt first, then the widest.

    The widest has the largest product of gaps in identity and motion. A stranger who moves, or a likeness that stands
    still, wins nothing here. A gap below 0 is what the winner may be worse by; it takes no part in dominance.
    """
    axes = [name for name, least in least_gaps.items() if least >= 0]
    candidates = [
        Candidate(winner, loser)
        for winner in videos
        if follows(winner, least_prompt)
        for loser in videos
        if any(winner.reward(name) > loser.reward(name) for name in axes)
        and all(winner.reward(name) - loser.reward(name) >= least for name, least in least_gaps.items())
    ]
    wide = [name for name in AXES if name in least_gaps]
    candidates.sort(key=lambda c: (not c.same_prompt, -math.prod(c.gap(name) for name in wide), *c.ids))
    return spread(candidates, count, most_uses, taken=taken)
