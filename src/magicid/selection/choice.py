"""Hybrid selection: identity pairs and dynamic pairs from scored videos."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from magicid.core import records
from magicid.core.checks import at_least, one_of
from magicid.core.errors import DataError, TooFewPairs, UsageError
from magicid.core.records import Video
from magicid.core.run import Run
from magicid.selection.frontier_pairs import AXES, dominance_conditions, dominance_pairs, paper_conditions, paper_pairs
from magicid.selection.identity_pairs import identity_conditions, identity_pairs, paper_identity_pairs
from magicid.selection.scored import Candidate, RewardName, Scored, counted

Rule = Literal["dominance", "paper"]
KINDS = ("identity", "dynamic")


@dataclass(frozen=True)
class Choice:
    """How many pairs of each kind, and what they must satisfy; gaps and floors are in calibrated units, 1..10.

    Of these settings the paper's rule knows the counts, the rewards, the dynamic threshold and the floor.
    """

    identity: int = 50  # 0: none of this kind
    dynamic: int = 50
    rule: Rule = "dominance"  # ours; or the widest identity gaps, upper against lower fronts
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

    def check(self) -> None:
        """Refuse settings that cannot work."""
        one_of("pair", get_args(Rule), rule=self.rule)
        if "identity" not in self.rewards or not set(self.rewards) <= set(get_args(RewardName)):
            raise UsageError(f"pair.rewards {self.rewards}: must hold identity, and may hold motion and prompt; name those.")
        at_least("pair", 0, identity=self.identity, dynamic=self.dynamic, least=self.least)
        at_least("pair", 0, identity_most_motion_gap=self.identity_most_motion_gap)
        at_least("pair", 0, identity_most_static=self.identity_most_static)
        at_least("pair", 1, most_uses=self.most_uses)
        if not self.identity + self.dynamic:
            raise UsageError("pair.identity 0, pair.dynamic 0: pairs of one kind are needed; set one of them to 1 or more.")

    def pairs(self, run: Run, clips: Sequence[Video], scores: Sequence[records.Score]) -> list[records.Pair]:
        """The pairs chosen of clips and photos by their scores.

        None at all, or fewer than `least` of a kind, is `TooFewPairs`, which says what each condition left.
        """
        videos = scored(run, clips, scores)
        found = dict(zip(KINDS, self.choose(videos), strict=True))
        asked = dict(zip(KINDS, (self.identity, self.dynamic), strict=True))
        if not any(found.values()) or any(len(found[kind]) < min(self.least, asked[kind]) for kind in KINDS):
            filters = dict(zip(KINDS, self._filters(videos), strict=True))
            gave = " and ".join(
                f"{len(found[kind])} of {asked[kind]} {kind} pairs ({filters[kind]})" for kind in KINDS if asked[kind]
            )
            need = f"{self.least} of each kind" if self.least else "at least 1 pair"
            remedy = "Lower the gaps of --pair, or sample more clips or adapter strengths."
            raise TooFewPairs(f"{len(videos)} usable videos gave {gave}; need {need}. {remedy}")
        run.console.print(" and ".join(f"{len(found[kind])} of {asked[kind]} {kind}" for kind in KINDS) + " pairs")
        chosen = [(kind, i, c) for kind in KINDS for i, c in enumerate(found[kind])]
        held = {video.id: video.sha256 for video in clips} | {photo.id: photo.sha256 for photo in run.photos()}
        _refuse_twins(held, [c for _, _, c in chosen])
        return [_record(run, kind, i, c) for kind, i, c in run.each("pair", chosen, len(chosen))]

    def choose(self, videos: Sequence[Scored]) -> tuple[list[Candidate], list[Candidate]]:
        """Identity pairs, then dynamic pairs, none of which is an identity pair already."""
        clips, (threshold, floor) = _clips(videos), self._limits(videos)
        if self.rule == "paper":
            identity = paper_identity_pairs(videos, self.identity, threshold, floor)
            return identity, paper_pairs(clips, self.dynamic, self._axes, floor, identity)
        identity = identity_pairs(
            videos, self.identity, self.identity_least_gap, threshold, floor, self.most_uses, self.identity_most_static
        )
        return identity, dominance_pairs(clips, self.dynamic, self._least_gaps, floor, self.most_uses, identity)

    def _filters(self, videos: Sequence[Scored]) -> tuple[str, str]:
        """How many candidates each condition leaves, of identity and of dynamic pairs."""
        clips, (threshold, floor) = _clips(videos), self._limits(videos)
        if self.rule == "paper":
            identity, dynamic = identity_conditions(0.0, threshold, floor), paper_conditions(clips, self._axes, floor)
        else:
            identity = identity_conditions(self.identity_least_gap, threshold, floor)
            dynamic = dominance_conditions(self._least_gaps, floor)
        return counted(videos, identity), counted(clips, dynamic)

    def _limits(self, videos: Sequence[Scored]) -> tuple[float, float]:
        """The dynamic threshold and the semantic floor; a reward that takes no part sets none."""
        threshold = self.identity_most_motion_gap if "motion" in self.rewards else float("inf")
        best = max((v.prompt_score for v in _clips(videos)), default=0.0)  # passes, even where all follow them equally
        return threshold, min(self.least_prompt, best) if "prompt" in self.rewards else float("-inf")

    @property
    def _axes(self) -> list[RewardName]:
        return [name for name in AXES if name in self.rewards]

    @property
    def _least_gaps(self) -> dict[RewardName, float]:
        least_gaps: dict[RewardName, float] = {
            "identity": self.dynamic_least_identity_gap,
            "motion": self.dynamic_least_motion_gap,
            "prompt": self.dynamic_least_prompt_gap,
        }
        return {name: least_gaps[name] for name in self.rewards}


def _refuse_twins(held: Mapping[str, str], pairs: Sequence[Candidate]) -> None:
    """`DataError` where both sides of a pair hold the same (video -> sha256), or a pair stands there twice."""
    count = Counter(pair.ids for pair in pairs)
    for pair in pairs:
        if held[pair.winner.id] == held[pair.loser.id] or count[pair.ids] > 1:
            raise DataError(
                f"{pair.winner.id} and {pair.loser.id}: the same clip, or the same pair twice; a winner must differ from its "
                "loser. Begin another run with another --seed."
            )


def _clips(videos: Sequence[Scored]) -> list[Scored]:
    return [v for v in videos if v.origin != "static"]


def scored(run: Run, clips: Sequence[Video], scores: Sequence[records.Score]) -> list[Scored]:
    """The usable ones of clips and photos, by their scores."""
    known: dict[str, tuple[str, str]] = {v.id: (v.origin, v.prompt) for v in clips}
    known |= {p.id: ("static", run.common.trigger) for p in run.photos()}
    found = []
    for s in scores:
        if s.scaled:
            origin, prompt = known[s.video]
            found.append(Scored(s.video, origin, prompt, s.scaled["identity"], s.scaled["motion"], s.scaled["prompt"]))
    return found


def _record(run: Run, kind: str, index: int, pair: Candidate) -> records.Pair:
    """One prompt serves both sides: the neutral trigger words for identity, the winner's own for motion.

    What the winner of an identity pair shows is mostly stillness, which must not be learnt of a prompt that says how to
    move; what moves is learnt of the prompt that it follows.
    """
    prompt = run.common.trigger if kind == "identity" else pair.winner.prompt
    return records.Pair(f"{kind}-{index:03d}", kind, *pair.ids, prompt, pair.gap("identity"), pair.gap("motion"))
