"""What the two kinds of pairs are worth (the paper's Table 2): no pairs, identity pairs alone, both."""

from dataclasses import dataclass, replace
from typing import Any

from magicid.comparison.ablation import ablation
from magicid.comparison.study import Study
from magicid.stages.pair import Pair


@dataclass(frozen=True)
class PairAblation(Study):
    """Rows: none (DreamBooth-LoRA at equal steps), identity, both (MagicID's own), between base and ceiling."""

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Bring everyone's runs to their end; the rows, and the pairs that each was trained on."""
        return ablation(self, "pairs", "both", identity_alone, quiet, none="none")


def identity_alone(pair: Pair) -> dict[str, Pair]:
    """As many identity pairs as both kinds have together; fewer where the repository does not give so many."""
    return {"identity": replace(pair, identity=pair.identity + pair.dynamic, dynamic=0)}
