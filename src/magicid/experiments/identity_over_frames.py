"""Identity along the clip (the paper's Figure 2, left): does it stay where others lose it?

Also in clips that are longer than those that were learnt.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from magicid.comparison.clips import Method, Shown, drawn, generated
from magicid.comparison.controls import renders
from magicid.comparison.figures import likenesses
from magicid.comparison.markdown import grid, plain, signed
from magicid.comparison.people import people
from magicid.comparison.study import Person, Study, dreambooth_lora, optimized
from magicid.comparison.table import Interval, flat
from magicid.core.errors import UsageError
from magicid.core.files import refuse_picture
from magicid.core.finite import finite
from magicid.core.records import Adapter, FrameLikeness
from magicid.metrics.bootstrap import interval, mean

METHODS = ("finetuned", "dreambooth_lora", "magicid", "ceiling")
COMPARED = ("mean", "thirds_fall", "slope")
SHOWN = ("mean", "first_third", "last_third", "thirds_fall", "slope", "seen")
Clips = Sequence[tuple[int, FrameLikeness]]  # with the person of each


@dataclass(frozen=True)
class Line:
    """One method in clips of one length."""

    method: str
    figures: dict[str, Interval]  # SHOWN
    magicid_minus: dict[str, Interval]  # COMPARED, clip by clip
    curve: list[Interval]  # mean cosine at each frame's place, over the clips that show the person there

    def to_json(self) -> dict[str, Any]:
        """Flat, with the curve."""
        return flat(self.method, self.figures) | {"magicid_minus": self.magicid_minus, "curve": self.curve}


@dataclass(frozen=True)
class IdentityOverFrames(Study):
    """Cosine with the nearest held-out photo by the report's encoder, at each frame's place in its clip."""

    frames: int = 33  # of the longer clips; 0: none, but those of the length that was learnt
    figure: Path | None = None  # where to save a PNG of identity against frames

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Bring everyone's runs to their end; each length's rows and curves."""
        refuse_picture(self.figure)
        console = Console(stderr=quiet)
        learnt = self._learnt(console)
        found: dict[int, list[tuple[int, FrameLikeness]]] = {length: [] for length in (learnt, self.frames) if length}
        for person in self.each(console):
            for length, clips in found.items():
                shown = _clips(person, 0 if length == learnt else length)
                clips += [(person.number, likeness) for likeness in likenesses(person.run, shown)]
        table = {length: [_line(clips, method) for method in METHODS] for length, clips in found.items()}
        if not quiet:
            said = "\n\n".join(_said(length, lines) for length, lines in table.items())
            console.print(said, markup=False, highlight=False, soft_wrap=True)
        if self.figure:
            from magicid.comparison.plot import curves_figure

            panels = {
                f"identity, clips of {length} frames": {line.method: list(enumerate(line.curve)) for line in lines}
                for length, lines in table.items()
            }
            curves_figure(panels, "frame", self.figure)
        lengths = [{"frames": length, "rows": [line.to_json() for line in lines]} for length, lines in table.items()]
        return self.to_json() | {"lengths": finite(lengths)}

    def _learnt(self, console: Console) -> int:
        """Frames of the clips that everyone's model learns from; what cannot be drawn is refused before hours of work."""
        self.check()
        with self.held(people(1)[0], console, until="prepare") as run:
            learnt = run.clips().frames
            if self.frames and self.frames <= learnt:
                raise UsageError(f"frames {self.frames}: must be more than the {learnt} that are learnt, or 0 for these alone.")
            run.clips(self.frames)
        return learnt


def _clips(person: Person, frames: int) -> list[Shown]:
    """Of every method; those of the length that was learnt (0) are the run's own."""
    run = person.run
    shown = [*renders(run, "ceiling", person.number, frames), *drawn(run, dreambooth_lora(person), frames)]
    if not frames:
        return shown + generated(run, {name: name for name in ("finetuned", "magicid")})
    stage_one = Method("finetuned", run, run.dir.read("finetune", Adapter)[0])
    return shown + drawn(run, stage_one, frames) + drawn(run, optimized("magicid", run), frames)


def along(cosines: Sequence[float]) -> dict[str, float]:
    """What one clip's curve says; frames without the person (nan) count for `seen`, its share, alone.

    thirds_fall is the mean of the first third less that of the last, slope a frame is that of the straight line through all; nan
    where the person is seen in too few frames.
    """
    values, third = np.asarray(cosines, float), len(cosines) // 3
    seen = np.flatnonzero(np.isfinite(values))
    parts = {"mean": values, "first_third": values[:third], "last_third": values[-third:]}
    means = {name: mean(part) for name, part in parts.items()}
    slope = float(np.polyfit(seen, values[seen], 1)[0]) if len(seen) > 1 else math.nan
    fall = means["first_third"] - means["last_third"]
    return means | {"thirds_fall": fall, "slope": slope, "seen": len(seen) / len(values)}


def _of(clips: Clips, method: str) -> dict[tuple[int, str], FrameLikeness]:
    return {(person, clip.place): clip for person, clip in clips if clip.method == method}


def _line(clips: Clips, method: str) -> Line:
    """All that is said of a method's clips, with intervals clustered by person."""
    own, ours = _of(clips, method), _of(clips, "magicid")
    people = [person for person, _ in own]
    said = {key: along(clip.cosines) for key, clip in own.items()}
    figures = {name: interval([one[name] for one in said.values()], people) for name in SHOWN}
    others = {key: along(clip.cosines) for key, clip in ours.items()} if method != "magicid" else {}
    minus = {name: interval([others[key][name] - said[key][name] for key in said], people) for name in COMPARED if others}
    frames = zip(*(clip.cosines for clip in own.values()), strict=True)
    return Line(method, figures, minus, [interval(cosines, people) for cosines in frames])


def _said(length: int, lines: Sequence[Line]) -> str:
    def cells(method: str, figures: Mapping[str, Interval], said: Callable[[Interval, int], str]) -> list[str]:
        return [method, *(said(figure, 4 if name == "slope" else 3) for name, figure in figures.items())]

    above = [cells(line.method, line.figures, plain) for line in lines]
    below = [cells(line.method, line.magicid_minus, signed) for line in lines if line.magicid_minus]
    titles = [f"{length} frames", *(name.replace("_", " ") for name in SHOWN)]
    return f"{grid(titles, above)}\n\n{grid(['MagicID minus', *COMPARED], below)}"
