"""Hybrid selection: identity pairs and dynamic pairs from the scored repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from magicid.core import records
from magicid.core.errors import DataError, UsageError
from magicid.core.records import Video
from magicid.core.run import Run
from magicid.selection.frontier_pairs import AXES, dominance_pairs, paper_pairs
from magicid.selection.identity_pairs import identity_pairs, paper_identity_pairs
from magicid.selection.scored import Candidate, RewardName, Scored


@dataclass(frozen=True)
class Pair:
    """How many pairs of each kind, and what they must satisfy; gaps and floors are in calibrated units, 1..10.

    Of these settings the paper's rule knows the counts, the rewards, the dynamic threshold and the floor.
    """

    identity: int = 50  # 0: none of this kind
    dynamic: int = 50
    rule: Literal["dominance", "paper"] = "dominance"  # ours; or the widest identity gaps, upper against lower fronts
    rewards: tuple[RewardName, ...] = ("identity", "motion", "prompt")  # those that choose; identity is one of them
    identity_least_gap: float = 2.0
    identity_most_motion_gap: float = 4.0  # the paper's dynamic threshold
    identity_most_static: int = 15  # identity pairs whose winner is a photo
    dynamic_least_identity_gap: float = 1.0
    dynamic_least_motion_gap: float = 1.0
    dynamic_least_prompt_gap: float = -1.0  # below 0: what a winner may follow its prompt worse by
    least_prompt: float = 6.0  # semantic floor of winners that have a scene
    most_uses: int = 10  # pairs that one video may be in, of both kinds together
    least: int = 4  # pairs of each kind that is asked for

    def run(self, run: Run) -> Sequence[records.Pair]:
        """Choose the pairs; fewer than `least` of a kind is an error that counts both."""
        videos = scored(run)
        identity, dynamic = self.choose(videos)
        for found, asked in ((identity, self.identity), (dynamic, self.dynamic)):
            if len(found) < min(self.least, asked):
                raise DataError(
                    f"{len(videos)} usable videos gave {len(identity)} identity and {len(dynamic)} dynamic pairs; need "
                    f"{self.least} of each. Lower the gaps of --pair, or sample more clips or adapter strengths."
                )
        run.console.print(f"{len(identity)} of {self.identity} identity and {len(dynamic)} of {self.dynamic} dynamic pairs")
        chosen = [("identity", i, c) for i, c in enumerate(identity)] + [("dynamic", i, c) for i, c in enumerate(dynamic)]
        return [_record(run, kind, i, c) for kind, i, c in run.each("pair", chosen, len(chosen))]

    def choose(self, videos: Sequence[Scored]) -> tuple[list[Candidate], list[Candidate]]:
        """Identity pairs, then dynamic pairs, none of which is an identity pair already."""
        self._check()
        moving = [v for v in videos if v.origin != "static"]
        threshold = self.identity_most_motion_gap if "motion" in self.rewards else float("inf")
        best = max((v.prompt_score for v in videos), default=0.0)  # passes, even where all follow their prompts equally
        floor = min(self.least_prompt, best) if "prompt" in self.rewards else float("-inf")
        if self.rule == "paper":
            axes = [name for name in AXES if name in self.rewards]
            identity = paper_identity_pairs(videos, self.identity, threshold, floor)
            return identity, paper_pairs(moving, self.dynamic, axes, floor, identity)
        least_gaps: dict[RewardName, float] = {
            "identity": self.dynamic_least_identity_gap,
            "motion": self.dynamic_least_motion_gap,
            "prompt": self.dynamic_least_prompt_gap,
        }
        identity = identity_pairs(
            videos, self.identity, self.identity_least_gap, threshold, floor, self.most_uses, self.identity_most_static
        )
        least_gaps = {name: least_gaps[name] for name in self.rewards}
        return identity, dominance_pairs(moving, self.dynamic, least_gaps, floor, self.most_uses, identity)

    def _check(self) -> None:
        known = get_args(RewardName)
        if "identity" not in self.rewards or not set(self.rewards) <= set(known):
            raise UsageError(f"pair.rewards {self.rewards}: must hold identity, and may hold motion and prompt; name those.")
        if self.rule not in ("dominance", "paper"):
            raise UsageError(f"pair.rule {self.rule!r} is unknown; choose dominance or paper.")


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
    prompt = pair.winner.prompt if pair.same_prompt else run.common.trigger
    return records.Pair(f"{kind}-{index:03d}", kind, *pair.ids, prompt, pair.gap("identity"), pair.gap("motion"))
