"""What is exported is what was trained: the stock pipeline, given the file, predicts what the adapter in memory predicts."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from magicid.core import placement, tables
from magicid.core.errors import DataError
from magicid.core.interfaces import Family
from magicid.core.records import Metric, Photo
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.export.lora_file import export_adapter, of_slot, slot_files, subject, trained_layers, verify
from magicid.training.adapters import save_adapter
from magicid.training.lora import LoraSettings
from tests.families.tiny import BUILD, FAMILY, adapter, tiny_family

RANK, ALPHA = 3, 6.0
CASES = {
    "wan": ("wan", ()),
    "wan, feed-forward": ("wan", ("ffn.net.0.proj", "ffn.net.2")),
    "hunyuan": ("hunyuan_video", ()),
    "hunyuan, one member of a fused layer": ("hunyuan_video", ("transformer_blocks.1.attn.to_k",)),
    "hunyuan, no fused layer": ("hunyuan_video", ("transformer_blocks.0.ff.net.0.proj", "transformer_blocks.0.norm1.linear")),
    "hunyuan, single blocks": ("hunyuan_video", ("single_transformer_blocks.0.attn.to_v", "1.proj_mlp")),
    "hunyuan, outputs": ("hunyuan_video", ("transformer_blocks.0.attn.to_add_out", "single_transformer_blocks.1.proj_out")),
    "cogvideox": ("cogvideox", ()),
    "cogvideox, other layers": ("cogvideox", ("ff.net.0.proj", "ff.net.2", "norm1.linear", "patch_embed.text_proj", "proj_out")),
    "ltx": ("ltx", ()),
    "ltx, other layers": ("ltx", ("ff.net.0.proj", "ff.net.2", "caption_projection.linear_1", "proj_out")),
    "hunyuan 1.5": ("hunyuan_video15", ()),
    "hunyuan 1.5, other layers": ("hunyuan_video15", ("transformer_blocks.0.ff.net.0.proj", "refiner_blocks.0.attn.to_q")),
    "wan with experts": ("wan22", ()),
}  # fmt: skip
PREFIX = {"hunyuan_video15": "transformer.", "cogvideox": "transformer."}  # of the universal names, where it is another


def export(family: Family, weights: dict[str, Tensor], scale: float = ALPHA / RANK) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = tables.load(tables.EXPORTS, "export of", family.name)(weights, scale)
    return tensors


@pytest.mark.parametrize("case", CASES)
def test_the_stock_pipeline_gets_all_that_was_trained(case: str, families: dict[str, Family], tmp_path: Path) -> None:
    name, targets = CASES[case]
    family = families[name]
    files = slot_files(family, tmp_path / "adapter.safetensors")
    with adapter(family, "ava", LoraSettings(RANK, ALPHA, targets)) as weights:
        for slot, file in files.items():
            tensors = export(family, of_slot(weights, slot))
            save_file(tensors, file)
            assert all(key.startswith(PREFIX.get(name, "diffusion_model.")) and ".lora_" in key for key in tensors)
            assert len({t.shape[0] for key, t in tensors.items() if ".lora_A." in key}) == 1, "ranks differ"
        first, *others = files.values()
        assert len(trained_layers(family, "ava")) == len(weights) / 2
        assert verify(family, "ava", first, None, *others) < 1e-4


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
@pytest.mark.parametrize("name", BUILD)
def test_a_base_of_fewer_bits_verifies_its_files_to_the_same_digit(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_family(name, tmp_path)
    family = tables.load(tables.FAMILIES, "family", FAMILY.get(name, name)).load(tmp_path, torch.bfloat16)
    placement.place(family, precision, "none", "", placement.HOST)
    files = slot_files(family, tmp_path / "adapter.safetensors")
    with adapter(family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        for scale in (ALPHA / RANK, 1.01 * ALPHA / RANK):
            for slot, file in files.items():
                save_file(export(family, of_slot(weights, slot), scale), file)
            first, *others = files.values()
            if scale == ALPHA / RANK:
                assert verify(family, "ava", first, None, *others) < 1e-2
            else:
                with pytest.raises(DataError, match=r"layers are changed otherwise"):
                    verify(family, "ava", first, None, *others)


def test_both_experts_files_are_needed_and_in_their_order(families: dict[str, Family], tmp_path: Path) -> None:
    family = families["wan22"]
    files = slot_files(family, tmp_path / "adapter.safetensors")
    assert [file.name for file in files.values()] == ["adapter.safetensors", "adapter_low.safetensors"]
    with adapter(family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        for slot, file in files.items():
            save_file(export(family, of_slot(weights, slot)), file)
        high, low = files.values()
        with pytest.raises(DataError, match=r"16 of 32 trained layers load \(low\.blocks"):
            verify(family, "ava", high)
        with pytest.raises(DataError, match=r"adapter_low\.safetensors: .* layers are changed otherwise"):
            verify(family, "ava", low, None, high)


@pytest.mark.parametrize("name", tables.EXPORTS)
@pytest.mark.parametrize("fault", ["renamed", "lost", "prefix", "scale", "alpha"])
def test_a_file_that_loses_anything_is_refused(name: str, fault: str, families: dict[str, Family], tmp_path: Path) -> None:
    family, file = families[name], tmp_path / "adapter.safetensors"
    with adapter(family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        tensors = export(family, weights, scale=1.0 if fault == "scale" else ALPHA / RANK)
        first = next(iter(tensors)).removesuffix(".lora_A.weight")
        pair = {key: tensors.pop(key) for key in list(tensors) if key.startswith(f"{first}.")}
        if fault == "renamed":
            tensors |= {key.replace(first, f"{first}_x"): tensor for key, tensor in pair.items()}
        elif fault != "lost":
            tensors |= pair
        if fault == "prefix":
            tensors = {f"model.{key.partition('.')[2]}": tensor for key, tensor in tensors.items()}
        if fault == "alpha":
            tensors[f"{first}.alpha"] = torch.tensor(1.0)
        save_file(tensors, file)
        with pytest.raises(DataError, match=r"^[^\n]*adapter\.safetensors[^\n]*$"):
            verify(family, "ava", file)
        save_file(export(family, weights), file)
        assert verify(family, "ava", file) < 1e-4, "a refused file left something behind"


@pytest.mark.parametrize(
    ("name", "layer", "said"),
    [
        ("hunyuan_video", "token_refiner.refiner_blocks.0.attn.to_q", "has no place"),
        ("ltx", "proj_in", "named differently by ComfyUI and diffusers"),
        ("ltx", "time_embed.linear", "named differently by ComfyUI and diffusers"),
    ],
)
def test_a_layer_without_a_universal_name_is_refused(name: str, layer: str, said: str, families: dict[str, Family]) -> None:
    family = families[name]
    with adapter(family, "ava", LoraSettings(RANK, ALPHA, (layer,))) as weights, pytest.raises(DataError, match=said):
        export(family, weights)


@pytest.mark.parametrize(("name", "slots"), [("wan", {"": "person"}), ("wan22", {"": "high", "_low": "low"})])
def test_the_header_tells_the_files_story(families: dict[str, Family], tmp_path: Path, name: str, slots: dict[str, str]) -> None:
    settings = {"finetune.rank": RANK, "finetune.alpha": ALPHA, "finetune.targets": [], "finetune.steps": 3, "base_digest": "b1"}
    run = Run(RunDir(tmp_path / "run"), Common(tmp_path, base="somewhere", trigger="sks dog"))
    run.family = families[name]
    run.dir.freeze(settings)
    run.dir.stage("prepare")
    run.dir.publish("prepare", [Photo("photo-000", "a.png", "", "", "5ha", held_out=False)])
    with adapter(run.family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        record = save_adapter(run, "optimize", weights)
    measured = [Metric("magicid", "identity", 0.25, 0.2, 0.3, 4), Metric("magicid", "motion", float("nan"), 0, 0, 0)]
    told = {"trigger": "sks dog", "base": "somewhere", "base_digest": "b1", "finetune.steps": 3, "adapter_sha256": record.sha256}
    told |= {"subject": subject(run), "targets": []}
    for metrics, scores in (((), {}), ([*measured, Metric("base", "prompt", 0.9, 0, 1, 4)], {"scores": {"identity": 0.25}})):
        export_adapter(run, record, tmp_path / "adapter.safetensors", metrics)
        assert sorted(path.stem for path in tmp_path.glob("*.safetensors")) == sorted(f"adapter{end}" for end in slots)
        for end, slot in slots.items():
            with safe_open(tmp_path / f"adapter{end}.safetensors", "pt") as file:
                header = json.loads(file.metadata()["magicid"])
            assert header.pop("version") and header == told | scores | {"slot": slot}
    run.dir.close()
