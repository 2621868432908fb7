"""Who takes part in an experiment: drawn people whom no model has met, each with photos, prompts, noise and runs of their own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from magicid.avatar.photos import new_photos
from magicid.core import tables
from magicid.core.files import publish_folder
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.core.seeds import item_seed
from magicid.pipeline import Pipeline, flatten, run_pipeline

EXAMPLES = (9, 7, 11)  # the people of examples/
MORE_FROM = 201  # 101 and 102 are those on whom settings were tried: docs/decisions.md
HELD_OUT = 4  # photos of each that the report judges by


def people(count: int) -> tuple[int, ...]:
    """Seeds of the first `count` people: the examples', then 201, 202, ..."""
    return (*EXAMPLES, *range(MORE_FROM, MORE_FROM + count))[:count]


def common_of(work: Path, person: int, seed: int) -> Common:
    """A person's photos, drawn at first, and a seed that differs between people, so that prompts and noise do."""
    photos = work / f"photos-{person}"
    if not (photos / "held_out" / f"photo-{HELD_OUT}.png").exists():  # the last to be drawn
        new_photos(person, photos, held_out=HELD_OUT)
    return Common(photos, seed=item_seed(seed, "person", person) % 2**31)


@contextmanager
def person_run(
    common: Common, pipeline: Pipeline, out: Path, console: Console, until: str | None = None, like: Run | None = None
) -> Iterator[Run]:
    """The run in `out`, brought to its end or that of stage `until`; its lock is held inside the block."""
    folder = run_pipeline(common, pipeline, out, console, until, like)
    try:
        yield Run(folder, common, console, like)
    finally:
        folder.close()


def beside(run: Run, name: str) -> Path:
    """The folder of a run's variant."""
    return run.dir.root.with_name(f"{run.dir.root.name}-{name}")


@contextmanager
def variant(run: Run, name: str, pipeline: Pipeline) -> Iterator[Run]:
    """A finished run with other settings, in `person-9-NAME` beside it, up to `optimize`; its lock is held inside the block.

    Of the stages before the first that differs it has copies, and the base model is in memory once.
    """
    share_stages(run.dir, beside(run, name), run.common, pipeline)
    with person_run(run.common, pipeline, beside(run, name), run.console, "optimize", like=run) as made:
        yield made


def share_stages(source: RunDir, target: Path, common: Common, pipeline: Pipeline) -> None:
    """Copy the first stages of a run to where `pipeline` is about to run, as far as it would make the same of them.

    The settings of each must be equal, as the common ones; from the first that differs on, nothing is copied.
    """
    there, here = source.settings(), flatten(common, pipeline)
    for name in ("", *tables.STAGES):
        same = [there.get(key) == value for key, value in here.items() if key.rpartition(".")[0] == name and key != "version"]
        if not all(same):
            return
        if name and source.finished(name) and not (target / name).exists():
            publish_folder(target / name, partial(_copy, source.root / name))


def _copy(stage: Path, target: Path) -> None:
    """Of a finished stage, what the stages after it read."""
    shutil.copytree(stage, target, ignore=shutil.ignore_patterns("checkpoints", "snapshots"), dirs_exist_ok=True)
