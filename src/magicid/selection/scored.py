"""What selection knows of a video, and how candidates become pairs."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

RewardName = Literal["identity", "motion", "prompt"]


@dataclass(frozen=True)
class Scored:
    """One video with its calibrated rewards, 1..10."""

    id: str
    origin: str  # of its clip: "base", "finetuned" or "policy"; "static" for a photo
    prompt: str
    identity: float
    motion: float
    prompt_score: float

    def reward(self, name: RewardName) -> float:
        """One of the three."""
        return {"identity": self.identity, "motion": self.motion, "prompt": self.prompt_score}[name]


@dataclass(frozen=True)
class Candidate:
    """A possible pair."""

    winner: Scored
    loser: Scored

    def gap(self, name: RewardName) -> float:
        """Winner minus loser."""
        return self.winner.reward(name) - self.loser.reward(name)

    @property
    def same_prompt(self) -> bool:
        """Whether both sides show the same sentence."""
        return self.winner.prompt == self.loser.prompt

    @property
    def ids(self) -> tuple[str, str]:
        """Winner, loser."""
        return self.winner.id, self.loser.id


Conditions = Mapping[str, Callable[[Candidate], bool]]  # what is said of the candidates that fulfil it -> whether one does


def candidates(videos: Sequence[Scored], conditions: Conditions) -> list[Candidate]:
    """The ordered pairs that fulfil all conditions."""
    return [c for c in _ordered(videos) if all(holds(c) for holds in conditions.values())]


def counted(videos: Sequence[Scored], conditions: Conditions) -> str:
    """How many ordered pairs there are, and how many each condition leaves of those that fulfil the ones before it."""
    left = list(_ordered(videos))
    said = [f"{len(left)} ordered pairs"]
    for what, holds in conditions.items():
        left = [c for c in left if holds(c)]
        said.append(f"{len(left)} {what}")
    return ", ".join(said)


def _ordered(videos: Sequence[Scored]) -> Iterator[Candidate]:
    return (Candidate(winner, loser) for winner in videos for loser in videos if winner is not loser)


def follows(winner: Scored, least_prompt: float) -> bool:
    """Whether a winner is above the semantic floor; a static video has no scene that a sentence could ask for."""
    return winner.origin == "static" or winner.prompt_score >= least_prompt


def spread(
    candidates: Iterable[Candidate],
    count: int,
    most_uses: int | None = None,
    most_static: int | None = None,
    taken: Sequence[Candidate] = (),
) -> list[Candidate]:
    """The first `count` in the order given, none of them `taken` already, nor the other way round.

    No video is in more than `most_uses` pairs, those `taken` counted, and at most `most_static` winners are static; None
    is no limit.
    """
    uses = Counter(name for pair in taken for name in pair.ids)
    known = {ids for pair in taken for ids in (pair.ids, pair.ids[::-1])}
    static = 0
    chosen: list[Candidate] = []
    for candidate in candidates:
        if len(chosen) == count:
            break
        still = candidate.winner.origin == "static"
        worn = most_uses is not None and any(uses[name] >= most_uses for name in candidate.ids)
        if worn or candidate.ids in known or (still and most_static is not None and static >= most_static):
            continue
        chosen.append(candidate)
        static += still
        uses.update(candidate.ids)
    return chosen
