"""CogVideoX is served as its stock pipeline serves it: 2B, 5B and 1.5."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from magicid.core.errors import DataError
from magicid.core.seeds import noise
from magicid.families.cogvideox import DEFAULT, DEFAULT_1_5, CogVideoX
from magicid.training import sampling
from tests.families.tiny import GEOMETRY, cogvideox, tiny_family

VERSIONS: dict[str, dict[str, Any]] = {
    "2B": {"rotary": False, "snr_shift": 3.0},
    "5B": {"rotary": True, "snr_shift": 1.0},
    "1.5": {"rotary": True, "snr_shift": 1.0, "patch_size_t": 2},
}
SIZE = GEOMETRY.frames, GEOMETRY.height, GEOMETRY.width


def build(version: str) -> CogVideoX:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CogVideoX(cogvideox(**VERSIONS[version]), GEOMETRY)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_samples_what_the_stock_pipeline_samples(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "autocast", lambda where: nullcontext())  # the stock pipeline computes in fp32
    family, prompt = build(version), "a person walks in the park"
    shape, pipeline = family.latents_shape(*SIZE), family.pipeline
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline(
        prompt, latents=noise((1, *shape), 7, "sample").transpose(1, 2), num_inference_steps=4, output_type="latent",
        guidance_scale=7.5, max_sequence_length=16, num_frames=GEOMETRY.frames, height=GEOMETRY.height, width=GEOMETRY.width,
    ).frames.transpose(1, 2)  # fmt: skip
    condition, negative = family.encode_prompts([prompt]), family.encode_prompts([""])
    ours = sampling.sample(family, condition, negative, [7], shape, steps=4, guidance=7.5)
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_noise_is_the_stock_schedulers(version: str) -> None:
    family = build(version)
    x0, eps = noise((3, *family.latents_shape(*SIZE)), 0, "clean"), noise((3, *family.latents_shape(*SIZE)), 0, "eps")
    t, scheduler = torch.tensor([0.001, 0.5, 1.0]), family.pipeline.scheduler
    torch.testing.assert_close(torch.tensor(family.law.alphas), scheduler.alphas_cumprod.float(), rtol=0, atol=1e-6)
    stock = scheduler.add_noise(x0, eps, torch.tensor([0, 499, 999]))
    torch.testing.assert_close(family.law.add_noise(x0, eps, t), stock, rtol=0, atol=1e-5)


def test_latents_come_back_as_the_stock_pipeline_decodes_them() -> None:
    family = build("5B")
    video = noise((1, 3, *SIZE), 0, "video").clamp(-1, 1)
    latents = family.encode(video)
    stock = family.pipeline.decode_latents(latents.transpose(1, 2))
    torch.testing.assert_close(family.decode(latents), stock)


def test_in_1_5_the_first_latent_frame_stands_twice_and_is_shown_once() -> None:
    family = build("1.5")
    video = noise((2, 3, *SIZE), 0, "video").clamp(-1, 1)
    latents = family.encode(video)
    assert latents.shape == (2, *family.latents_shape(*SIZE)) == (2, 4, 4, 8, 8)
    assert torch.equal(latents[:, :, 0], latents[:, :, 1])
    assert torch.equal(family.decode(latents), family.decode(torch.cat([-latents[:, :, :1], latents[:, :, 1:]], 2)))


@pytest.mark.parametrize("version", VERSIONS)
def test_one_frame_is_encoded_and_predicted_in_as_many_latent_frames_as_it_says(version: str) -> None:
    family = build(version)
    shape = family.latents_shape(1, GEOMETRY.height, GEOMETRY.width)
    latents = family.encode(noise((1, 3, 1, GEOMETRY.height, GEOMETRY.width), 0, "photo").clamp(-1, 1))
    assert tuple(latents.shape[1:]) == shape
    said = family.predict(latents, torch.tensor([0.5]), family.encode_prompts(["a person"]))
    assert said.shape == latents.shape and torch.isfinite(said).all()


def test_frames_that_the_decoder_would_not_give_back_are_refused() -> None:
    with pytest.raises(DataError, match=r"^3x32x32: frames must be 4n\+1 and sides multiples of 8\.$"):
        build("5B").latents_shape(3, 32, 32)


def test_each_version_has_its_own_clip_size(tmp_path: Path) -> None:
    for patch_size_t, default in ((None, DEFAULT), (2, DEFAULT_1_5)):
        folder = tmp_path / str(patch_size_t)
        cogvideox(patch_size_t=patch_size_t).save_pretrained(folder)
        assert CogVideoX.load(folder).geometry == default


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_a_scheduler_that_predicts_anything_else_is_refused(prediction: str, tmp_path: Path) -> None:
    tiny_family("cogvideox", tmp_path)
    config = tmp_path / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prediction_type": prediction}))
    with pytest.raises(DataError, match=rf"prediction_type is '{prediction}'; all released checkpoints predict 'v_prediction'"):
        CogVideoX.load(tmp_path)
