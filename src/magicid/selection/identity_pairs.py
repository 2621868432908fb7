"""Stage one of hybrid selection: pairs whose identity differs much while their motion differs little (MagicID, section 3.3)."""

import math
from collections.abc import Sequence

from magicid.selection.scored import Candidate, Conditions, Scored, candidates, follows, spread


def identity_conditions(least_gap: float, most_motion_gap: float, least_prompt: float) -> Conditions:
    """What an identity pair must be; the paper knows no least gap, which is 0."""
    return {
        "whose loser is a clip": lambda c: c.loser.origin != "static",
        "with the identity gap": lambda c: c.gap("identity") > 0 and c.gap("identity") >= least_gap,
        "under the motion threshold": lambda c: abs(c.gap("motion")) <= most_motion_gap,
        "whose winner follows its prompt": lambda c: follows(c.winner, least_prompt),
    }


def paper_identity_pairs(
    videos: Sequence[Scored], count: int, most_motion_gap: float = math.inf, least_prompt: float = -math.inf
) -> list[Candidate]:
    """As the paper has it: the largest identity gaps under the dynamic threshold `most_motion_gap`, whatever they show."""
    found = candidates(videos, identity_conditions(0.0, most_motion_gap, least_prompt))
    return spread(sorted(found, key=_widest), count)


def identity_pairs(
    videos: Sequence[Scored],
    count: int,
    least_identity_gap: float,
    most_motion_gap: float = math.inf,
    least_prompt: float = -math.inf,
    most_uses: int | None = None,
    most_static: int | None = None,
) -> list[Candidate]:
    """Ours: static winners first, at most `most_static`, then pairs of one prompt, each by the largest identity gap.

    Static winners lose in motion, so the dynamic threshold must be wide; too many of them train stillness.
    """
    found = candidates(videos, identity_conditions(least_identity_gap, most_motion_gap, least_prompt))
    found.sort(key=lambda c: (c.winner.origin != "static", not c.same_prompt, _widest(c)))
    return spread(found, count, most_uses, most_static)


def _widest(pair: Candidate) -> tuple[float, str, str]:
    return -pair.gap("identity"), *pair.ids
