"""HunyuanVideo 1.5 besides the contract: the stock pipeline's arithmetic, with its guidance and without its padding."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from magicid.core.interfaces import Family
from magicid.core.seeds import noise
from magicid.families.hunyuan_video15 import DEFAULT, HunyuanVideo15
from magicid.training import lora, sampling
from tests.families.tiny import GEOMETRY, adapter, tiny_family

SIZE = {"num_frames": GEOMETRY.frames, "height": GEOMETRY.height, "width": GEOMETRY.width}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return tiny_family("hunyuan_video15", tmp_path_factory.mktemp("hunyuan_video15"))


@pytest.mark.parametrize("prompt", ["a person waves", 'a person walks in the "park", and waves'])
def test_it_samples_what_the_stock_pipeline_samples(family: Family, prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "autocast", lambda where: nullcontext())  # the stock pipeline computes in fp32
    shape = family.latents_shape(GEOMETRY.frames, GEOMETRY.height, GEOMETRY.width)
    family.pipeline.set_progress_bar_config(disable=True)
    latents = noise((1, *shape), 7, "sample")
    stock = family.pipeline(prompt, latents=latents, num_inference_steps=4, output_type="latent", **SIZE).frames
    condition, negative = family.encode_prompts([prompt]), family.encode_prompts([""])
    ours = sampling.sample(family, condition, negative, [7], shape, steps=4, guidance=3.0)
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-4)
    unguided = sampling.sample(family, condition, negative, [7], shape, steps=4, guidance=1.0)
    assert float((unguided - stock).abs().max()) > 1e-2
    assert family.law.shift == 5.0


def test_what_stands_in_quotes_is_shown_to_the_second_encoder(family: Family) -> None:
    plain, quoted = family.encode_prompts(["a person", 'a person "waves"'])["encoder_attention_mask_2"].sum(1).tolist()
    assert plain == 0 and quoted == len('Text "waves". ') + 1  # bytes, and the end


def test_rows_of_other_lengths_give_finite_gradients(family: Family) -> None:
    shape = family.latents_shape(GEOMETRY.frames, GEOMETRY.height, GEOMETRY.width)
    condition = family.encode_prompts(["", 'a person walks and "waves"'])
    with adapter(family, "ava"), lora.using(family, "ava"):
        family.predict(noise((2, *shape), 0, "x"), torch.tensor([0.9, 0.2]), condition).square().mean().backward()
        gradients = [p.grad for p in lora.parameters(family, "ava").values()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_the_token_refiner_and_what_nobody_reads_are_left_alone(family: Family) -> None:
    with adapter(family, "ava") as weights:
        assert len(weights) == 2 * len(family.lora_targets) == 2 * (2 * 8 - 2)
        assert all(name.startswith("transformer_blocks.") for name in weights)


def test_without_a_geometry_of_its_own_guidance_is_the_checkpoints(tmp_path: Path) -> None:
    tiny_family("hunyuan_video15", tmp_path)
    (tmp_path / "geometry.json").unlink()
    family = HunyuanVideo15.load(tmp_path)
    assert family.geometry.guidance == 3.0 and family.geometry.frames == DEFAULT.frames
    assert family.pipeline.prompt_template_encode_start_idx == 108
