"""A LoRA of another trainer predicts here what it predicts there, or is refused by the name of what has no place."""

import json
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from magicid.core import tables
from magicid.core.errors import DataError, UsageError
from magicid.core.interfaces import Family
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.core.seeds import noise
from magicid.exchange import Import
from magicid.export.foreign import METADATA
from magicid.export.lora_file import LOADED, of_slot
from magicid.export.read_lora import bring_in, place, read_lora, start_from
from magicid.training import lora
from magicid.training.lora import LoraSettings
from tests.families.tiny import adapter, tiny_family

RANK, ALPHA = 3, 6.0
Tensors = dict[str, Tensor]


def predicted(family: Family, name: str) -> Tensor:
    """What an adapter in memory makes the model say."""
    g = family.geometry
    x = noise((1, *family.latents_shape(g.frames, g.height, g.width)), 0, "x")
    with torch.no_grad(), lora.using(family, name):
        return family.predict(x, torch.full((1,), 0.5), family.encode_prompts(["a person waves"]))


def predicted_by(family: Family, path: Path) -> Tensor:
    """The same, of a file that is read here."""
    found = read_lora(path, family)
    place(family, "elsewhere", path, found, found.layers)
    try:
        return predicted(family, "elsewhere")
    finally:
        lora.remove_adapter(family, "elsewhere")


def universal(family: Family, weights: Tensors) -> Tensors:
    """By the original model's names, alpha not folded in."""
    tensors: Tensors = tables.load(tables.EXPORTS, "export of", family.name)(weights, 1.0)
    return tensors


def downs(tensors: Tensors, name: Callable[[str], str]) -> Tensors:
    """kohya's suffixes, with an alpha for each layer that gives the scale ALPHA / RANK at whatever rank it has."""
    found = {}
    for key, tensor in tensors.items():
        layer, _, part = key.removesuffix(".weight").rpartition(".lora_")
        found[f"{name(layer)}.lora_{'down' if part == 'A' else 'up'}.weight"] = tensor
        if part == "A":
            found[f"{name(layer)}.alpha"] = torch.tensor(ALPHA / RANK * tensor.shape[0])
    return found


def underscored(layer: str) -> str:
    return "lora_unet_" + layer.removeprefix("diffusion_model.").removeprefix("transformer.").replace(".", "_")


WRITERS: dict[str, Callable[[Family, Tensors], Tensors]] = {
    "musubi": lambda family, weights: downs(universal(family, weights), underscored),
    "kohya, on diffusers' modules": lambda family, weights: downs(weights, underscored),
    "ComfyUI, with alphas": lambda family, weights: downs(universal(family, weights), lambda layer: layer),
    "diffusion-pipe": lambda family, weights: {
        key.replace("diffusion_model.", "transformer."): tensor * (ALPHA / RANK if ".lora_B." in key else 1)
        for key, tensor in universal(family, weights).items()
    },
    "diffusers, with alphas": lambda family, weights: downs(weights, lambda layer: f"transformer.{layer}"),
}


