"""How good the embedded base model is: clips of held-out sentences beside real renders of what they say.

Sentences are held out, not what they combine: with 12 scenes, 12 outfits and 10 actions, training has met every triple.
A frame without a face counts against identity, a clip whose motion cannot be measured is counted. Diversity is the mean
likeness of different clips' faces: each clip has its own noise, and no prompt says who is shown.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from magicid.avatar.dataset import FPS, FRAMES, HELD_OUT, SIZE, item, render
from magicid.avatar.judges import AvatarDetector, AvatarFaceEncoder, Classifier
from magicid.avatar.renderer import render_clip
from magicid.avatar.truth import ACTIONS
from magicid.core.errors import UsageError
from magicid.core.files import digest, publish, refuse_picture, refuse_unwritable, sha256
from magicid.core.interfaces import Frames
from magicid.core.lanes import side_by_side
from magicid.core.run import WEIGHTS
from magicid.core.seeds import item_seed
from magicid.media.photo import write_png
from magicid.media.video import to_frames, to_tensor
from magicid.metrics.bootstrap import mean, statistic_interval
from magicid.metrics.frechet import frechet_distance
from magicid.perception.face import embed_faces
from magicid.perception.motion import subject_motion
from magicid.perception.tracking import observe

FIELDS = ("scene", "outfit", "action", "camera", "amplitude")


@dataclass(frozen=True)
class BaseQuality:
    """Sampling settings; clips are kept under `work` and not drawn twice."""

    clips: int = 128
    first: int = 0  # number of the first held-out sentence: weights are chosen on others than those that they are shown by
    steps: int = 50
    guidance: float | None = None  # None: the base model's own
    start: float = 1.0  # below 1, clips start from real renders noised to this time: tells where on the path a model errs
    batch: int = 16
    work: Path = Path("runs/base_quality")
    sheet: Path | None = None  # where to save a PNG of sample frames

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Measure, print a table unless `quiet`, and return the figures."""
        refuse_picture(self.sheet)
        refuse_unwritable(self.work)
        if min(self.clips, self.steps, self.batch) < 1:
            said = f"clips {self.clips}, steps {self.steps}, batch {self.batch}"
            raise UsageError(f"{said}: each must be at least 1; set it higher.")
        if self.first < 0:
            raise UsageError(f"first {self.first}: held-out sentences are numbered from 0; choose another --first.")
        if not 0 < self.start <= 1:
            raise UsageError(f"start {self.start}: a time is above 0 (clean) and at most 1 (noise); choose another --start.")
        console = Console(stderr=quiet)
        numbers = range(self.first, self.first + self.clips)
        items = [item(HELD_OUT, i) for i in numbers]
        real = np.stack([render(HELD_OUT, i).frames for i in numbers])
        made = self._generated([one.sentence for one in items], real, console)
        other = np.stack([_told_by_others(i) for i in numbers])
        truths = [one.truth for one in items]
        classifier = Classifier()
        features = {name: classifier.features(clips) for name, clips in (("made", made), ("real", real), ("other", other))}
        right: dict[str, dict[str, float]] = {}
        for name, clips in (("made", made), ("real", real)):
            found = classifier.predict(clips)
            right[name] = {
                field: float(np.mean([getattr(a, field) == getattr(b, field) for a, b in zip(found, truths, strict=True)]))
                for field in FIELDS
            }
        people = {name: _people(clips) for name, clips in (("made", made), ("real", real))}
        moved = [*zip(people["made"].motions, people["real"].motions, strict=True)]
        motion = {
            action: _ratio([pair for pair, truth in zip(moved, truths, strict=True) if truth.action == action])
            for action in ACTIONS
        }
        identity, *identity_ends = _ratio([*zip(people["made"].within, people["real"].within, strict=True)])
        result = {
            **{f"{field}_accuracy": right["made"][field] for field in FIELDS},
            **{f"{field}_accuracy_real": right["real"][field] for field in FIELDS},
            "motion_ratio": {action: ratio for action, (ratio, *_) in motion.items()},
            "motion_unmeasured": people["made"].unmeasured,
            "identity_within_clip_ratio": identity,
            "coverage": people["made"].coverage,
            "coverage_real": people["real"].coverage,
            "intervals": {
                "motion_ratio": {action: ends for action, (_, *ends) in motion.items()},
                "identity_within_clip_ratio": identity_ends,
            },
            "diversity_gap": people["made"].across - people["real"].across,
            "frechet": frechet_distance(features["made"], features["real"]),
            "frechet_floor": frechet_distance(features["other"], features["real"]),
            "clips": self.clips,
            "first": self.first,
            "steps": self.steps,
            "start": self.start,
            "base_sha256": _digest(),
        }
        if self.sheet:
            write_png(self.sheet, contact_sheet(made[:16]))
        if not quiet:
            _print(console, result)
        return result

    def _generated(self, sentences: list[str], real: Frames, console: Console) -> Frames:
        """Clips (N, F, H, W, 3), each batch cached under a name that holds everything it depends on."""
        from magicid.core import tables
        from magicid.core.device import device
        from magicid.training.sampling import sample

        family = tables.load(tables.FAMILIES, "family", "wan").load(WEIGHTS / "base")
        family.transformer.to(device())
        g = family.geometry
        shape, negative = family.latents_shape(g.frames, g.height, g.width), family.encode_prompts([""])
        version = f"{digest(WEIGHTS / 'base')[:12]}-{self.steps}-{self.guidance}-{self.start}"

        def made(first: int) -> Frames:
            part, number = slice(first, first + self.batch), self.first + first
            path = self.work / f"{version}-{number}-{len(sentences[part])}.npy"
            if not path.exists():
                seeds = [item_seed(0, "base_quality", number + i) for i in range(len(sentences[part]))]
                begin = (family.encode(to_tensor(real[part])), self.start) if self.start < 1 else None
                wanted = family.encode_prompts(sentences[part])
                latents = sample(family, wanted, negative, seeds, shape, self.steps, self.guidance, begin)
                publish(path, partial(np.save, arr=to_frames(family.decode(latents))))
                console.print(f"{first + len(seeds)} of {len(sentences)} clips")
            found: Frames = np.load(path)
            return found

        return np.concatenate(list(side_by_side(made, range(0, len(sentences), self.batch))))


