"""A small embedded world: a tiny random base model in the place of the shipped one, and judges that find a head anywhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from magicid.core import run, tables
from magicid.pipeline import PRESETS, Pipeline
from magicid.stages.distill import Distill
from magicid.stages.finetune import Finetune
from magicid.stages.generate import Generate
from magicid.stages.optimize import Optimize
from magicid.stages.pair import Pair
from magicid.stages.prompts import Prompts
from magicid.stages.sample import Sample
from tests.families.tiny import tiny_family

TINY = Pipeline(
    finetune=Finetune(steps=5, batch=2, rank=2, learning_rate=1e-2),
    prompts=Prompts(repository=2, evaluation=1),
    distill=Distill(steps=2, batch=2, learning_rate=1e-2, sample_steps=1),
    sample=Sample(finetuned_per_prompt=3, strengths=(1.0, 0.5), steps=1, batch=4),
    pair=Pair(
        6, 6, identity_least_gap=0, dynamic_least_identity_gap=0, dynamic_least_motion_gap=0, least_prompt=1.0, least=1,
        identity_most_motion_gap=10.0,
    ),
    optimize=Optimize(steps=3, batch=2, learning_rate=1e-2),
    generate=Generate(seeds=1, steps=1),
)  # fmt: skip


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_family("wan", folder / "base")
    return folder


@pytest.fixture(scope="module")
def world(weights: Path) -> Iterator[None]:
    """Everything that asks for the embedded world's base model, judges and quick preset gets the small ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "WEIGHTS", weights)
        patch.setitem(tables.JUDGES, "avatar", "tests.doubles:centred_judges")
        patch.setitem(PRESETS, "quick", TINY)
        yield
