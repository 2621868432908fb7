"""A patch without which diffusers cannot load the tiny HunyuanVideo's LoRA."""

import inspect

import pytest
from diffusers.loaders import lora_conversion_utils, lora_pipeline

from tests.families.tiny import HEAD, HEADS


def tiny_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers has HunyuanVideo's full width written in its converter of LoRAs; afterwards there stands the tiny model's."""
    name = "_convert_hunyuan_video_lora_to_diffusers"
    source = inspect.getsource(getattr(lora_conversion_utils, name))
    assert "hidden_size = 3072" in source
    space = dict(vars(lora_conversion_utils))
    exec(source.replace("hidden_size = 3072", f"hidden_size = {HEADS * HEAD}"), space)
    monkeypatch.setattr(lora_pipeline, name, space[name])
