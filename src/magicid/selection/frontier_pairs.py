"""Stage two of hybrid selection: pairs along the identity-motion front, as the paper has it and with strict dominance.

`axes` are the rewards that take part: identity and motion, or fewer or more of them in the ablation of rewards.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from magicid.core import pareto
from magicid.selection.scored import Candidate, Conditions, RewardName, Scored, candidates, follows, spread

AXES: tuple[RewardName, ...] = ("identity", "motion")


def fronts(videos: Sequence[Scored], axes: Sequence[RewardName] = AXES) -> list[list[Scored]]:
    """Non-dominated sorting of videos, the best front first."""
    points = np.array([[video.reward(name) for name in axes] for video in videos]).reshape(len(videos), len(axes))
    return [[videos[i] for i in front] for front in pareto.fronts(points)]


def paper_conditions(videos: Sequence[Scored], axes: Sequence[RewardName], least_prompt: float) -> Conditions:
    """What a dynamic pair must be as the paper has it: from the upper half of the fronts to the lower."""
    layers = fronts(videos, axes)
    upper = {v.id for layer in layers[: (len(layers) + 1) // 2] for v in layer}
    return {
        "from an upper to a lower front": lambda c: c.winner.id in upper and c.loser.id not in upper,
        "with an identity gap": lambda c: c.gap("identity") > 0,
        "whose winner follows its prompt": lambda c: follows(c.winner, least_prompt),
    }


def paper_pairs(
    videos: Sequence[Scored],
    count: int,
    axes: Sequence[RewardName] = AXES,
    least_prompt: float = -math.inf,
    taken: Sequence[Candidate] = (),
) -> list[Candidate]:
    """As the paper has it: winners from the upper half of the fronts, losers from the lower, largest identity gap first."""
    found = candidates(videos, paper_conditions(videos, axes, least_prompt))
    return spread(sorted(found, key=lambda c: (-c.gap("identity"), *c.ids)), count, taken=taken)


def dominance_conditions(least_gaps: Mapping[RewardName, float], least_prompt: float) -> Conditions:
    """What a dynamic pair must be by our rule."""
    axes = [name for name, least in least_gaps.items() if least >= 0]

    def widely(name: RewardName, c: Candidate) -> bool:
        return c.gap(name) >= least_gaps[name]

    return {
        "whose winner is better in something": lambda c: any(c.gap(name) > 0 for name in axes),
        **{f"with the {name} gap": partial(widely, name) for name in least_gaps},
        "whose winner follows its prompt": lambda c: follows(c.winner, least_prompt),
    }


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
    found = candidates(videos, dominance_conditions(least_gaps, least_prompt))
    wide = [name for name in AXES if name in least_gaps]
    found.sort(key=lambda c: (not c.same_prompt, -math.prod(c.gap(name) for name in wide), *c.ids))
    return spread(found, count, most_uses, taken=taken)
