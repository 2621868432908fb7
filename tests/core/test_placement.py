"""A base may be stored in few bits and wait elsewhere; adapters, gradients and what comes out stay what they are."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from magicid.core import placement, tables
from magicid.core.errors import UsageError
from magicid.core.interfaces import Family
from magicid.core.run import Common
from magicid.pipeline import PRESETS, check_settings
from magicid.training import lora
from magicid.training.recompute import recomputing
from tests.families.test_contract import question
from tests.families.tiny import adapter, tiny_family

CPU = torch.device("cpu")


@pytest.fixture(params=["wan", "hunyuan_video"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    tiny_family(request.param, tmp_path)
    return request.param, tmp_path


def family(folder: tuple[str, Path], precision: str = "fp32") -> Family:
    loaded: Family = tables.load(tables.FAMILIES, "family", folder[0]).load(folder[1], placement.weights_dtype(precision, CPU))
    placement.place(loaded, precision, "none", "", CPU)
    return loaded


def gradients(family: Family, level: str = "nothing") -> list[Tensor]:
    with adapter(family, "ava"), lora.using(family, "ava"), recomputing(family.transformer, level):  # type: ignore[arg-type]
        value = family.predict(*question(family)).square().mean()
        return list(torch.autograd.grad(value, list(lora.parameters(family, "ava").values())))


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_adapters_are_fp32_beside_any_base_and_learn_in_about_the_same_direction(
    folder: tuple[str, Path], precision: str
) -> None:
    small = family(folder, precision)
    with adapter(small, "new"):
        assert {p.dtype for p in lora.parameters(small, "new").values()} == {torch.float32}
    ours, whole = (torch.cat([g.flatten() for g in gradients(f, "blocks")]) for f in (small, family(folder)))
    assert torch.cosine_similarity(ours.float(), whole, 0) > (0.99 if precision == "bf16" else 0.95)


def test_fp8_weights_of_the_blocks_take_one_byte(folder: tuple[str, Path]) -> None:
    small = family(folder, "fp8")
    names = tuple(placement.blocks(small.transformer))
    stored = {p.dtype for n, p in small.transformer.named_parameters() if n.startswith(names) and "to_q.weight" in n}
    assert stored - {torch.float8_e4m3fn} <= {torch.bfloat16}  # text refiners keep theirs
    assert torch.float8_e4m3fn in stored
    assert small.predict(*question(small)).isfinite().all()


@pytest.mark.parametrize("level", ["blocks", "attention"])
def test_blocks_that_are_brought_in_give_the_same_gradient(folder: tuple[str, Path], level: str) -> None:
    plain, brought = family(folder), family(folder)
    placement.bring_in_blocks(brought.transformer, CPU)
    pairs = zip(gradients(plain, level), gradients(brought, level), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_an_adapter_that_comes_and_goes_leaves_what_is_brought_in_as_it_was(folder: tuple[str, Path]) -> None:
    def brought_in() -> set[str]:
        hooked = ((name, getattr(part, "_diffusers_hook", None)) for name, part in small.transformer.named_modules())
        return {name.removesuffix(".base_layer") for name, hooks in hooked if hooks and hooks.get_hook("group_offloading")}

    small = family(folder)
    placement.bring_in_blocks(small.transformer, CPU)
    before = brought_in()
    assert before and all("." in name for name in before), "layers of blocks, not the transformer or what stays on the device"
    with adapter(small, "gone") as weights:
        small.transformer.load_lora_adapter(dict(weights), adapter_name="again", prefix=None, _pipeline=small.pipeline)  # type: ignore[operator]
        lora.remove_adapter(small, "again")
    assert brought_in() == before


def test_only_the_weights_of_layers_are_brought_in(folder: tuple[str, Path]) -> None:
    small = family(folder)
    placement.bring_in_blocks(small.transformer, CPU)
    parts = [getattr(part, "_diffusers_hook", None) for part in small.transformer.modules()]
    groups = [hook.group for hooks in parts if hooks and (hook := hooks.get_hook("group_offloading"))]
    assert any(group.modules for group in groups)
    assert not any(group.parameters or group.buffers for group in groups), "norms' weights are read in the backward pass"


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """Where parts go, by class; nothing is really moved."""
    seen: list[tuple[str, str]] = []

    def to(self: nn.Module, where: torch.device) -> nn.Module:
        seen.append((type(self).__name__, where.type))
        return self

    monkeypatch.setattr(nn.Module, "to", to)
    yield seen


def test_encoders_and_autoencoder_come_when_called_and_leave(tmp_path: Path, moves: list[tuple[str, str]]) -> None:
    lent = tiny_family("wan", tmp_path)
    moves.clear()
    placement.lend(lent, CPU, aside=True, home=torch.device("meta"))
    lent.encode_prompts(["a person"])
    text, transformer, vae = "UMT5EncoderModel", "WanTransformer3DModel", "AutoencoderKLWan"
    assert moves == [(transformer, "meta"), (text, "cpu"), (text, "meta"), (transformer, "cpu")]
    moves.clear()
    x_t, t, condition = question(lent)
    moves.clear()
    lent.decode(x_t)
    lent.decode(x_t)
    assert moves == [(vae, "cpu")], "it stays for the next clip"
    lent.predict(x_t, t, condition)
    assert moves == [(vae, "cpu"), (vae, "meta")]


def test_encoders_larger_than_the_device_answer_where_they_are(tmp_path: Path, moves: list[tuple[str, str]]) -> None:
    lent = tiny_family("wan", tmp_path)
    placement.lend(lent, CPU, aside=False, home=torch.device("meta"))
    moves.clear()
    assert lent.encode_prompts(["a person"]) and not moves


def test_large_frames_are_decoded_in_tiles_and_small_ones_whole(tmp_path: Path) -> None:
    made = tiny_family("wan", tmp_path)
    placement.tile(made, 64, 64)
    assert not made.pipeline.vae.use_tiling
    placement.tile(made, 720, 1280)
    assert made.pipeline.vae.use_tiling and made.pipeline.vae.use_slicing
    placement.tile(made, 64, 64)
    assert not made.pipeline.vae.use_tiling and not made.pipeline.vae.use_slicing


def test_a_family_that_always_decodes_in_tiles_keeps_to_it(tmp_path: Path) -> None:
    made = tiny_family("hunyuan_video15", tmp_path)
    for side in (64, 720, 64):
        placement.tile(made, side, side)
        assert made.pipeline.vae.use_tiling and made.pipeline.vae.use_slicing


def test_by_default_a_base_is_fp32_on_a_cpu_and_bf16_on_a_gpu() -> None:
    assert placement.weights_dtype("auto", CPU) == torch.float32
    assert placement.weights_dtype("auto", torch.device("cuda")) == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": "fp4"}, r"^precision 'fp4' is unknown; choose auto, fp32, bf16, fp8 or int8\.$"),
        ({"precision": "int8"}, r"^precision 'int8': needs torchao; pip install .*, or set --precision fp8\.$"),
        ({"offload": "disk"}, r"^offload 'disk' is unknown; choose none, model or block\.$"),
        ({"frames": -1}, r"^frames -1: must be at least 0; set --frames to 0 or more\.$"),
    ],
)
def test_common_settings_that_cannot_work_are_refused(
    change: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=said):
        Common(Path(), **change).check()  # type: ignore[arg-type]


def test_a_training_that_would_keep_all_weights_on_the_device_is_refused() -> None:
    for precision, offload in (("fp8", "none"), ("int8", "model"), ("auto", "block")):
        with pytest.raises(UsageError, match=r"^finetune\.recompute nothing with .+; set --finetune\.recompute blocks"):
            placement.need_recompute("finetune", "nothing", precision, offload)
        placement.need_recompute("finetune", "blocks", precision, offload)
    placement.need_recompute("finetune", "nothing", "bf16", "model")


def test_only_a_training_that_is_asked_for_needs_to_recompute() -> None:
    paper, small = PRESETS["paper"], Common(Path(), precision="fp8")
    fits = replace(
        paper, finetune=replace(paper.finetune, recompute="blocks"), optimize=replace(paper.optimize, recompute="blocks")
    )
    check_settings(small, fits)
    with pytest.raises(UsageError, match=r"^distill\.recompute nothing with precision fp8"):
        check_settings(small, replace(fits, distill=replace(fits.distill, steps=1)))


def test_an_unknown_attention_is_refused_in_one_line(tmp_path: Path) -> None:
    made = tiny_family("wan", tmp_path)
    with pytest.raises(UsageError, match=r"^attention 'thin': .*must be one of[^\n]*set --attention native, or none"):
        placement.place(made, "fp32", "none", "thin", CPU)
