"""Hybrid selection: identity pairs and dynamic pairs from the scored repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from magicid.core import records
from magicid.core.errors import DataError
from magicid.core.records import Video
from magicid.core.run import Run
from magicid.selection.frontier_pairs import dominance_pairs, paper_pairs
from magicid.selection.identity_pairs import identity_pairs
from magicid.selection.scored import Candidate, Scored


@dataclass(frozen=True)
class Pair:
    """How many pairs of each kind, and what they must satisfy; gaps are in calibrated units, 1..10."""

    identity: int = 50
    dynamic: int = 50
    rule: Literal["dominance", "paper"] = "dominance"  # of dynamic pairs: strict (ours), or upper against lower fronts
    identity_least_gap: float = 2.0
    identity_most_motion_gap: float = 4.0  # the paper's dynamic threshold
    identity_most_static: int = 15  # identity pairs whose winner is a photo
    dynamic_least_identity_gap: float = 1.0
    dynamic_least_motion_gap: float = 1.0
    dynamic_least_prompt: float = 1.0
    most_uses: int = 10  # pairs that one video may be in
    least: int = 4  # pairs of each kind that is asked for

    def run(self, run: Run) -> Sequence[records.Pair]:
        """Choose the pairs; fewer than `least` of a kind is an error that counts both."""
        videos = scored(run)
        identity = identity_pairs(
            videos,
            self.identity,
            self.identity_least_gap,
            self.identity_most_motion_gap,
            self.most_uses,
            self.identity_most_static,
        )
        moving = [v for v in videos if v.origin != "static"]
        if self.rule == "paper":
            dynamic = paper_pairs(moving, self.dynamic, self.most_uses)
        else:
            gaps = self.dynamic_least_identity_gap, self.dynamic_least_motion_gap
            dynamic = dominance_pairs(moving, self.dynamic, *gaps, self.dynamic_least_prompt, self.most_uses)
        for found, asked in ((identity, self.identity), (dynamic, self.dynamic)):
            if len(found) < min(self.least, asked):
                raise DataError(
                    f"{len(videos)} usable videos gave {len(identity)} identity and {len(dynamic)} dynamic pairs; need "
                    f"{self.least} of each. Lower the gaps of --pair, or sample more clips or adapter strengths."
                )
        run.console.print(f"{len(identity)} of {self.identity} identity and {len(dynamic)} of {self.dynamic} dynamic pairs")
        chosen = [("identity", i, c) for i, c in enumerate(identity)] + [("dynamic", i, c) for i, c in enumerate(dynamic)]
        return [_record(run, kind, i, c) for kind, i, c in run.each("pair", chosen, len(chosen))]


def scored(run: Run) -> list[Scored]:
    """The usable videos of the repository."""
    known: dict[str, tuple[str, str]] = {v.id: (v.origin, v.prompt) for v in run.dir.read("sample", Video)}
    known |= {p.id: ("static", run.common.trigger) for p in run.photos()}
    return [
        Scored(s.video, *known[s.video], s.scaled["identity"], s.scaled["motion"], s.scaled["prompt"])
        for s in run.dir.read("score", records.Score)
        if s.scaled
    ]


def _record(run: Run, kind: str, index: int, pair: Candidate) -> records.Pair:
    """One prompt serves both sides: their own where it is the same, else the neutral trigger words."""
    prompt = pair.winner.prompt if pair.winner.prompt == pair.loser.prompt else run.common.trigger
    return records.Pair(f"{kind}-{index:03d}", kind, pair.winner.id, pair.loser.id, prompt, pair.identity_gap, pair.motion_gap)
