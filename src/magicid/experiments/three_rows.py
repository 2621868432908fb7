"""The demo's table on several people: base, fine-tuned and MagicID, with the ceiling of real renders beside them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from magicid.avatar.dataset import FPS, FRAMES, SIZE
from magicid.avatar.identity import Identity
from magicid.avatar.photos import new_photos
from magicid.avatar.prompts import parse
from magicid.avatar.renderer import render_clip
from magicid.core.records import Prompt
from magicid.core.run import Common, Run
from magicid.metrics.bootstrap import interval
from magicid.metrics.video import video_metrics
from magicid.perception.face import observe
from magicid.pipeline import PRESETS, run_pipeline
from magicid.stages.evaluate import gallery

SHOWN = ("identity", "identity_mean", "motion", "top_flow", "prompt")


@dataclass(frozen=True)
class ThreeRows:
    """Which drawn people, and with which preset; each person's run is kept under `work` and resumed."""

    people: tuple[int, ...] = (9, 7, 11)  # seeds: those of examples/
    preset: str = "quick"
    seed: int = 0
    work: Path = Path("runs/three_rows")

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Run the pipeline for everyone, gather the values, and return means with intervals clustered by person."""
        console = Console(stderr=quiet)
        rows: dict[str, dict[str, list[float]]] = {}
        clusters: dict[str, list[int]] = {}
        for person in self.people:
            for method, values in self._person(person, console):
                for name in SHOWN:
                    rows.setdefault(method, {}).setdefault(name, []).append(values[name])
                clusters.setdefault(method, []).append(person)
        table = {
            method: {name: interval(values, clusters[method]) for name, values in columns.items()}
            for method, columns in rows.items()
        }
        if not quiet:
            _print(console, table)
        return {
            "people": list(self.people),
            "preset": self.preset,
            "table": table,
            "clips": {m: len(c) for m, c in clusters.items()},
        }

    def _person(self, person: int, console: Console) -> list[tuple[str, dict[str, float]]]:
        """(method, values) of every evaluation clip of one person, the ceiling's included."""
        photos, out = self.work / f"photos-{person}", self.work / f"run-{person}-{self.seed}"
        if not photos.exists():
            new_photos(person, photos, held_out=4)
        common = Common(photos, seed=self.seed)
        folder = run_pipeline(common, PRESETS[self.preset], out, console)
        values = json.loads((folder.root / "evaluate" / "values.json").read_text())
        found = [(video.split("-")[0], numbers) for video, numbers in values.items()]
        found += [("ceiling", numbers) for numbers in self._ceiling(Run(folder, common, console), person)]
        folder.close()
        return found

    def _ceiling(self, run: Run, person: int) -> list[dict[str, float]]:
        """Real renders of the true person doing what each evaluation prompt says, judged alike."""
        cache = run.dir.root / "evaluate" / "ceiling.json"
        if cache.exists():
            cached: list[dict[str, float]] = json.loads(cache.read_text())
            return cached
        references, identity, measured = gallery(run), Identity.random(person), []
        for index, prompt in enumerate(p for p in run.dir.read("prompts", Prompt) if p.split == "evaluation"):
            for seed in range(2):
                frames = render_clip(identity, parse(prompt.text), 100 * index + seed, FRAMES, SIZE, FPS).frames
                measured.append(video_metrics(observe(frames, prompt.text, FPS, run.judges.detector), run.judges, references))
        cache.write_text(json.dumps(measured))
        return measured


def _print(console: Console, table: dict[str, dict[str, tuple[float, float, float]]]) -> None:
    shown = Table("", *SHOWN, title="mean [95% interval, clustered by person], share of the ceiling")
    for method, columns in table.items():
        cells = []
        for name in SHOWN:
            value, low, high = columns[name]
            share = value / table["ceiling"][name][0] if np.isfinite(value) else float("nan")
            cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}] {share:.0%}")
        shown.add_row(method, *cells)
    console.print(shown)
