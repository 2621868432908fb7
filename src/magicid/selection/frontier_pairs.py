"""Stage two of hybrid selection: pairs along the identity-motion front, as the paper has it and with strict dominance."""

from collections.abc import Sequence

from magicid.selection.scored import Candidate, Scored, spread


def dominates(a: Scored, b: Scored) -> bool:
    """a is at least as good in identity and motion, and better in one."""
    return a.identity >= b.identity and a.motion >= b.motion and (a.identity > b.identity or a.motion > b.motion)


def fronts(videos: Sequence[Scored]) -> list[list[Scored]]:
    """Non-dominated sorting: the first front is dominated by nobody, the next only by the first, and so on."""
    left = list(videos)
    found: list[list[Scored]] = []
    while left:
        front = [v for v in left if not any(dominates(other, v) for other in left)]
        found.append(front)
        taken = {v.id for v in front}
        left = [v for v in left if v.id not in taken]
    return found


def paper_pairs(videos: Sequence[Scored], count: int, most_uses: int) -> list[Candidate]:
    """Winners from the upper half of the fronts, losers from the lower half, largest identity gap first (MagicID 3.3)."""
    layers = fronts(videos)
    middle = (len(layers) + 1) // 2
    upper = [v for layer in layers[:middle] for v in layer]
    lower = [v for layer in layers[middle:] for v in layer]
    candidates = [Candidate(w, s) for w in upper for s in lower if w.identity > s.identity]
    candidates.sort(key=lambda c: (-c.identity_gap, c.winner.id, c.loser.id))
    return spread(candidates, count, most_uses)


def dominance_pairs(
    videos: Sequence[Scored],
    count: int,
    least_identity_gap: float,
    least_motion_gap: float,
    least_prompt_score: float,
    most_uses: int,
) -> list[Candidate]:
    """Winners that dominate their losers by both minimum gaps; pairs of one prompt first, then the largest product of gaps.

    `least_prompt_score` is a floor on the winner. A stranger who moves, or a likeness that stands still, wins nothing here.
    """
    candidates = [
        Candidate(winner, loser)
        for winner in videos
        for loser in videos
        if dominates(winner, loser)
        and winner.identity - loser.identity >= least_identity_gap
        and winner.motion - loser.motion >= least_motion_gap
        and winner.prompt_score >= least_prompt_score
    ]
    candidates.sort(key=lambda c: (c.winner.prompt != c.loser.prompt, -c.identity_gap * c.motion_gap, c.winner.id, c.loser.id))
    return spread(candidates, count, most_uses)
