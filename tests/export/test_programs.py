"""What stands beside an export does what the run's own sampling does: the script when it is run, the workflow by its numbers."""

import json
import re
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from magicid.core import tables
from magicid.core.diffusion import FlowMatching
from magicid.core.experts import networks
from magicid.core.interfaces import Family
from magicid.core.records import Adapter, Photo, Prompt, Video
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.export.recipe import Recipe, recipe, sample_recipe
from magicid.export.result import beside, export_result
from magicid.export.snippet import snippet
from magicid.export.workflow import workflow
from magicid.media.video import to_frames
from magicid.training import lora
from magicid.training.adapters import load_adapter, save_adapter
from magicid.training.lora import LoraSettings
from magicid.training.sampling import sample
from tests.families.tiny import adapter

RANK, ALPHA, STEPS, SEED = 3, 6.0, 4, 7
PROMPT = 'sks person\n"waves" \\ in the park, \N{GRINNING FACE}'
SETTINGS = {
    "finetune.rank": RANK, "finetune.alpha": ALPHA, "finetune.targets": [], "base_digest": "0123456789abcdef",
    "generate.steps": STEPS, "generate.guidance": None,
}  # fmt: skip


@pytest.fixture(params=(*tables.EXPORTS, "wan22"))
def run(request: pytest.FixtureRequest, families: dict[str, Family], tmp_path: Path) -> Iterator[Run]:
    """A run of a tiny family that has its adapter and its prompts, and no clips."""
    family = families[request.param]
    base = family.pipeline.config._name_or_path  # type: ignore[attr-defined]
    run = Run(RunDir(tmp_path / "run"), Common(tmp_path, base=base, family=family.name))
    run.family = family
    run.dir.freeze(SETTINGS)
    for stage in ("prepare", "prompts", "optimize"):
        run.dir.stage(stage)
    run.dir.publish("prepare", [Photo("photo-000", "a.png", "", "", "5ha", held_out=False)])
    run.dir.publish("prompts", [Prompt("prompt-0", "sks person sits", "repository"), Prompt("prompt-1", PROMPT, "evaluation")])
    with adapter(family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        run.dir.publish("optimize", [save_adapter(run, "optimize", weights)])
    yield run
    run.dir.close()


def drawn(run: Run, clip: Recipe, seed: int) -> np.ndarray[Any, Any]:
    """Our own sampling's frames."""
    family = run.family
    load_adapter(run, "person", run.dir.read("optimize", Adapter)[0])
    with lora.using(family, "person", clip.strength):
        condition = family.encode_prompts([clip.prompt])
        latents = sample(family, condition, run.negative, [seed], clip.noise_shape[1:], clip.steps, clip.guidance)
    lora.remove_adapter(family, "person")
    return to_frames(family.decode(latents))[0]


@pytest.mark.parametrize(("guidance", "until"), [(1.0, 0.0), (3.0, 0.0), (3.0, 0.6)])
def test_the_script_draws_the_runs_own_clip(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], guidance: float, until: float
) -> None:
    if until and run.family.name != "wan":
        pytest.skip("only Wan's stock pipeline lets guidance end early")
    monkeypatch.setattr(run.family, "geometry", replace(run.family.geometry, guidance=guidance, guidance_until=until))
    run.dir.stage("generate")
    clip = Video("magicid-1-0", "magicid", PROMPT, SEED, 0.8, "", "", "")
    run.dir.publish("generate", [replace(clip, origin="base", seed=1), clip])
    path = run.dir.root / "it's.safetensors"
    assert {path, beside(path)[0]} <= set(export_result(run, path))
    found = runpy.run_path(str(beside(path)[0]))
    frames = np.stack(found["frames"])
    expected = drawn(run, sample_recipe(run, path), SEED) / 255
    assert frames.shape == expected.shape and np.abs(frames - expected).max() <= 1 / 255
    assert capsys.readouterr().out.strip() == str(path.with_name("clip.mp4")) and path.with_name("clip.mp4").stat().st_size
    without = replace(sample_recipe(run, path), strength=0.0)
    assert np.abs(drawn(run, without, SEED) / 255 - expected).max() > 0.02, "the adapter does nothing"


OUTPUTS = {  # read in ComfyUI's source
    "UNETLoader": ("MODEL",), "LoraLoaderModelOnly": ("MODEL",), "ModelSamplingSD3": ("MODEL",), "CLIPLoader": ("CLIP",),
    "DualCLIPLoader": ("CLIP",), "CLIPTextEncode": ("CONDITIONING",), "FluxGuidance": ("CONDITIONING",), "VAELoader": ("VAE",),
    "EmptyHunyuanLatentVideo": ("LATENT",), "KSamplerAdvanced": ("LATENT",), "VAEDecode": ("IMAGE",), "SaveAnimatedWEBP": (),
}  # fmt: skip
TAKES = {
    "model": "MODEL", "clip": "CLIP", "conditioning": "CONDITIONING", "positive": "CONDITIONING", "negative": "CONDITIONING",
    "latent_image": "LATENT", "samples": "LATENT", "vae": "VAE", "images": "IMAGE",
}  # fmt: skip


def inputs(nodes: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in nodes.values() if node["class_type"] == kind]


