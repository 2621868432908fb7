"""Runs the unfinished stages of a run in order; a finished run has nothing left to do."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from magicid.core import faults, hub, tables
from magicid.core.cost import measured, memory_mb
from magicid.core.device import check_device
from magicid.core.errors import DataError, ResourceError, UsageError, out_of_memory
from magicid.core.files import beside, publish_text, refuse_unwritable
from magicid.core.interfaces import Stage
from magicid.core.placement import need_recompute
from magicid.core.records import LABELS, Adapter, Metric, Photo
from magicid.core.run import EMBEDDED, Common, Run, find_base, kept_commit
from magicid.core.run_dir import RunDir, filled
from magicid.core.seeds import item_seed
from magicid.core.versions import versions
from magicid.core.words import whole
from magicid.export.lora_file import slot_files
from magicid.export.read_lora import bring_in
from magicid.export.recipe import recipe
from magicid.export.result import exports
from magicid.media.photo import find_photos
from magicid.media.video import to_frames, write_video
from magicid.metrics import leakage
from magicid.metrics.picture import write_picture
from magicid.metrics.report import judged_by, write_report
from magicid.perception.model_files import MODELS
from magicid.perception.motion import refuse_short
from magicid.perception.text_judges import DEFAULTS
from magicid.stages.distill import Distill
from magicid.stages.evaluate import Evaluate
from magicid.stages.finetune import Finetune
from magicid.stages.generate import Generate
from magicid.stages.optimize import Optimize
from magicid.stages.pair import Pair
from magicid.stages.prepare import Prepare, refuse_other_photos
from magicid.stages.prompts import Prompts
from magicid.stages.sample import Sample
from magicid.stages.score import Score
from magicid.training import lora
from magicid.training.adapters import load_adapter
from magicid.training.sampling import sample

PLACES = ("base", "face_reward", "face_report", "text_reward", "text_report", "prompts.model", "score.flow_weights")
OWN = {"", EMBEDDED, *MODELS, *DEFAULTS}  # names that are no places, whatever lies in the folder of the command


@dataclass(frozen=True)
class Pipeline:
    """Every stage's settings; the defaults are the paper's counts."""

    prepare: Prepare = field(default_factory=Prepare)
    finetune: Finetune = field(default_factory=Finetune)
    prompts: Prompts = field(default_factory=Prompts)
    distill: Distill = field(default_factory=Distill)
    sample: Sample = field(default_factory=Sample)
    score: Score = field(default_factory=Score)
    pair: Pair = field(default_factory=Pair)
    optimize: Optimize = field(default_factory=Optimize)
    generate: Generate = field(default_factory=Generate)
    evaluate: Evaluate = field(default_factory=Evaluate)


PRESETS = {
    "paper": Pipeline(),
    # The small base needs larger rates than 13B parameters do, and a laptop fewer steps: docs/decisions.md
    "quick": Pipeline(
        finetune=Finetune(steps=120, learning_rate=4e-3, batch=48, single_frame=True, head_only=True, mirrored=True),
        distill=Distill(
            steps=150, learning_rate=2e-3, teacher_strength=0.85, student_strength=0.5, average_decay=0.97, sample_steps=12
        ),
        sample=Sample(strengths=(1.0, 0.8, 0.65, 0.5, 0.35), steps=12),
        optimize=Optimize(steps=140, batch=1, learning_rate=5e-5, beta=1000.0),
        generate=Generate(steps=12),
    ),
}


def flatten(common: Common, pipeline: Pipeline) -> dict[str, Any]:
    """All settings as "stage.field" -> plain value, as `settings.yaml` holds them; paths are absolute."""
    installed = ", ".join(f"{name} {version}" for name, version in versions().items())
    flat = {"version": installed} | _plain({"": dataclasses.asdict(common)} | dataclasses.asdict(pipeline))
    places = {key: _whole(flat[key]) for key in PLACES}
    return flat | places | {"detector": ",".join(map(_whole, common.detector.split(",")))}


def stored(folder: Path) -> tuple[Common, Pipeline]:
    """The settings that a run was made with; what its file lacks, since it is older than the setting, is at its default."""
    found = RunDir.read_settings(folder)
    if "photos" not in found:
        raise DataError(f"{folder}/settings.yaml: no 'photos'; bring it back, or make the run again.")
    found |= {key: Path(found[key]) for key in ("photos", "finetune.start") if found.get(key)}
    common = filled(Common, found)
    return common, Pipeline(**{name: filled(type(getattr(Pipeline(), name)), found, f"{name}.") for name in tables.STAGES})


def _whole(asked: str) -> str:
    """A file or folder by its absolute path, alone or after "NAME:"; names of our own and those of the hub stay."""
    name, colon, path = asked.partition(":")
    if colon and path and Path(path).exists():
        return f"{name}:{Path(path).resolve()}"
    return str(Path(asked).resolve()) if asked not in OWN and Path(asked).exists() else asked


def _plain(nested: dict[str, dict[str, Any]]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for prefix, values in nested.items():
        for key, value in values.items():
            kept = str(value.resolve()) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            plain[f"{prefix}.{key}" if prefix else key] = kept
    return plain


def run_pipeline(
    common: Common,
    pipeline: Pipeline,
    out: Path,
    console: Console | None = None,
    until: str | None = None,
    like: Run | None = None,
) -> RunDir:
    """Bring the run in `out` to its end (or the end of stage `until`), from wherever it was; returns its folder.

    `like` is a run with the same common settings, whose base model this one uses too.
    """
    console = console or Console()
    tables.check(tables.FAMILIES, "family", common.family)
    tables.check(tables.JUDGES, "judges", common.judges)
    check_settings(common, pipeline)
    if out.resolve() == common.photos.resolve():
        raise UsageError(f"{out}: holds the photos, and a run needs a folder of its own; choose another --out.")
    if hub.is_id(common.base):  # nothing is downloaded for a run that cannot be
        find_photos(common.photos)
        refuse_unwritable(out)
    weights = sum(path.stat().st_size for path in find_base(common, kept_commit(out, common.base)).rglob("*.safetensors"))
    if said := check_device(weights):
        _say(console, said)
    files = pipeline.finetune.start_digest(out) | pipeline.score.weights_digest()
    if not out.exists():
        find_photos(common.photos)  # a misspelt name must leave nothing behind
    folder = RunDir(out)
    try:
        _bring(Run(folder, common, console, like), pipeline, until, files)
    except BaseException:
        folder.close()  # else whoever catches this, in a notebook say, holds the lock
        raise
    return folder


def _bring(run: Run, pipeline: Pipeline, until: str | None, files: dict[str, str]) -> None:
    """Do the stages that are left; `files` are digests of what is read beside the base model."""
    common, folder, names = run.common, run.dir, list(tables.STAGES)
    folder.refuse_stale()
    left = [name for name in names[: names.index(until) + 1 if until else None] if not folder.finished(name)]
    if set(left) - {"prepare"}:
        run.judges.ready()
    if "prompts" in left:
        pipeline.prompts.ready(common)
    folder.freeze(flatten(common, pipeline) | run.models | files, flatten(Common(common.photos), Pipeline()))
    refuse_other_photos(folder, common.photos)
    if not left:
        _say(run.console, f"{folder.root}: nothing left to do.")
    other = pipeline.generate
    if "generate" in left and (other.frames or other.height or other.width):
        size = run.family.geometry.sized(other.frames, other.height, other.width)  # what cannot be is not said after hours
        run.family.latents_shape(size.frames, size.height, size.width)
        refuse_short("generate.frames", size.frames, size.fps)
    for name in left:
        _finish(run, name, getattr(pipeline, name))


def check_settings(common: Common, pipeline: Pipeline) -> None:
    """Refuse settings that cannot work, or do not go together."""
    for name in tables.STAGES:
        getattr(pipeline, name).check()
    common.check()
    pipeline.prompts.word_for(common.trigger)
    for name in ("finetune", "distill", "optimize"):
        if (part := getattr(pipeline, name)).steps:
            need_recompute(name, part.recompute, common.precision, common.offload)


def run_baseline(run: Run, name: str, baseline: Stage) -> Adapter:
    """Bring a baseline to its end, in a folder of its own beside the stages of a run that has its pairs; its adapter."""
    tables.check(tables.BASELINES, "baseline", name)
    if not run.dir.finished("pair"):
        raise UsageError(f"{run.dir.root}: the stage 'pair' is not finished; a baseline is made from it. Run it first.")
    run.dir.refuse_stale()
    run.dir.freeze(run.dir.settings() | _plain({name: dataclasses.asdict(baseline)}))  # type: ignore[call-overload]
    if not run.dir.finished(name):
        _finish(run, name, baseline)
    return run.dir.read(name, Adapter)[0]


def _finish(run: Run, name: str, part: Stage) -> None:
    """Do a stage's or baseline's work, and publish it."""
    faults.stage = name
    try:
        with measured(run.dir.root / name):
            records = part.run(run)
    except Exception as error:
        if out_of_memory(error):
            raise _smaller(run, name, part) from error
        raise
    run.dir.publish(name, records)
    run.forget_judges()  # what is trained next needs the memory


STRONGER = {"nothing": "blocks", "blocks": "attention"}  # levels of recomputing: the next one needs less memory


def _smaller(run: Run, name: str, part: Stage) -> ResourceError:
    """What a part of a run used when memory ran out, and the settings of it that need less; nothing is changed silently."""
    fields = dataclasses.asdict(part) if name in tables.STAGES else {}  # type: ignore[call-overload]  # baselines have no words
    less = {key: fields[key] // 2 for key in ("batch", "sample_batch") if fields.get(key, 1) > 1}
    less |= {"chunk": 1} if fields.get("chunk", 1) != 1 else {}
    asked = " ".join(f"--{name}.{key.replace('_', '-')} {value}" for key, value in less.items())
    remedies = [f"delete {run.dir.root / name}, and run again with {asked}"] if less else []
    if (level := fields.get("recompute")) in STRONGER:  # nothing is lost by it
        remedies.insert(0, f"run again with --{name}.recompute {STRONGER[level]}")
    if torch.cuda.is_available() and run.common.offload != "block":  # nor by this
        remedies.insert(0, f"run again with --offload {'block' if run.common.offload == 'model' else 'model'}")
    remedy = ", or ".join(remedies) or "close other programs, or use a smaller base"
    used, limit = memory_mb()
    return ResourceError(f"{name}: out of memory, {used:,.0f} MiB used of {limit:,.0f}; {remedy}.")


def print_result(folder: RunDir, console: Console | None = None) -> None:
    """The table of base, fine-tuned and MagicID, and the report's path, when the run has come to its end."""
    if not folder.finished("evaluate"):
        return
    table = Table("", "identity", "motion", "prompt", title="means over the evaluation clips, 95% intervals below")
    read = folder.read("evaluate", Metric)
    metrics = {(m.method, m.name): m for m in read}
    for method in dict.fromkeys(m.method for m in read if m.method != leakage.ROW):
        cells = [metrics[method, name] for name in ("identity", "motion", "prompt")]
        table.add_row(LABELS.get(method, method), *(f"{m.value:.3f}\n{m.low:.3f} to {m.high:.3f}" for m in cells))
    console = console or Console()
    console.print(table)
    held_out = sum(photo.held_out for photo in folder.read("prepare", Photo))
    _say(console, f"{judged_by(held_out)}.".capitalize())
    if said := leakage.sentence(read, folder.settings()):
        _say(console, said)
    for file in exports(folder.root):
        _say(console, f"adapter: {file}")
    _say(console, f"picture: {write_picture(folder, folder.root / 'result.webp')}")
    _say(console, f"report:  {write_report(folder)}")


