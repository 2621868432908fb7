"""LTX-Video is served as its stock pipeline serves it."""

import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from magicid.core.diffusion import FlowMatching
from magicid.core.errors import DataError
from magicid.core.seeds import noise
from magicid.families.ltx import DEFAULT, LTX, law_of
from magicid.training import sampling
from tests.families.tiny import GEOMETRY, ltx

SIZE = GEOMETRY.frames, GEOMETRY.height, GEOMETRY.width
RELEASED = {  # the scheduler's configuration
    "use_dynamic_shifting": True, "base_image_seq_len": 1024, "max_image_seq_len": 4096, "base_shift": 0.95, "max_shift": 2.05,
    "shift_terminal": 0.1, "shift": 1.0, "time_shift_type": "exponential",
}  # fmt: skip


@pytest.fixture(scope="module")
def family() -> LTX:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LTX(ltx(), GEOMETRY)


def test_it_samples_what_the_stock_pipeline_samples(family: LTX, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "autocast", lambda where: nullcontext())  # the stock pipeline computes in fp32
    shape, pipeline, prompt = family.latents_shape(*SIZE), family.pipeline, "a person walks in the park"
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline(
        prompt, latents=pipeline._pack_latents(noise((1, *shape), 7, "sample")), num_inference_steps=4, output_type="latent",
        guidance_scale=3.0, max_sequence_length=16, frame_rate=GEOMETRY.fps, num_frames=GEOMETRY.frames,
        height=GEOMETRY.height, width=GEOMETRY.width,
    ).frames  # fmt: skip
    condition, negative = family.encode_prompts([prompt]), family.encode_prompts([""])
    ours = sampling.sample(family, condition, negative, [7], shape, steps=4, guidance=3.0)
    torch.testing.assert_close(ours, pipeline._unpack_latents(stock, *shape[1:]), rtol=0, atol=1e-4)


def test_the_shift_is_that_of_the_geometrys_clips(family: LTX) -> None:
    tokens = math.prod(family.latents_shape(*SIZE)[1:])
    assert family.law == law_of(family.pipeline.scheduler.config, tokens)
    larger = LTX(family.pipeline, replace(GEOMETRY, width=64))
    assert larger.law.shift > family.law.shift > 1 and larger.law.terminal == 0.1
    resized = LTX(family.pipeline, GEOMETRY)
    resized.geometry = GEOMETRY.sized(width=64)  # as a run does with --width
    assert resized.law == larger.law


def test_the_released_scheduler_gives_the_published_shifts_at_both_ends() -> None:
    assert law_of(RELEASED, 1024) == FlowMatching(pytest.approx(math.exp(0.95)), 0.1)
    assert law_of(RELEASED, 4096) == FlowMatching(pytest.approx(math.exp(2.05)), 0.1)
    assert law_of(RELEASED | {"time_shift_type": "linear"}, 1024) == FlowMatching(pytest.approx(0.95), 0.1)
    assert law_of({"shift": 7.0}, 1024) == FlowMatching(7.0)


def test_the_frame_rate_counts(family: LTX) -> None:
    x, t = noise((1, *family.latents_shape(*SIZE)), 0, "rate"), torch.tensor([0.5])
    condition = family.encode_prompts(["a person sits"])
    slow = LTX(family.pipeline, replace(GEOMETRY, fps=4.0))
    with torch.no_grad():
        assert not torch.equal(family.predict(x, t, condition), slow.predict(x, t, condition))


def test_latents_are_standardised_and_come_back(family: LTX) -> None:
    vae, video = family.pipeline.vae, noise((1, 3, *SIZE), 0, "video").clamp(-1, 1)
    raw = vae.encode(video).latent_dist.mode()
    expected = (raw - vae.latents_mean.reshape(1, -1, 1, 1, 1)) / vae.latents_std.reshape(1, -1, 1, 1, 1)
    torch.testing.assert_close(family.encode(video), expected)
    torch.testing.assert_close(family.decode(family.encode(video)), vae.decode(raw).sample)


def test_a_decoder_that_mixes_noise_in_gives_one_clip_all_the_same() -> None:
    pipeline = ltx(noisy_decoder=True)
    for name, weight in pipeline.vae.decoder.named_parameters():
        if "per_channel_scale" in name:
            torch.nn.init.ones_(weight)
    latents, clean = noise((2, 4, 3, 4, 4), 0, "latents"), torch.zeros(2)
    with torch.no_grad():
        assert not torch.equal(pipeline.vae.decode(latents, clean).sample, pipeline.vae.decode(latents, clean).sample)
    family = LTX(pipeline, GEOMETRY)
    assert torch.equal(family.decode(latents), family.decode(latents))


def test_the_default_clip_fits_the_released_compression() -> None:
    assert (DEFAULT.frames - 1) % 8 == DEFAULT.height % 32 == DEFAULT.width % 32 == 0


def test_a_geometry_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"^5x32x36: frames must be 2n\+1 and sides multiples of 8\.$"):
        LTX(ltx(), replace(GEOMETRY, width=36))
