"""What selection knows of a video."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Scored:
    """One video with its calibrated rewards, 1..10."""

    id: str
    origin: str  # "static", "finetuned" or "base"
    prompt: str
    identity: float
    motion: float
    prompt_score: float


@dataclass(frozen=True)
class Candidate:
    """A possible pair."""

    winner: Scored
    loser: Scored

    @property
    def identity_gap(self) -> float:
        """Winner minus loser."""
        return self.winner.identity - self.loser.identity

    @property
    def motion_gap(self) -> float:
        """Winner minus loser."""
        return self.winner.motion - self.loser.motion


def spread(candidates: Iterable[Candidate], count: int, most_uses: int, most_static: int | None = None) -> list[Candidate]:
    """The first `count` in the order given, no video in more than `most_uses`, at most `most_static` static winners."""
    uses: dict[str, int] = {}
    static = 0
    chosen: list[Candidate] = []
    for candidate in candidates:
        ids = (candidate.winner.id, candidate.loser.id)
        still = candidate.winner.origin == "static"
        if still and most_static is not None and static >= most_static:
            continue
        if len(chosen) < count and all(uses.get(i, 0) < most_uses for i in ids):
            chosen.append(candidate)
            static += still
            for i in ids:
                uses[i] = uses.get(i, 0) + 1
    return chosen
