"""Wan 2.2's two experts as one transformer: each row goes to the expert of its time, and adapters are of both."""

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from magicid.core.errors import DataError
from magicid.core.interfaces import Family
from magicid.core.seeds import noise
from magicid.families.wan import Wan
from magicid.training import lora, sampling
from tests.families.tiny import GEOMETRY, adapter, tiny_family

SIZE = {"num_frames": GEOMETRY.frames, "height": GEOMETRY.height, "width": GEOMETRY.width}
SHAPE = (4, 3, 8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wan22")


@pytest.fixture(scope="module")
def family(folder: Path) -> Family:
    return tiny_family("wan22", folder)


@pytest.mark.parametrize("scales", [(4.0, None), (4.0, 2.0), (1.0, None)])
def test_it_samples_what_the_stock_pipeline_samples_on_both_sides_of_the_boundary(
    family: Family, scales: tuple[float, float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "autocast", lambda where: nullcontext())  # the stock pipeline computes in fp32
    times = family.law.times(6)[:-1]
    assert (times >= 0.7).any() and (times < 0.7).any()
    high, low = scales
    scheduler = family.pipeline.scheduler  # the stock pipeline asks it for times that end a thousandth before 0
    with_sigmas = partial(scheduler.set_timesteps, sigmas=torch.linspace(1, 0, 7)[:-1].tolist())
    monkeypatch.setattr(scheduler, "set_timesteps", lambda steps, device: with_sigmas(device=device))
    family.pipeline.set_progress_bar_config(disable=True)
    stock = family.pipeline(
        "a person walks", latents=noise((1, *SHAPE), 7, "sample"), num_inference_steps=6, output_type="latent",
        guidance_scale=high, guidance_scale_2=low, max_sequence_length=16, **SIZE,
    ).frames  # fmt: skip
    condition, negative = family.encode_prompts(["a person walks"]), family.encode_prompts([""])
    monkeypatch.setattr(family, "geometry", replace(GEOMETRY, guidance=high, guidance_until=0.7, guidance_after=low or 9.0))
    given = high if low is None else None  # a scale that is given is for both
    ours = sampling.sample(family, condition, negative, [7], SHAPE, steps=6, guidance=given)
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-4)


@torch.no_grad()
def test_each_row_goes_to_the_expert_of_its_time(family: Family) -> None:
    x, t = noise((4, *SHAPE), 0, "x"), torch.tensor([0.2, 0.9, 0.7, 0.6])
    condition = family.encode_prompts(["a person", "waves", "", "the park"])
    together = family.predict(x, t, condition)
    for row, expert in enumerate(("transformer_2", "transformer", "transformer", "transformer_2")):
        given = {name: tensor[row : row + 1] for name, tensor in condition.items()}
        alone = getattr(family.pipeline, expert)(x[row : row + 1], t[row : row + 1] * 1000, **given, return_dict=False)[0]
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-5)


def test_an_adapter_has_weights_in_both_and_learns_where_its_times_are(family: Family) -> None:
    condition = family.encode_prompts(["a person"])
    with adapter(family, "ava") as weights, lora.using(family, "ava"):
        assert {name.partition(".")[0] for name in weights} == {"high", "low"}
        for time, expert in ((0.9, "high"), (0.3, "low")):
            family.predict(noise((1, *SHAPE), 0, "x"), torch.tensor([time]), condition).square().mean().backward()
            learning = {name for name, p in lora.parameters(family, "ava").items() if p.grad is not None}
            assert learning == {name for name in weights if name.startswith(f"{expert}.")}
            family.transformer.zero_grad(set_to_none=True)


def test_targets_that_match_nothing_leave_both_experts_as_they_were(family: Family) -> None:
    with pytest.raises(DataError, match="cannot be those of"):
        lora.add_adapter(family, "odd", lora.LoraSettings(targets=("nothing",)))
    with adapter(family, "ava") as weights:
        assert len(weights) == 2 * 2 * 2 * 8  # experts, A and B, blocks, layers


def test_its_own_guidance_changes_at_the_boundary(folder: Path, family: Family, tmp_path: Path) -> None:
    geometry = Wan.load(_copy(folder, tmp_path)).geometry
    assert (geometry.guidance, geometry.guidance_after, geometry.frames) == (4.0, 3.0, 81)
    assert geometry.guidance_until == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"transformer_2": [None, None]}, "boundary_ratio 0.7 needs both transformer and transformer_2"),
        ({"expand_timesteps": True}, "expand_timesteps, a time for each frame, as image-and-text models have, is not served"),
    ],
)
def test_what_is_not_served_is_refused_in_one_line(
    folder: Path, family: Family, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=rf"^{tmp_path}: {said}[^\n]*\.$"):
        Wan.load(_copy(folder, tmp_path, change))


def _copy(folder: Path, to: Path, change: dict[str, object] | None = None) -> Path:
    """The checkpoint without its geometry, its model index changed."""
    for path in folder.iterdir():
        if path.is_dir():
            (to / path.name).symlink_to(path)
    index = json.loads((folder / "model_index.json").read_text())
    (to / "model_index.json").write_text(json.dumps(index | (change or {})))
    return to
