"""Stage one of hybrid selection: pairs whose identity differs much while their motion differs little (MagicID, section 3.3)."""

import math
from collections.abc import Sequence

from magicid.selection.scored import Candidate, Scored, follows, spread


def paper_identity_pairs(
    videos: Sequence[Scored], count: int, most_motion_gap: float = math.inf, least_prompt: float = -math.inf
) -> list[Candidate]:
    """As the paper has it: the largest identity gaps under the dynamic threshold `most_motion_gap`, whatever they show."""
    candidates = _candidates(videos, 0.0, most_motion_gap, least_prompt)
    return spread(sorted(candidates, key=_widest), count)


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
    candidates = _candidates(videos, least_identity_gap, most_motion_gap, least_prompt)
    candidates.sort(key=lambda c: (c.winner.origin != "static", not c.same_prompt, _widest(c)))
    return spread(candidates, count, most_uses, most_static)


def _candidates(videos: Sequence[Scored], least_gap: float, most_motion_gap: float, least_prompt: float) -> list[Candidate]:
    return [
        Candidate(winner, loser)
        for winner in videos
        for loser in videos
        if winner.identity > loser.identity
        and winner.identity - loser.identity >= least_gap
        and abs(winner.motion - loser.motion) <= most_motion_gap
        and loser.origin != "static"
        and follows(winner, least_prompt)
    ]


def _widest(pair: Candidate) -> tuple[float, str, str]:
    return -pair.gap("identity"), *pair.ids