@pytest.mark.parametrize("name", tables.IMPORTS)
@pytest.mark.parametrize("layout", WRITERS)
def test_a_lora_of_another_trainer_predicts_the_same_here(
    families: dict[str, Family], tmp_path: Path, name: str, layout: str
) -> None:
    family, file = families[name], tmp_path / "lora.safetensors"
    with adapter(family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        expected = predicted(family, "ava")
        save_file(WRITERS[layout](family, weights), file)
    assert torch.allclose(predicted_by(family, file), expected, atol=1e-5)
    assert not torch.allclose(predicted_without(family), expected, atol=1e-3), "the adapter does nothing"


def predicted_without(family: Family) -> Tensor:
    with adapter(family, "zero", trained=False):
        return predicted(family, "zero")


SAVES = [name for name in tables.IMPORTS if hasattr(getattr(diffusers, tables.PIPELINES[name]), "save_lora_weights")]


@pytest.mark.parametrize("name", SAVES)
def test_what_diffusers_saves_is_read_with_its_scale(families: dict[str, Family], tmp_path: Path, name: str) -> None:
    family, file = families[name], tmp_path / "pytorch_lora_weights.safetensors"
    with adapter(family, "ava", LoraSettings(RANK, ALPHA)):
        expected = predicted(family, "ava")
        layers = get_peft_model_state_dict(family.transformer, adapter_name="ava")
        config = family.transformer.peft_config["ava"].to_dict()  # type: ignore[operator,index,union-attr]
        config["target_modules"] = sorted(config["target_modules"])
        family.pipeline.save_lora_weights(tmp_path, layers, transformer_lora_adapter_metadata=config)
    assert torch.allclose(predicted_by(family, file), expected, atol=1e-5)


@pytest.mark.parametrize("more", [{}, {"use_rslora": True}, {"alpha_pattern": {"blocks.0.attn1.to_q": 1.5}}])
def test_the_header_means_what_it_means_to_diffusers(
    families: dict[str, Family], tmp_path: Path, more: dict[str, object]
) -> None:
    family, file = families["wan"], tmp_path / "lora.safetensors"
    with adapter(family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        layers = sorted({key.rpartition(".lora_")[0] for key in weights})
    config = {"r": RANK, "lora_alpha": ALPHA, "target_modules": layers} | more
    header = {METADATA: json.dumps({f"transformer.{key}": value for key, value in config.items()})}
    save_file({f"transformer.{key}": tensor for key, tensor in weights.items()}, file, header)
    family.pipeline.load_lora_weights(tmp_path, weight_name=file.name, adapter_name=LOADED)
    theirs = predicted(family, LOADED)
    lora.remove_adapter(family, LOADED)
    assert torch.allclose(predicted_by(family, file), theirs, atol=1e-5)


def musubi(family: Family, path: Path) -> Path:
    with adapter(family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        save_file(WRITERS["musubi"](family, weights), path)
    return path


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "its prefix is none of diffusion_model., transformer."),
        ("lora_unet_blocks_0_self_attn_x.lora_down.weight", "no layer's name in wan's layout. Convert the file"),
        ("lora_unet_blocks_7_self_attn_q.lora_down.weight", "no layer's name in wan's layout. Convert the file"),
        ("lora_unet_blocks_0_self_attn_q.dora_scale", "is unexpected; tensors are LAYER.lora_A.weight"),
        ("lora_unet_blocks_0_self_attn_q.lora_mid.weight", "is unexpected; tensors are LAYER.lora_A.weight"),
        ("lora_unet_blocks_0_self_attn_q.hada_w1_a", "is unexpected; tensors are LAYER.lora_A.weight"),
        ("lora_unet_blocks_0_self_attn_q.lora_A.weight", "has lora_A twice"),
    ],
)
def test_a_key_without_a_place_is_named(families: dict[str, Family], tmp_path: Path, odd: str, said: str) -> None:
    file = musubi(families["wan"], tmp_path / "lora.safetensors")
    tensors = load_file(file)
    more = {odd: torch.ones(RANK, 32)}
    if "unexpected" not in said and "twice" not in said:
        more[odd.replace("down", "up")] = torch.ones(32, RANK)
    save_file(tensors | more, file)
    with pytest.raises(DataError, match=rf"lora\.safetensors: '{odd.partition('.')[0]}") as refused:
        read_lora(file, families["wan"])
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", tables.IMPORTS)
def test_a_key_by_diffusers_prefix_is_refused_by_its_own_name(families: dict[str, Family], tmp_path: Path, name: str) -> None:
    pair = {f"transformer.nosuch.to_q.lora_{part}.weight": torch.ones(3, 3) for part in "AB"}
    save_file(pair, tmp_path / "lora.safetensors")
    with pytest.raises(DataError, match=rf"'transformer\.nosuch\.to_q' is unexpected: no layer's name in {name}'s layout"):
        read_lora(tmp_path / "lora.safetensors", families[name])


def test_a_layer_by_two_names_is_refused(families: dict[str, Family], tmp_path: Path) -> None:
    file = musubi(families["wan"], tmp_path / "lora.safetensors")
    pair = {
        f"transformer.blocks.0.attn1.to_q.lora_{part}.weight": torch.ones(size) for part, size in (("A", (3, 32)), ("B", (32, 3)))
    }
    save_file(load_file(file) | pair, file)
    with pytest.raises(DataError, match=r"'blocks\.0\.attn1\.to_q' is there twice, by two layouts' names"):
        read_lora(file, families["wan"])


