"""Hybrid selection of the scored repository; the rules are in selection/choice."""

from collections.abc import Sequence
from dataclasses import dataclass

from magicid.core import records
from magicid.core.records import Video
from magicid.core.run import Run
from magicid.selection.choice import Choice


@dataclass(frozen=True)
class Pair(Choice):
    """Pairs of the repository; the settings are those of the choice."""

    def run(self, run: Run) -> Sequence[records.Pair]:
        """Choose the pairs, or refuse where they are too few."""
        return self.pairs(run, run.dir.read("sample", Video), run.dir.read("score", records.Score))