@pytest.mark.parametrize(("guidance", "until"), [(1.0, 0.0), (3.0, 0.0), (3.0, 0.6)])
def test_the_workflow_is_connected_and_holds_the_recipes_numbers(
    run: Run, monkeypatch: pytest.MonkeyPatch, guidance: float, until: float
) -> None:
    monkeypatch.setattr(run.family, "geometry", replace(run.family.geometry, guidance=guidance, guidance_until=until))
    path = run.dir.root / "adapter.safetensors"
    if run.family.name not in COMFYUI or len(networks(run.family.transformer)) == 2:
        assert beside(path)[1] not in export_result(run, path)
        return
    export_result(run, path)
    nodes, clip, law = json.loads(beside(path)[1].read_text()), sample_recipe(run, path), run.family.law
    used = set()
    for node in nodes.values():
        assert node.keys() == {"class_type", "inputs", "_meta"} and node["class_type"] in OUTPUTS
        for name, value in node["inputs"].items():
            assert isinstance(value, list) == (name in TAKES), name
            if name in TAKES:
                used.add(value[0])
                assert OUTPUTS[nodes[value[0]]["class_type"]][value[1]] == TAKES[name]
    assert nodes.keys() - used == {key for key, node in nodes.items() if node["class_type"] == "SaveAnimatedWEBP"}
    assert inputs(nodes, "LoraLoaderModelOnly")[0].items() >= {"lora_name": path.name, "strength_model": 1.0}.items()
    assert inputs(nodes, "ModelSamplingSD3")[0]["shift"] == law.shift  # type: ignore[union-attr]
    assert [text["text"] for text in inputs(nodes, "CLIPTextEncode")] == [PROMPT, ""]
    assert inputs(nodes, "EmptyHunyuanLatentVideo") == [{"width": 32, "height": 32, "length": 5, "batch_size": 1}]
    assert inputs(nodes, "SaveAnimatedWEBP")[0]["fps"] == run.family.geometry.fps
    embedded = [6.0] if run.family.name == "hunyuan_video" else []
    assert [node["guidance"] for node in inputs(nodes, "FluxGuidance")] == embedded
    legs = inputs(nodes, "KSamplerAdvanced")
    for leg in legs:
        told = {"noise_seed": clip.noise_seed, "steps": STEPS, "sampler_name": "euler", "scheduler": "simple"}
        assert leg.items() >= told.items()
    scales = [leg["cfg"] for leg in legs for _ in range(leg["start_at_step"], leg["end_at_step"])]
    assert scales == [guidance if guidance == 1 or time >= until else 1.0 for time in law.times(STEPS)[:-1]]
    assert [leg["add_noise"] for leg in legs] == ["enable", "disable"][: len(legs)]
    assert [leg["return_with_leftover_noise"] for leg in legs] == ["enable", "disable"][-len(legs) :]


@pytest.mark.parametrize("steps", [4, 20, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0, 7.0])
def test_comfyuis_simple_scheduler_takes_the_times_of_our_flow(shift: float, steps: int) -> None:
    grid = torch.arange(1, 1001) / 1000
    sigmas = shift * grid / (1 + (shift - 1) * grid)  # as ModelSamplingSD3 makes them
    simple = [float(sigmas[-(1 + int(i * 1000 / steps))]) for i in range(steps)] + [0.0]
    assert torch.allclose(torch.tensor(simple), FlowMatching(shift).times(steps), atol=1e-6)


def test_a_family_without_an_entry_gets_a_plain_script_and_no_workflow(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run.dir.root / "adapter.safetensors"
    export_result(run, path)
    known = recipe(run, PROMPT, SEED, STEPS, 5.0, path)
    monkeypatch.setitem(tables.PIPELINES, "new", "NewPipeline")
    new = replace(known, family="new", arguments={"guidance_scale": 5.0})
    assert workflow(new) is None and workflow(replace(known, shift=None)) is None
    assert "FlowMatchEulerDiscreteScheduler, NewPipeline\n" in snippet(new) and "'guidance_scale': 5.0,\n}" in snippet(new)
    compile(snippet(new), "snippet", "exec")


def test_the_script_asks_the_hub_for_the_commit_that_the_run_kept(run: Run) -> None:
    path = run.dir.root / "adapter.safetensors"
    export_result(run, path)
    assert "from_pretrained(BASE, dtype=kinds)" in snippet(sample_recipe(run, path))
    run.dir.freeze(run.dir.settings() | {"base_commit": "7f"})
    assert "from_pretrained(BASE, revision='7f', dtype=kinds)" in snippet(sample_recipe(run, path))


COMFYUI = {  # the names that ComfyUI and diffusers both load
    "wan": r"diffusion_model\.blocks\.\d+\.((self_attn|cross_attn)\.(q|k|v|o)|ffn\.(0|2))\.lora_[AB]\.weight",
    "hunyuan_video": r"diffusion_model\.(double_blocks\.\d+\.(img|txt)_(attn_qkv|attn_proj|mlp\.fc1|mlp\.fc2|mod\.linear)"
    r"|single_blocks\.\d+\.(linear1|linear2|modulation\.linear))\.lora_[AB]\.weight",
}


@pytest.mark.parametrize("name", COMFYUI)
def test_every_exported_name_is_one_that_comfyui_knows(families: dict[str, Family], name: str) -> None:
    family, export = families[name], tables.load(tables.EXPORTS, "export of", name)
    block = re.compile(r"(blocks|transformer_blocks|single_transformer_blocks)\.\d+\.")
    layers = tuple(layer for layer in lora.linear_layers(family.transformer) if block.match(layer))
    with adapter(family, "ava", LoraSettings(RANK, ALPHA, layers)) as weights:
        names = set(export(weights, 1.0))
    assert all(re.fullmatch(COMFYUI[name], key) for key in names)
    kinds = {re.sub(r"\d+", "0", key, count=1) for key in names}
    assert len(kinds) == 2 * {"wan": 10, "hunyuan_video": 13}[name], "some of the list are not reached"
