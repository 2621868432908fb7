"""The settings of a run of seconds, on a small random model."""

from rich.console import Console

from magicid.pipeline import Pipeline
from magicid.stages.distill import Distill
from magicid.stages.finetune import Finetune
from magicid.stages.generate import Generate
from magicid.stages.optimize import Optimize
from magicid.stages.pair import Pair
from magicid.stages.prompts import Prompts
from magicid.stages.sample import Sample

SMALL = Pipeline(
    finetune=Finetune(steps=3, batch=2, rank=2, learning_rate=1e-2),
    prompts=Prompts(repository=3, evaluation=2, source="grammar"),
    distill=Distill(steps=2, batch=2, learning_rate=1e-2, teacher_strength=0.85, average_decay=0.5, sample_steps=2),
    sample=Sample(finetuned_per_prompt=3, strengths=(1.0, 0.5), steps=2, batch=4),
    pair=Pair(6, 6, identity_least_gap=0, dynamic_least_identity_gap=0, dynamic_least_motion_gap=0, least=1),
    optimize=Optimize(steps=3, batch=2, learning_rate=1e-2),
    generate=Generate(seeds=1, steps=2),
)  # fmt: skip
QUIET = Console(quiet=True)
