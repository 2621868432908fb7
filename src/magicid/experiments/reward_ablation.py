"""What each reward is worth (the paper's Table 3): pairs chosen by identity, by motion as well, and by the prompt as well."""

from dataclasses import dataclass, replace
from typing import Any

from magicid.comparison.ablation import ablation
from magicid.comparison.study import Study
from magicid.selection.scored import RewardName
from magicid.stages.pair import Pair

ALL: tuple[RewardName, ...] = ("identity", "motion", "prompt")


@dataclass(frozen=True)
class RewardAblation(Study):
    """Rows: identity, identity_motion, identity_motion_prompt (MagicID's own), between base and ceiling.

    All have one repository with one set of scores; what differs is which of these the pairs are chosen by.
    """

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Bring everyone's runs to their end; the rows, and the pairs that each was trained on."""
        return ablation(self, "rewards", "_".join(ALL), fewer_rewards, quiet)


def fewer_rewards(pair: Pair) -> dict[str, Pair]:
    """The pairs' settings with the first reward alone, and with the first two."""
    return {"_".join(ALL[:count]): replace(pair, rewards=ALL[:count]) for count in (1, 2)}
