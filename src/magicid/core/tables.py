"""What can be named on the command line, as strings, so that listing them imports nothing: name -> "module:object"."""

import difflib
import importlib
from collections.abc import Collection
from typing import Any

from magicid.core.errors import UsageError

STAGES = {  # the order is the pipeline
    "prepare": "magicid.stages.prepare:Prepare",
    "finetune": "magicid.stages.finetune:Finetune",
    "prompts": "magicid.stages.prompts:Prompts",
    "distill": "magicid.stages.distill:Distill",
    "sample": "magicid.stages.sample:Sample",
    "score": "magicid.stages.score:Score",
    "pair": "magicid.stages.pair:Pair",
    "optimize": "magicid.stages.optimize:Optimize",
    "generate": "magicid.stages.generate:Generate",
    "evaluate": "magicid.stages.evaluate:Evaluate",
}
BASELINES = {  # each in a folder of its own beside the stages, made from those before `optimize`, or from another
    "dreambooth_lora": "magicid.baselines.dreambooth_lora:DreamboothLora",
    "dreambooth_lora_early": "magicid.baselines.dreambooth_lora_early:DreamboothLoraEarly",
    "dreambooth_lora_prior": "magicid.baselines.dreambooth_lora_prior:DreamboothLoraPrior",
    "magic_me": "magicid.baselines.magic_me:MagicMe",
    "winners_sft": "magicid.baselines.winners_sft:WinnersSft",
}
FAMILIES = {
    "wan": "magicid.families.wan:Wan",
    "hunyuan_video": "magicid.families.hunyuan_video:HunyuanVideo",
    "cogvideox": "magicid.families.cogvideox:CogVideoX",
    "ltx": "magicid.families.ltx:LTX",
    "hunyuan_video15": "magicid.families.hunyuan_video15:HunyuanVideo15",
}
PIPELINES = {  # family -> class in model_index.json
    "wan": "WanPipeline",
    "hunyuan_video": "HunyuanVideoPipeline",
    "cogvideox": "CogVideoXPipeline",
    "ltx": "LTXPipeline",
    "hunyuan_video15": "HunyuanVideo15Pipeline",
}
JUDGES = {
    "avatar": "magicid.avatar.judges:avatar",
    "real": "magicid.perception.real:real",
}
REWARDS = {
    "identity": "magicid.rewards.identity:IdentityReward",
    "motion": "magicid.rewards.motion:MotionReward",
    "prompt": "magicid.rewards.prompt:PromptReward",
}
EXPORTS = {
    "wan": "magicid.export.wan:exported",
    "hunyuan_video": "magicid.export.hunyuan_video:exported",
    "cogvideox": "magicid.export.cogvideox:exported",
    "ltx": "magicid.export.ltx:exported",
    "hunyuan_video15": "magicid.export.hunyuan_video15:exported",
}
IMPORTS = {name: place.replace(":exported", ":imported") for name, place in EXPORTS.items()}  # their inverses
EXPERIMENTS = {
    "base_quality": "magicid.experiments.base_quality:BaseQuality",
    "hpo_failure_modes": "magicid.experiments.hpo_failure_modes:HpoFailureModes",
    "identity_over_frames": "magicid.experiments.identity_over_frames:IdentityOverFrames",
    "judge_quality": "magicid.experiments.judge_quality:JudgeQuality",
    "main_table": "magicid.experiments.main_table:MainTable",
    "motion_over_steps": "magicid.experiments.motion_over_steps:MotionOverSteps",
    "pair_ablation": "magicid.experiments.pair_ablation:PairAblation",
    "reward_ablation": "magicid.experiments.reward_ablation:RewardAblation",
    "settings": "magicid.experiments.settings:Settings",
    "three_rows": "magicid.experiments.three_rows:ThreeRows",
}


def check(table: Collection[str], kind: str, name: str) -> None:
    """An unknown name answers with the nearest one."""
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(table)}."
        raise UsageError(f"{kind} {name!r} is unknown; {hint}")


def load(table: dict[str, str], kind: str, name: str) -> Any:
    """The object that `name` stands for in `table`."""
    check(table, kind, name)
    module, attribute = table[name].split(":")
    return getattr(importlib.import_module(module), attribute)