def _digest() -> str:
    return sha256(WEIGHTS / "base" / "transformer" / "diffusion_pytorch_model.safetensors")


def _told_by_others(index: int) -> Frames:
    """Another person doing what held-out sentence `index` says: what real clips differ by from real clips."""
    told, other = item(HELD_OUT, index), item(HELD_OUT + 1, index)
    return render_clip(other.identity, told.truth, other.seed, FRAMES, SIZE, FPS).frames


@dataclass(frozen=True)
class _People:
    """Who is seen in some clips, and how they move."""

    within: list[float]  # of each clip: likeness of its frames among themselves times their coverage
    across: float  # mean likeness of different clips
    coverage: float  # share of frames with a face
    motions: list[float]  # of each clip; nan where it cannot be measured

    @property
    def unmeasured(self) -> float:
        """Share of clips whose motion cannot be measured."""
        return float(np.isnan(self.motions).mean())


def _people(clips: Frames) -> _People:
    detector, encoder = AvatarDetector(), AvatarFaceEncoder("face_report")
    within, means, covered, motions = [], [], [], []
    for clip in clips:
        seen = observe(clip, "", FPS, detector)
        faces = embed_faces(seen, encoder)
        faces = faces[np.isfinite(faces[:, 0])]
        covered.append(len(faces) / len(clip))
        within.append(_likeness(faces) * covered[-1] if len(faces) > 1 else 0.0)
        if len(faces):
            mean = faces.mean(0)
            means.append(mean / np.linalg.norm(mean))
        measure = subject_motion(clip, seen.heads, FPS)
        motions.append(measure.value if measure.state == "measured" else math.nan)  # without a head nothing is known either
    return _People(within, _likeness(np.array(means)), float(np.mean(covered)), motions)


def _ratio(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Mean of made clips' figures over that of real ones of their sentences, and the ends of its 95% interval."""

    def of(drawn: list[tuple[float, float]]) -> float:
        made, real = (mean(values) for values in zip(*drawn, strict=True))
        return made / (real or math.nan)

    return statistic_interval(of, pairs) if pairs else (math.nan, math.nan, math.nan)


def _likeness(vectors: NDArray[np.floating]) -> float:
    """Mean cosine of two different unit vectors (N, D); nan where there are no two."""
    count = len(vectors)
    return float((vectors @ vectors.T).sum() - count) / (count * (count - 1)) if count > 1 else math.nan


def contact_sheet(clips: Frames) -> NDArray[np.uint8]:
    """Rows of clips, four a row where there are so many, every fourth frame of each side by side, twice enlarged."""
    strips = [np.concatenate(list(clip[:17:4]), 1) for clip in clips]
    columns = min(4, len(strips))
    strips += [np.full_like(strips[0], 255)] * (-len(strips) % columns)
    edge = np.full((strips[0].shape[0], 4, 3), 255, np.uint8)
    rows = [
        np.concatenate([part for strip in strips[i : i + columns] for part in (strip, edge)], 1)
        for i in range(0, len(strips), columns)
    ]
    sheet: NDArray[np.uint8] = np.concatenate(rows, 0).repeat(2, 0).repeat(2, 1)
    return sheet


def _print(console: Console, result: dict[str, Any]) -> None:
    table = Table("figure", "base model", "real renders", title=f"{result['clips']} clips, {result['steps']} steps")
    for field in FIELDS:
        table.add_row(f"{field} accuracy", f"{result[f'{field}_accuracy']:.3f}", f"{result[f'{field}_accuracy_real']:.3f}")
    for action, ratio in result["motion_ratio"].items():
        low, high = result["intervals"]["motion_ratio"][action]
        table.add_row(f"motion of {action}", f"{ratio:.2f} ({low:.2f} to {high:.2f})", "1")
    table.add_row("motion not measurable", f"{result['motion_unmeasured']:.3f}", "")
    low, high = result["intervals"]["identity_within_clip_ratio"]
    identity = f"{result['identity_within_clip_ratio']:.3f} ({low:.3f} to {high:.3f})"
    table.add_row("identity within a clip", identity, "1")
    table.add_row("frames with a face", f"{result['coverage']:.3f}", f"{result['coverage_real']:.3f}")
    table.add_row("diversity gap", f"{result['diversity_gap']:+.3f}", "0")
    table.add_row("Frechet distance", f"{result['frechet']:.3f}", f"{result['frechet_floor']:.3f} (floor)")
    console.print(table)
