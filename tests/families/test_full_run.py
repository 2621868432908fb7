"""Each family, from photos to a LoRA that its stock pipeline loads whole."""

import json
import logging
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors import safe_open

from magicid.core import tables
from magicid.core.records import Adapter, Video
from magicid.core.run import Common
from magicid.core.weights import read_weights
from magicid.pipeline import run_pipeline
from tests.families.tiny import tiny_materials, tiny_width
from tests.test_pipeline import QUIET, SMALL


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_width(monkeypatch)
    monkeypatch.setitem(tables.JUDGES, "centred", "tests.doubles:centred_judges")


@pytest.mark.parametrize("name", tables.FAMILIES)
def test_a_run_ends_with_a_lora_that_the_stock_pipeline_loads_whole(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos, base = tiny_materials(tmp_path, name)
    folder = run_pipeline(Common(photos, base=str(base), family=name, judges="centred"), SMALL, tmp_path / "run", QUIET)
    assert all(folder.finished(stage) for stage in tables.STAGES)
    assert folder.read("generate", Video)
    trained = read_weights(folder.root / folder.read("optimize", Adapter)[0].path)
    layers = {key.removesuffix(".lora_B.weight") for key, tensor in trained.items() if ".lora_B." in key and tensor.any()}
    assert len(layers) == len(trained) / 2, "a layer has not moved"

    stock = getattr(diffusers, tables.PIPELINES[name]).from_pretrained(base)
    diffusers.utils.logging.enable_propagation()  # its warnings, to where they can be read
    with caplog.at_level(logging.WARNING):
        stock.load_lora_weights(tmp_path / "run", weight_name="adapter.safetensors", adapter_name="ava")
    found = {
        key.removesuffix(".lora_B.ava.weight")
        for key, tensor in stock.transformer.named_parameters()
        if key.endswith(".lora_B.ava.weight") and tensor.any()
    }
    assert found == layers and not caplog.records
    assert torch.isfinite(next(iter(trained.values()))).all()
    with safe_open(tmp_path / "run" / "adapter.safetensors", "pt") as file:
        assert json.loads(file.metadata()["magicid"])["trigger"] == "sks person"
    folder.close()
