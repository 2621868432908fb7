"""The training of the decoder: what it looks at, what stays as it is, and that it goes on to the byte."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from magicid.avatar import pretrain_decoder
from magicid.avatar.dataset import ClipStore, clip_store
from magicid.avatar.pretrain import Pretrain, decoder
from magicid.avatar.pretrain_autoencoder import to_video
from magicid.avatar.pretrain_decoder import DecoderLoss, DecoderSettings, errors, own_and_made
from magicid.core.errors import UsageError
from magicid.core.run import WEIGHTS
from magicid.families.wan import Wan
from magicid.training.checkpoint import latest
from magicid.training.loop import LoopSettings

SHORT = DecoderSettings(
    loop=LoopSettings(steps=2, learning_rate=1e-3, weight_decay=0.0, ema_decay=0.5, save_every_steps=1),
    batch=1, least_back=1, most_back=1, sample_steps=4,
)  # fmt: skip


def settings(folder: Path) -> Pretrain:
    out, work = folder / "out", folder / "work"
    return Pretrain(parts=("decoder",), work=work, out=out, clips=2, start=WEIGHTS / "base", decoder=SHORT)


@pytest.fixture(scope="module")
def family() -> Wan:
    return Wan.load(WEIGHTS / "base")


@pytest.fixture
def store(tmp_path: Path) -> ClipStore:
    return clip_store(tmp_path, seed=2, count=3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": None}, "give its pipeline as --start"),
        ({"parts": ("feedback", "decoder")}, "and no other part"),
        ({"decoder": replace(SHORT, least_back=0)}, "least_back"),
        ({"decoder": replace(SHORT, least_back=3, most_back=2)}, "most_back"),
        ({"decoder": replace(SHORT, most_back=5)}, "sample_steps"),
        ({"decoder": replace(SHORT, batch=0)}, "batch"),
        ({"decoder": replace(SHORT, clean=1.5)}, "clean"),
        ({"decoder": replace(SHORT, edges=-1.0)}, "edges"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        decoder(replace(settings(tmp_path), **change))
    assert not list(tmp_path.iterdir())


def test_the_further_clips_are_taken_back_the_more_they_change(family: Wan, store: ClipStore, tmp_path: Path) -> None:
    near, far = (
        own_and_made(family, store, tmp_path / str(back), replace(SHORT, least_back=back, most_back=back)).float()
        for back in (1, 3)
    )
    assert near.shape == (3, 2, *family.latents_shape(17, 64, 64))
    torch.testing.assert_close(near[:, 0], family.encode(to_video(store.frames)), rtol=0, atol=0.01)
    assert torch.equal(near[:, 0], far[:, 0])
    departed = [(latents[:, 1] - latents[:, 0]).square().mean((1, 2, 3, 4)) for latents in (near, far)]
    assert bool((departed[0] > 0).all()) and bool((departed[0] < departed[1]).all())


def test_what_is_drawn_is_kept_batch_by_batch_and_its_company_changes_nothing(
    family: Wan, store: ClipStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = own_and_made(family, store, tmp_path / "whole", SHORT)
    asked, calls = pretrain_decoder.sample, 0

    def killed(*arguments: Any, **named: Any) -> torch.Tensor:
        nonlocal calls
        if (calls := calls + 1) == 2:
            raise KeyboardInterrupt
        return asked(*arguments, **named)

    monkeypatch.setattr(pretrain_decoder, "sample", killed)
    with pytest.raises(KeyboardInterrupt):
        own_and_made(family, store, tmp_path / "parts", SHORT, batch=1)
    parts = own_and_made(family, store, tmp_path / "parts", SHORT, batch=1)
    assert calls == 4  # the first clip once, the second twice, the third once
    torch.testing.assert_close(parts, whole, rtol=0, atol=0.01)


def test_errors_are_sizes_and_changes_along_time_height_and_width() -> None:
    flat, weight = torch.full((1, 3, 2, 4, 4), -0.5), torch.ones(1, 1, 2, 4, 4)
    assert [float(part) for part in errors(flat, weight)] == [0.5, 0]
    assert float(errors(flat, 3 * weight)[0]) == 1.5
    for axis, share in ((2, 1 / 2), (3, 1 / 4), (4, 1 / 4)):
        step = torch.zeros_like(flat)
        step.narrow(axis, step.shape[axis] // 2, step.shape[axis] // 2).fill_(2.0)
        missed, edges = errors(step, weight)
        assert (float(missed), float(edges)) == (1, pytest.approx(2 * share))


def test_clips_are_drawn_of_their_own_latents_or_of_those_made(family: Wan, store: ClipStore) -> None:
    own = family.encode(to_video(store.frames))
    drawn = family.decode(own).mul(127.5).add(127.5).clamp(0, 255).permute(0, 2, 3, 4, 1).round().byte().numpy()
    store, both = replace(store, frames=drawn), torch.stack((own, 0 * own), 1)
    missed = [
        DecoderLoss(family.pipeline.vae, store, both, replace(SHORT, clean=clean))(0, 0)[1]["missed"] for clean in (1.0, 0.0)
    ]
    assert missed[0] < 0.02 < 0.2 < missed[1]


def test_it_moves_the_decoder_alone_and_goes_on_to_the_byte(tmp_path: Path) -> None:
    decoder(settings(tmp_path))
    file = Path("vae/diffusion_pytorch_model.safetensors")
    made, before = load_file(tmp_path / "out/base" / file), load_file(WEIGHTS / "base" / file)
    moved = {name for name in before if not torch.equal(made[name], before[name])}
    assert set(made) == set(before) and moved
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)
    for part in ("text_encoder/model.safetensors", "transformer/diffusion_pytorch_model.safetensors"):
        one, other = load_file(tmp_path / "out/base" / part), load_file(WEIGHTS / "base" / part)
        assert all(torch.equal(one[name], other[name]) for name in other)
    assert "_name_or_path" not in json.loads((tmp_path / "out/base/vae/config.json").read_text())
    assert (tmp_path / "out/base/geometry.json").read_text() == (WEIGHTS / "base/geometry.json").read_text()

    work = tmp_path / "work" / "decoder"
    found = latest(work)
    assert found is not None and found.step == 2 and moved <= set(found.groups["model"])
    whole = (work / "step-00000002" / "model.safetensors").read_bytes()
    shutil.rmtree(work / "step-00000002")
    decoder(settings(tmp_path))
    assert (work / "step-00000002" / "model.safetensors").read_bytes() == whole
    again = load_file(tmp_path / "out/base" / file)
    assert all(torch.equal(made[name], again[name]) for name in made)
    assert np.isfinite([float(tensor.abs().max()) for tensor in again.values()]).all()
