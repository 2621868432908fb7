"""How good the embedded world's judges are on people and clips that nothing was trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from magicid.avatar.judge_figures import judge_figures
from magicid.core.checks import at_least
from magicid.core.files import refuse_unwritable
from magicid.core.finite import finite
from magicid.core.run import WEIGHTS


@dataclass(frozen=True)
class JudgeQuality:
    """How much to measure on; renders are kept under `work`."""

    clips: int = 512
    people: int = 250
    work: Path = Path("runs/judge_quality")

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Measure, print unless `quiet`, and return the figures."""
        at_least("", 1, clips=self.clips, people=self.people)
        refuse_unwritable(self.work)
        figures: dict[str, Any] = judge_figures(self.work, WEIGHTS / "judges", self.clips, self.people)
        if not quiet:
            Console().print_json(data=finite(figures))
        return figures
