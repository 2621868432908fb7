"""Hybrid selection: identity pairs and dynamic pairs from the scored repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from magicid.core import records
from magicid.core.errors import DataError, UsageError
from magicid.core.records import Photo, Video
from magicid.core.run import Run
from magicid.selection.frontier_pairs import dominance_pairs, paper_pairs
from magicid.selection.identity_pairs import identity_pairs
from magicid.selection.scored import Candidate, Scored


@dataclass(frozen=True)
class Pair:
    """How many pairs of each kind, and what they must satisfy; gaps are in calibrated units, 1..10."""

    identity: int = 50
    dynamic: int = 50
    rule: Literal["dominance", "paper"] = "dominance"  # of the dynamic pairs: ours, or upper and lower fronts
    least_identity_gap: float = 1.0
    least_motion_gap: float = 1.0
    identity_pairs_least_gap: float = 2.0
    identity_pairs_most_motion_gap: float = 4.0  # the paper's dynamic threshold
    least_semantics: float = 1.0
    most_uses: int = 10  # pairs that one video may be in
    least_pairs: int = 8

    def run(self, run: Run) -> Sequence[records.Pair]:
        """Choose the pairs; fewer than `least_pairs` is an error that counts each kind."""
        videos = scored(run)
        identity = identity_pairs(
            videos, self.identity, self.identity_pairs_least_gap, self.identity_pairs_most_motion_gap, self.most_uses
        )
        moving = [v for v in videos if v.origin != "static"]
        if self.rule == "paper":
            dynamic = paper_pairs(moving, self.dynamic, self.most_uses)
        elif self.rule == "dominance":
            dynamic = dominance_pairs(
                moving,
                self.dynamic,
                self.least_identity_gap,
                self.least_motion_gap,
                self.least_semantics,
                self.most_uses,
            )
        else:
            raise UsageError(f"pair.rule {self.rule!r} is unknown; choose dominance or paper.")
        if len(identity) + len(dynamic) < self.least_pairs:
            raise DataError(
                f"{len(videos)} usable videos gave {len(identity)} identity and {len(dynamic)} dynamic pairs; need "
                f"{self.least_pairs}. Lower the gaps, or sample more clips or adapter strengths."
            )
        chosen = [("identity", i, c) for i, c in enumerate(identity)] + [("dynamic", i, c) for i, c in enumerate(dynamic)]
        return [_record(run, kind, i, c) for kind, i, c in run.each("pair", chosen, len(chosen))]


def scored(run: Run) -> list[Scored]:
    """The usable videos of the repository."""
    known: dict[str, tuple[str, str]] = {v.id: (v.origin, v.prompt) for v in run.dir.read("sample", Video)}
    known |= {p.id: ("static", run.common.trigger) for p in run.dir.read("prepare", Photo)}
    return [
        Scored(s.video, *known[s.video], s.scaled["identity"], s.scaled["motion"], s.scaled["prompt"])
        for s in run.dir.read("score", records.Score)
        if s.scaled
    ]


def _record(run: Run, kind: str, index: int, pair: Candidate) -> records.Pair:
    """One prompt serves both sides: the winner's, but the neutral one for a winner that is a still photo."""
    return records.Pair(
        f"{kind}-{index:03d}",
        kind,
        pair.winner.id,
        pair.loser.id,
        pair.winner.prompt,
        pair.identity_gap,
        pair.motion_gap,
    )
