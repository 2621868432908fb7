"""The demo's table on several people: base, fine-tuned and MagicID, with the ceiling of real renders beside them."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from magicid.comparison.clips import places
from magicid.comparison.controls import rendered
from magicid.comparison.people import EXAMPLES, common_of, person_run
from magicid.core.files import publish_text
from magicid.core.run import Run
from magicid.metrics.bootstrap import interval
from magicid.metrics.video import video_metrics
from magicid.perception.optical_flow import estimator_of
from magicid.perception.tracking import observe
from magicid.pipeline import PRESETS
from magicid.stages.evaluate import gallery

COMPARED = (("finetuned", "base"), ("magicid", "finetuned"), ("magicid", "base"))
SHOWN = ("identity", "identity_mean", "motion", "top_flow", "prompt")


@dataclass(frozen=True)
class ThreeRows:
    """Which drawn people, and with which preset; each person's run is kept under `work` and resumed."""

    people: tuple[int, ...] = EXAMPLES  # seeds of drawn people
    preset: Literal["quick", "paper"] = "quick"
    seed: int = 0
    work: Path = Path("runs/three_rows")

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Run the pipeline for everyone; means and paired differences with intervals clustered by person."""
        console = Console(stderr=quiet)
        values: dict[str, dict[tuple[int, str], dict[str, float]]] = {}  # method -> (person, clip) -> figures
        for person in self.people:
            for method, clip, numbers in self._person(person, console):
                values.setdefault(method, {})[person, clip] = numbers
        table = {
            method: {name: interval([v[name] for v in clips.values()], [who for who, _ in clips]) for name in SHOWN}
            for method, clips in values.items()
        }
        differences = {
            f"{a} - {b}": {
                name: interval([values[a][key][name] - values[b][key][name] for key in values[a]], [who for who, _ in values[a]])
                for name in SHOWN
            }
            for a, b in COMPARED
        }
        if not quiet:
            _print(console, table | differences, len(self.people))
        counts = {method: len(clips) for method, clips in values.items()}
        return {"people": list(self.people), "preset": self.preset, "table": table, "differences": differences, "clips": counts}

    def _person(self, person: int, console: Console) -> list[tuple[str, str, dict[str, float]]]:
        """(method, clip, figures) of every evaluation clip of one person, the ceiling's included."""
        out = self.work / f"{self.preset}-{self.seed}" / f"person-{person}"
        preset = PRESETS[self.preset]
        pipeline = replace(preset, prompts=replace(preset.prompts, source="grammar"))
        with person_run(common_of(self.work, person, self.seed), pipeline, out, console) as run:
            measured: dict[str, dict[str, float]] = json.loads((out / "evaluate" / "values.json").read_text())
            measured |= self._ceiling(run, person)
        return [(*clip.split("-", 1), numbers) for clip, numbers in measured.items()]  # type: ignore[misc]

    def _ceiling(self, run: Run, person: int) -> dict[str, dict[str, float]]:
        """Renders of the true person doing what each prompt says, through the same autoencoder, judged alike."""
        cache = run.dir.root / "evaluate" / "ceiling.json"
        if cache.exists():
            cached: dict[str, dict[str, float]] = json.loads(cache.read_text())
            return cached
        references, measured = gallery(run), {}
        for place, video in places(run).items():
            frames = rendered(run, person, video.prompt, video.seed)
            judges, fps = run.judges, run.family.geometry.fps
            seen = observe(frames, video.prompt, fps, judges.detector, judges.face_report, references)
            measured[f"ceiling-{place}"] = video_metrics(seen, judges, references, estimator_of(run.dir.settings()))
        publish_text(cache, json.dumps(measured))
        return measured


def _print(console: Console, rows: dict[str, dict[str, tuple[float, float, float]]], people: int) -> None:
    shown = Table("", *SHOWN, title=f"mean, 95% interval clustered by person ({people}), share of the ceiling")
    for method, columns in rows.items():
        cells = []
        for name in SHOWN:
            value, low, high = columns[name]
            share = "" if " - " in method else f"\n{value / rows['ceiling'][name][0]:.0%}"
            cells.append(f"{value:.3f}\n{low:.3f} to {high:.3f}{share}")
        shown.add_row(method, *cells)
    console.print(shown)
