"""A small run that has its pairs, for baselines to stand beside."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from magicid.core import tables
from magicid.core.records import Pair, Photo, Prompt, Video
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.media.photo import write_png
from magicid.pipeline import Pipeline, run_pipeline
from magicid.stages.finetune import Finetune
from magicid.stages.prompts import Prompts
from magicid.stages.sample import Sample
from tests.doubles import RED, picture
from tests.families.tiny import tiny_family

SMALL = Pipeline(
    finetune=Finetune(steps=5, batch=2, rank=2, learning_rate=1e-2),
    prompts=Prompts(repository=2, evaluation=1, source="grammar"),
    sample=Sample(finetuned_per_prompt=2, strengths=(1.0, 0.5), steps=1, batch=4),
)
QUIET = Console(quiet=True)


@pytest.fixture(scope="session")
def paired(tmp_path_factory: pytest.TempPathFactory) -> tuple[Common, Path]:
    """A run up to its pairs: in each a photo wins over a clip of the first prompt."""
    folder = tmp_path_factory.mktemp("paired")
    tiny_family("wan", folder / "base")
    for i in range(3):
        write_png(folder / "photos" / f"{i}.png", picture((60, 30 + i, RED)))
    common = Common(folder / "photos", base=str(folder / "base"), judges="centred")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tables.JUDGES, "centred", "tests.doubles:centred_judges")
        run = run_pipeline(common, SMALL, folder / "run", QUIET, until="score")
    clips, photos = run.read("sample", Video), run.read("prepare", Photo)
    first = run.read("prompts", Prompt)[0].text
    run.publish("pair", [Pair(f"identity-{i:03d}", "identity", p.id, clips[i].id, first, 1.0, 0.0) for i, p in enumerate(photos)])
    run.close()
    return common, folder / "run"


@pytest.fixture
def run(paired: tuple[Common, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A copy of it, open."""
    monkeypatch.setitem(tables.JUDGES, "centred", "tests.doubles:centred_judges")
    common, folder = paired
    shutil.copytree(folder, tmp_path / "run")
    opened = Run(RunDir(tmp_path / "run"), replace(common), QUIET)
    yield opened
    opened.dir.close()
