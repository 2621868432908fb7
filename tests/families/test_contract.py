"""What every family promises, on tiny random checkpoints; and that the promise is the stock pipeline's own arithmetic."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from magicid.core import tables
from magicid.core.diffusion import FlowMatching, ddim_step
from magicid.core.errors import DataError
from magicid.core.interfaces import Condition, Family
from magicid.core.seeds import noise
from magicid.training import lora, sampling
from tests.families.tiny import GEOMETRY, adapter, tiny_family

PROMPTS = ["a person waves", 'a person walks in the "park" and sits', ""]  # quotes: text to be shown


def shape(family: Family) -> tuple[int, int, int, int]:
    return family.latents_shape(GEOMETRY.frames, GEOMETRY.height, GEOMETRY.width)


def question(family: Family, batch: int = 2) -> tuple[Tensor, Tensor, Condition]:
    """Some x_t, t and condition."""
    x_t, t = noise((batch, *shape(family)), 0, "contract"), torch.linspace(0.9, 0.3, batch)
    return x_t, t, family.encode_prompts(PROMPTS[:batch])


@torch.no_grad()
def answer(family: Family, name: str | None, strength: float = 1.0) -> Tensor:
    with lora.using(family, name, strength):
        return family.predict(*question(family))


def test_it_is_a_family_of_its_name(family: Family) -> None:
    assert isinstance(family, Family)
    assert tables.FAMILIES[family.name].endswith(f":{type(family).__name__}")
    assert family.geometry == GEOMETRY


def test_latents_have_the_promised_shape_and_decode_to_the_videos(family: Family) -> None:
    video = noise((2, 3, GEOMETRY.frames, GEOMETRY.height, GEOMETRY.width), 0, "video").clamp(-1, 1)
    latents = family.encode(video)
    assert latents.shape == (2, *shape(family))
    assert torch.equal(latents, family.encode(video)), "encode draws from the posterior"
    assert family.decode(latents).shape == video.shape


def test_clips_that_do_not_fit_are_refused_in_one_line(family: Family) -> None:
    for frames, height, width in [(4, 32, 32), (5, 33, 32), (5, 32, 33)]:
        with pytest.raises(DataError, match=rf"^{frames}x{height}x{width}: .*$"):
            family.latents_shape(frames, height, width)


@torch.no_grad()
def test_predictions_are_finite_fp32_and_repeatable(family: Family) -> None:
    x_t, t, condition = question(family)
    prediction = family.predict(x_t, t, condition)
    assert prediction.shape == x_t.shape
    assert prediction.dtype == torch.float32
    assert prediction.isfinite().all()
    assert torch.equal(prediction, family.predict(x_t, t, condition))


@torch.no_grad()
def test_predictions_depend_on_time_and_on_every_part_of_the_condition(family: Family) -> None:
    x_t, t, condition = question(family)
    prediction = family.predict(x_t, t, condition)
    assert not torch.allclose(prediction, family.predict(x_t, t / 2, condition), rtol=0, atol=1e-6)
    for name, other in family.encode_prompts(["the park", ""]).items():
        assert not torch.equal(prediction, family.predict(x_t, t, {**condition, name: other})), name


def test_prompts_encode_alike_alone_and_in_a_batch(family: Family) -> None:
    together = family.encode_prompts(PROMPTS)
    alone = sampling.stack([family.encode_prompts([prompt]) for prompt in PROMPTS])
    assert together.keys() == alone.keys()
    for name, tensor in together.items():
        assert len(tensor) == len(PROMPTS), name
        torch.testing.assert_close(tensor, alone[name], rtol=1e-5, atol=1e-5)


def test_the_target_gives_back_clean_and_noise(family: Family) -> None:
    x0, eps = noise((3, *shape(family)), 0, "clean"), noise((3, *shape(family)), 0, "eps")
    t = torch.tensor([0.05, 0.5, 0.95])
    x_t = family.law.add_noise(x0, eps, t)
    found = family.law.clean_and_noise(x_t, family.law.target(x0, eps, t), t)
    torch.testing.assert_close(found, (x0, eps), rtol=0, atol=1e-4)


@torch.no_grad()
def test_ddim_is_euler_on_the_flow_path_and_the_stock_schedulers_step_elsewhere(family: Family) -> None:
    x_t, t, condition = question(family)
    v, following = family.predict(x_t, t, condition), t - 0.2
    if isinstance(family.law, FlowMatching):
        expected = x_t + (following - t).reshape(-1, 1, 1, 1, 1) * v
    else:
        scheduler = family.pipeline.scheduler
        scheduler.set_timesteps(5)  # of 0.2
        levels = (t * 1000).round().long() - 1
        expected = torch.cat([scheduler.step(v[i : i + 1], levels[i], x_t[i : i + 1]).prev_sample for i in range(len(t))])
    torch.testing.assert_close(ddim_step(family.law, x_t, v, t, following), expected, rtol=1e-5, atol=1e-5)


def test_an_untrained_adapter_changes_nothing(family: Family) -> None:
    base = answer(family, None)
    with adapter(family, "new", trained=False):
        assert torch.equal(answer(family, "new"), base)


def test_an_adapter_works_only_when_it_is_used(family: Family) -> None:
    base = answer(family, None)
    with adapter(family, "ava"):
        assert float((answer(family, "ava") - base).abs().max()) > 1e-3
        assert torch.equal(answer(family, "ava", strength=0), base)
        assert torch.equal(answer(family, None), base)
    assert torch.equal(answer(family, None), base)


def test_adapters_in_memory_do_not_disturb_each_other(family: Family) -> None:
    with adapter(family, "ava"):
        alone = answer(family, "ava")
        with adapter(family, "bob", lora.LoraSettings(rank=2, alpha=1.0)):
            assert not torch.allclose(answer(family, "bob"), alone, rtol=0, atol=1e-4)
            assert torch.equal(answer(family, "ava"), alone)
        assert torch.equal(answer(family, "ava"), alone)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_seed_gives_its_clip_alone_and_in_a_batch(family: Family, guidance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "autocast", lambda where: nullcontext())  # bf16 rounds alike only by chance
    negative = family.encode_prompts([""])

    def clips(seeds: list[int]) -> Tensor:
        condition = family.encode_prompts([PROMPTS[seed] for seed in seeds])
        return sampling.sample(family, condition, negative, seeds, shape(family), steps=3, guidance=guidance)

    torch.testing.assert_close(clips([1]), clips([0, 1, 2])[1:2], rtol=0, atol=1e-4)


def test_what_is_no_checkpoint_is_refused_in_one_line(family: Family, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError) as error:
            type(family).load(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", tables.FAMILIES)
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("geometry.json", '{"frames": 5, "size": 32}'),
        ("geometry.json", "[5, 32, 32]"),
        ("geometry.json", "{"),
        ("model_index.json", "[5]"),
        ("model_index.json", "{}"),
        ("model_index.json", "{"),
    ],
)
def test_a_checkpoint_whose_settings_make_no_sense_is_refused_in_one_line(
    name: str, file: str, text: str, tmp_path: Path
) -> None:
    kind = type(tiny_family(name, tmp_path))
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=r"^[^\n]+; .+\.$|^[^\n]+\)\. .+\.$") as error:
        kind.load(tmp_path)
    assert str(tmp_path / file if file == "geometry.json" else tmp_path) in str(error.value)


def test_hunyuan_video_samples_what_the_stock_pipeline_samples(hunyuan: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "autocast", lambda where: nullcontext())  # the stock pipeline computes in fp32
    prompt, pipeline = PROMPTS[1], hunyuan.pipeline
    size = {"num_frames": GEOMETRY.frames, "height": GEOMETRY.height, "width": GEOMETRY.width}
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline(
        prompt, latents=noise((1, *shape(hunyuan)), 7, "sample"), num_inference_steps=4, output_type="latent",
        guidance_scale=6.0, prompt_template=hunyuan.prompt_template, max_sequence_length=22, **size,
    ).frames  # fmt: skip
    condition = hunyuan.encode_prompts([prompt])
    ours = sampling.sample(hunyuan, condition, condition, [7], shape(hunyuan), steps=4)
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-4)
    assert hunyuan.law.shift == 7.0


def test_hunyuan_video_is_told_its_guidance(hunyuan: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    six = answer(hunyuan, None)
    monkeypatch.setattr(hunyuan, "embedded_guidance", 1.0)
    assert not torch.equal(answer(hunyuan, None), six)


def test_hunyuan_video_leaves_the_text_refiner_alone(hunyuan: Family) -> None:
    with adapter(hunyuan, "ava") as weights:
        assert len(weights) == 2 * len(hunyuan.lora_targets) == 2 * (2 * 8 + 2 * 3)
        assert not [name for name in weights if "refiner" in name]
