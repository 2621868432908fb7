"""What an attempt at a run needs, imported once: attempts are forked from a process that has it in memory."""

import magicid.avatar.judges
import magicid.baselines.dreambooth_lora
import magicid.experiments.base_quality
import magicid.families.wan
import magicid.pipeline
import magicid.runs
import tests.doubles

__all__ = ["magicid", "tests"]
