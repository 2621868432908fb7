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
    semantics: float


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


def spread(candidates: Iterable[Candidate], count: int, most_uses: int) -> list[Candidate]:
    """The first `count` in the order given, with no video in more than `most_uses` of them."""
    uses: dict[str, int] = {}
    chosen: list[Candidate] = []
    for candidate in candidates:
        ids = (candidate.winner.id, candidate.loser.id)
        if len(chosen) < count and all(uses.get(i, 0) < most_uses for i in ids):
            chosen.append(candidate)
            for i in ids:
                uses[i] = uses.get(i, 0) + 1
    return chosen
