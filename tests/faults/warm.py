"""What an attempt at a run needs, imported once: attempts are forked from a process that has it in memory."""

import torch.utils.tensorboard
import tyro
from PIL import Image

import magicid.avatar.judges
import magicid.baselines.dreambooth_lora
import magicid.experiments.base_quality
import magicid.export.wan
import magicid.families.wan
import magicid.pipeline
import magicid.rewards.prompt
import magicid.runs
import tests.doubles

__all__ = ["magicid", "tests", "torch", "tyro"]
Image.init()  # its readers of files, which it would import one by one
