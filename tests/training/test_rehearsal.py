"""What is counted without data is what is alive with data; and the budget's truths."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from magicid.core.interfaces import Family
from magicid.core.live_memory import LiveMemory
from magicid.core.seeds import noise
from magicid.training import lora
from magicid.training.budget import Sizes, adapter_bytes, base_bytes, resident_bytes
from magicid.training.recompute import recomputing
from magicid.training.rehearsal import ADAPTER, Rehearsal
from tests.families.tiny import GEOMETRY, tiny_family

SIZES = Sizes(blocks=12_000_000_000, largest_block=300_000_000, rest=800_000_000, encoders=8_000_000_000, autoencoder=250_000_000)


@pytest.fixture(scope="module", params=["wan", "hunyuan_video"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, Rehearsal]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    real = tiny_family(request.param, folder)
    return real, Rehearsal.of(folder, request.param, torch.float32, False, lora.LoraSettings())


@pytest.mark.parametrize("level", ["nothing", "blocks"])
def test_a_rehearsed_step_holds_what_the_step_holds(both: tuple[Family, Rehearsal], level: str) -> None:
    real, rehearsal = both
    shape = real.latents_shape(GEOMETRY.frames, GEOMETRY.height, GEOMETRY.width)
    told = rehearsal.train(shape, 2, level)  # type: ignore[arg-type]
    lora.add_adapter(real, ADAPTER, lora.LoraSettings())
    x_t, condition = noise((2, *shape), 0, "x"), real.encode_prompts(["a person"] * 2)
    known = [*real.transformer.parameters(), *real.transformer.buffers(), x_t, *condition.values()]
    weights = list(lora.parameters(real, ADAPTER).values())
    with LiveMemory(known) as live, lora.using(real, ADAPTER), recomputing(real.transformer, level):  # type: ignore[arg-type]
        error = (real.predict(x_t, torch.full((2,), 0.5), condition).float() - x_t).square().flatten(1).mean(1)
        torch.autograd.grad(error.mean(), weights)
    lora.remove_adapter(real, ADAPTER)
    assert told.bytes == pytest.approx(live.peak, rel=0.02)
    assert told.flops == live.flops > 0


def test_more_frames_need_more_and_recomputing_needs_less(both: tuple[Family, Rehearsal]) -> None:
    _, rehearsal = both
    few, many = ((4, frames, 8, 8) for frames in (1, 3))
    assert rehearsal.train(few, 1, "nothing").bytes < rehearsal.train(many, 1, "nothing").bytes
    assert rehearsal.decode(few).bytes < rehearsal.decode(many).bytes
    plain, blocks = (rehearsal.train(many, 1, level) for level in ("nothing", "blocks"))  # type: ignore[arg-type]
    assert blocks.bytes < plain.bytes and blocks.flops > plain.flops
    assert rehearsal.predict(many, 1).bytes < plain.bytes


def test_rehearsed_parts_are_those_of_the_checkpoint(both: tuple[Family, Rehearsal]) -> None:
    real, rehearsal = both
    assert Sizes.of(rehearsal.family) == Sizes.of(real)


def test_fp8_halves_the_blocks_of_bf16_which_are_half_of_fp32() -> None:
    only_blocks = replace(SIZES, rest=0)
    assert base_bytes(only_blocks, "fp32") == 2 * base_bytes(only_blocks, "bf16") == 4 * base_bytes(only_blocks, "fp8")


def test_offload_takes_away_who_is_not_at_work() -> None:
    none, model, block = (resident_bytes(SIZES, "bf16", offload, "transformer") for offload in ("none", "model", "block"))
    assert none - model == 2 * SIZES.encoders + 4 * SIZES.autoencoder
    assert model - block == 2 * (SIZES.blocks - 2 * SIZES.largest_block)
    assert resident_bytes(SIZES, "bf16", "model", "encoders") == 2 * SIZES.encoders
    assert resident_bytes(SIZES, "fp8", "block", "transformer") == block, "what is brought in is multiplied in bf16"
    fp8 = resident_bytes(SIZES, "fp8", "model", "transformer")
    assert block < fp8 < model


def test_a_trained_adapter_is_there_four_times_in_fp32() -> None:
    assert adapter_bytes(100, trained=1) == 1600 and adapter_bytes(100, trained=1, kept=3) == 2800