def _say(console: Console, text: str) -> None:
    """Print a line as it is: a folder's name may hold [brackets], and is not broken in two."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def open_run(folder: Path, customised: bool = True) -> Iterator[Run]:
    """A run on the base model that it was made on, its lock held inside the block.

    `UsageError` on another base model, or where its person is to be `customised` yet.
    """
    with closing(RunDir(folder, create=False)) as directory:
        run = Run(directory, stored(folder)[0])
        if directory.settings().get("base_digest") != run.base_digest:
            raise UsageError(
                f"{folder}: made on another base model than the one in {run.base_path} now; an adapter fits its own base only. "
                "Bring that one back, or make the run again."
            )
        if customised and not directory.finished("optimize"):
            raise UsageError(f"{folder}: the stage 'optimize' is not finished; finish it with: magicid resume {folder}.")
        yield run


def generate_clip(
    folder: Path,
    prompt: str,
    out: Path,
    seed: int = 0,
    steps: int | None = None,
    adapter: Path | None = None,
    console: Console | None = None,
) -> Path:
    """One new clip of the person of a finished run; the trigger words are put in front where the prompt lacks them.

    `steps` of sampling, None: as many as the run's own clips had, whose guidance it has. `adapter` is a LoRA file that stands in
    the place of the run's own; what is unlike that one is said on `console` (None: stderr). A .json beside the clip keeps its
    recipe and seed.
    """
    with open_run(folder, customised=adapter is None) as run:
        steps = steps or int(run.dir.settings().get("generate.steps", Generate().steps))
        family, geometry = run.family, run.drawn
        trigger = run.common.trigger
        if adapter is None:
            record = run.dir.read("optimize", Adapter)[0]
            load_adapter(run, "optimize", record)
            files = [run.file(record.file)]
        else:
            trigger = bring_in(run, "optimize", adapter, partial(_say, console or Console(stderr=True)))
            files = list(slot_files(family, adapter).values())
        text = prompt if whole(trigger).search(prompt) else f"{trigger}, {prompt}"
        shape = family.latents_shape(geometry.frames, geometry.height, geometry.width)
        noise_seed, guidance = item_seed(seed, text), run.dir.settings().get("generate.guidance")
        with lora.using(family, "optimize"):
            latents = sample(family, family.encode_prompts([text]), run.negative, [noise_seed], shape, steps, guidance)
        kept = replace(recipe(run, text, noise_seed, steps, guidance, *files), trigger=trigger)
        write_video(out, to_frames(family.decode(latents))[0], geometry.fps)  # while no other may sweep the run's folder
        publish_text(beside(out, ".json"), json.dumps({"asked": prompt, "seed": seed} | kept.to_json(), indent=1) + "\n")
    return out