def test_underscores_that_can_mean_two_layers_are_refused(
    families: dict[str, Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, own = musubi(families["wan"], tmp_path / "lora.safetensors"), lora.linear_layers
    twin = "blocks_0.self_attn.q"  # as if the model had such a layer too
    monkeypatch.setattr(lora, "linear_layers", lambda network: own(network) | {twin: own(network)["blocks.0.attn1.to_q"]})
    with pytest.raises(DataError, match=r"can mean blocks_0\.self_attn\.q or diffusion_model\.blocks\.0\.self_attn\.q"):
        read_lora(file, families["wan"])


@pytest.mark.parametrize("alpha", [torch.tensor(float("nan")), torch.ones(2)])
def test_an_alpha_is_one_finite_number(families: dict[str, Family], tmp_path: Path, alpha: Tensor) -> None:
    file = musubi(families["wan"], tmp_path / "lora.safetensors")
    save_file(load_file(file) | {"lora_unet_blocks_0_self_attn_q.alpha": alpha}, file)
    with pytest.raises(DataError, match=r"self_attn_q\.alpha' \(.*\) is not a finite number"):
        read_lora(file, families["wan"])


@pytest.mark.parametrize(
    "header",
    ["[]", "[[1, 2]]", "{}", '{"transformer.r": "x", "transformer.lora_alpha": 1}', '{"r": 0, "lora_alpha": 1}', "[" * 10_000],
)
def test_a_header_that_is_none_is_refused(families: dict[str, Family], tmp_path: Path, header: str) -> None:
    file = musubi(families["wan"], tmp_path / "lora.safetensors")
    save_file(load_file(file), file, {METADATA: header})
    with pytest.raises(DataError, match=f"its {METADATA} is not a LoRA's settings"):
        read_lora(file, families["wan"])


@pytest.mark.parametrize("name", tables.IMPORTS)
def test_an_adapter_starts_as_the_file_in_its_own_rank_and_scale(families: dict[str, Family], tmp_path: Path, name: str) -> None:
    run, size = a_run(families[name], tmp_path), LoraSettings(5, 10.0)
    file = musubi(run.family, tmp_path / "lora.safetensors")
    expected, said = predicted_by(run.family, file), list[str]()
    with adapter(run.family, "person", size, trained=False) as new:
        start_from(run, "person", file, size, said.append)
        assert torch.allclose(predicted(run.family, "person"), expected, atol=1e-5)
        started = lora.weights(run.family, "person")
    assert len(said) == 1 and said[0].endswith("which base and which person it was made for is unknown.")
    for key in new:  # what rank is left over starts as ever: A random, B zero
        more = started[key][3:] if ".lora_A." in key else started[key][:, 3:]
        assert more.equal(new[key][3:] if ".lora_A." in key else new[key][:, 3:])


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (LoraSettings(2, 2.0), r"has rank 3, finetune\.rank 2; set --finetune\.rank 3 or more"),
        (
            LoraSettings(3, 3.0, ("to_k",)),
            r"changes 12 layers that finetune\.targets does not train \(.*--finetune\.targets to_k bl",
        ),
    ],
)
def test_a_start_that_does_not_fit_is_refused_with_the_setting(
    families: dict[str, Family], tmp_path: Path, size: LoraSettings, said: str
) -> None:
    run = a_run(families["wan"], tmp_path)
    file = musubi(run.family, tmp_path / "lora.safetensors")
    with adapter(run.family, "person", size, trained=False), pytest.raises(DataError, match=said):
        start_from(run, "person", file, size, lambda line: None)


def test_two_experts_files_of_another_trainer_are_imported_and_used_as_one(tmp_path: Path) -> None:
    base, said = tmp_path / "base", list[str]()
    family = tiny_family("wan22", base)
    high, low, out = (tmp_path / f"{name}.safetensors" for name in ("t2v_high_noise", "t2v_low_noise", "ours"))
    with adapter(family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        for slot, file in (("high", high), ("low", low)):
            save_file(WRITERS["musubi"](family, of_slot(weights, slot)), file)
    with pytest.raises(DataError, match=r"t2v_high_noise_low\.safetensors is not there\. Put it there, or name both"):
        Import(high, out, base=str(base)).run(said.append)
    assert Import(high, out, low, str(base)).run(said.append) == [out, tmp_path / "ours_low.safetensors"]
    own = {key.partition(".")[2].removesuffix(".lora_A.weight") for key in weights if ".lora_A." in key}
    for path, slot in ((out, "high"), (tmp_path / "ours_low.safetensors", "low")):
        story = read_lora(path, family).story
        assert story["slot"] == slot and set(story["targets"]) == own
    run = a_run(family, tmp_path, story["base_digest"])
    low.rename(tmp_path / "t2v_high_noise_low.safetensors")
    for file in (high, out):  # as they were, and imported
        bring_in(run, "elsewhere", file, said.append)
        found = lora.weights(family, "elsewhere")
        lora.remove_adapter(family, "elsewhere")
        for key, b in weights.items():
            if ".lora_B." in key:
                a = key.replace(".lora_B.", ".lora_A.")
                assert torch.allclose(found[key] @ found[a], ALPHA / RANK * b @ weights[a], atol=1e-5)
    with adapter(family, "person", LoraSettings(RANK, ALPHA, ("to_k",)), trained=False), pytest.raises(DataError) as refused:
        start_from(run, "person", out, LoraSettings(RANK, ALPHA, ("to_k",)), said.append)
    assert "changes 12 layers" in str(refused.value) and "--finetune.targets to_k blocks.0." in str(refused.value)


def test_a_second_file_for_a_base_of_one_expert_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    file = musubi(tiny_family("wan", base), tmp_path / "lora.safetensors")
    with pytest.raises(UsageError, match=r"has no second expert to take it\. Leave out --low"):
        Import(file, tmp_path / "out.safetensors", file, str(base)).run(lambda line: None)


def a_run(family: Family, folder: Path, base_digest: str = "0123456789abcdef") -> Run:
    run = Run(RunDir(folder / "run"), Common(folder, family=family.name))
    run.family = family
    run.dir.freeze({"base_digest": base_digest})
    return run
