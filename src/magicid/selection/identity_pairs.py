"""Stage one of hybrid selection: pairs whose identity differs much while their motion differs little (MagicID, section 3.3)."""

from collections.abc import Sequence

from magicid.selection.scored import Candidate, Scored, spread


def identity_pairs(
    videos: Sequence[Scored],
    count: int,
    least_identity_gap: float,
    most_motion_gap: float,
    most_uses: int,
    most_static: int | None = None,
) -> list[Candidate]:
    """Largest identity gap first. Static winners lose in motion, so `most_motion_gap` (the dynamic threshold) must be wide.

    Static winners, which would win every place, get at most `most_static`: too many of them train stillness.
    """
    candidates = [
        Candidate(winner, loser)
        for winner in videos
        for loser in videos
        if winner.identity > loser.identity
        and winner.identity - loser.identity >= least_identity_gap
        and abs(winner.motion - loser.motion) <= most_motion_gap
        and loser.origin != "static"
    ]
    candidates.sort(key=lambda c: (-c.identity_gap, c.winner.id, c.loser.id))
    return spread(candidates, count, most_uses, most_static)
