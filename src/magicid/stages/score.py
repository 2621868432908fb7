"""Score every video of the repository, V_t, V_s and the static videos V_id; how that is done is in rewards/scoring."""

from collections.abc import Sequence
from dataclasses import dataclass

from magicid.core import records
from magicid.core.records import Video
from magicid.core.run import Run
from magicid.rewards.scoring import Scoring


@dataclass(frozen=True)
class Score(Scoring):
    """Scores of the repository; the settings are those of the scoring."""

    def run(self, run: Run) -> Sequence[records.Score]:
        """Measure each clip once, then calibrate all together."""
        videos = run.dir.read("sample", Video)
        return self.calibrated(run, self.measured(run, "score", [*videos, *run.photos()]), videos)
