"""Tiny families, and a diffusers that can convert HunyuanVideo's names at their width."""

import inspect

import pytest
from diffusers.loaders import lora_conversion_utils, lora_pipeline

from magicid.core import tables
from magicid.core.interfaces import Family
from tests.families.tiny import HEAD, HEADS, tiny_family


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    return {name: tiny_family(name, tmp_path_factory.mktemp(name)) for name in tables.EXPORTS}


@pytest.fixture(autouse=True)
def tiny_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers has the full model's width written in its converter; here stands the tiny model's."""
    name = "_convert_hunyuan_video_lora_to_diffusers"
    source = inspect.getsource(getattr(lora_conversion_utils, name))
    assert "hidden_size = 3072" in source
    space = dict(vars(lora_conversion_utils))
    exec(source.replace("hidden_size = 3072", f"hidden_size = {HEADS * HEAD}"), space)
    monkeypatch.setattr(lora_pipeline, name, space[name])
