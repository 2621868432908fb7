"""Each family, from photos to a LoRA that its stock pipeline loads whole."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
from safetensors import safe_open

from magicid.core import tables
from magicid.core.records import Adapter, Video
from magicid.core.run import Common
from magicid.core.weights import read_weights
from magicid.pipeline import run_pipeline
from tests.families.tiny import FAMILY, tiny_materials
from tests.families.width import tiny_width
from tests.test_pipeline import QUIET, SMALL

FEW = replace(
    SMALL,
    finetune=replace(SMALL.finetune, steps=2, single_frame=True),  # a size that each family must know too
    optimize=replace(SMALL.optimize, steps=2),
    prompts=replace(SMALL.prompts, repository=2, evaluation=1),
    sample=replace(SMALL.sample, finetuned_per_prompt=2),
)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_width(monkeypatch)
    monkeypatch.setitem(tables.JUDGES, "centred", "tests.doubles:centred_judges")


@contextmanager
def diffusers_warnings(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What diffusers warns of inside the block: a LoRA's names that found no layer, above all."""
    diffusers.utils.logging.enable_propagation()
    caplog.clear()
    try:
        with caplog.at_level(logging.WARNING):
            yield lambda: [record.getMessage() for record in caplog.records]
    finally:
        diffusers.utils.logging.disable_propagation()


@pytest.mark.parametrize("name", [*tables.FAMILIES, *FAMILY])
def test_a_run_ends_with_a_lora_that_the_stock_pipeline_loads_whole(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos, base = tiny_materials(tmp_path, name)
    family = FAMILY.get(name, name)
    folder = run_pipeline(Common(photos, base=str(base), family=family, judges="centred"), FEW, tmp_path / "run", QUIET)
    assert all(folder.finished(stage) for stage in tables.STAGES) and folder.read("generate", Video)
    trained = read_weights(folder.root / folder.read("optimize", Adapter)[0].file)
    folder.close()
    layers = {key.removesuffix(".lora_B.weight") for key, tensor in trained.items() if ".lora_B." in key and tensor.any()}
    assert len(layers) == len(trained) / 2, "a layer has not moved"

    stock = getattr(diffusers, tables.PIPELINES[family]).from_pretrained(base)
    parts = {"": stock.transformer} if name != "wan22" else {"high.": stock.transformer, "low.": stock.transformer_2}
    with diffusers_warnings(caplog) as warnings:
        load = getattr(stock, "load_lora_weights", None) or stock.transformer.load_lora_adapter
        load(tmp_path / "run", weight_name="adapter.safetensors", adapter_name="ava")
        if name == "wan22":
            file, second = "adapter_low.safetensors", {"load_into_transformer_2": True}
            load(tmp_path / "run", weight_name=file, adapter_name="ava", **second)
    named = [(slot + key, tensor) for slot, part in parts.items() for key, tensor in part.named_parameters()]
    loaded = {key for key, tensor in named if ".lora_B.ava." in key and tensor.any()}
    assert loaded == {f"{layer}.lora_B.ava.weight" for layer in layers}
    assert not warnings()
    with safe_open(tmp_path / "run" / "adapter.safetensors", "pt") as file:
        assert json.loads(file.metadata()["magicid"])["trigger"] == "sks person"


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_a_run_on_a_base_of_fewer_bits_comes_to_its_end(precision: str, tmp_path: Path) -> None:
    photos, base = tiny_materials(tmp_path)
    less = replace(
        FEW,
        finetune=replace(FEW.finetune, recompute="blocks"),
        distill=replace(FEW.distill, recompute="attention"),
        optimize=replace(FEW.optimize, recompute="attention", chunk=1),
    )
    common = Common(photos, base=str(base), judges="centred", precision=precision)
    folder = run_pipeline(common, less, tmp_path / "run", QUIET)
    assert folder.finished("evaluate") and (folder.root / "adapter.safetensors").exists()
    folder.close()
