"""The training of the decoder: what it looks at, what stays as it is, and that it goes on to the byte."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file

from magicid.avatar.dataset import clip_store
from magicid.avatar.pretrain import Pretrain, decoder
from magicid.avatar.pretrain_autoencoder import to_video
from magicid.avatar.pretrain_decoder import DecoderLoss, DecoderSettings, taken_back
from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.core.run import WEIGHTS
from magicid.training.checkpoint import latest
from magicid.training.loop import LoopSettings

SHORT = DecoderSettings(
    loop=LoopSettings(steps=2, learning_rate=1e-3, weight_decay=0.0, ema_decay=0.5, save_every_steps=1),
    batch=2, frames=2, sample_steps=4,
)  # fmt: skip


def settings(folder: Path) -> Pretrain:
    out, work = folder / "out", folder / "work"
    return Pretrain(parts=("decoder",), work=work, out=out, clips=2, start=WEIGHTS / "base", decoder=SHORT)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": None}, "give its pipeline as --start"),
        ({"decoder": replace(SHORT, times=(0.0, 0.5))}, r"decoder.times \(0.0, 0.5\): two times above 0"),
        ({"decoder": replace(SHORT, times=(0.5, 0.4))}, r"decoder.times \(0.5, 0.4\): two times above 0"),
        ({"decoder": replace(SHORT, frames=18)}, "decoder.frames 18: a clip has 17 frames"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        decoder(replace(settings(tmp_path), **change))
    assert not list(tmp_path.iterdir())


def test_clips_are_taken_back_once_the_nearer_the_less_they_were_noised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family, store = tables.load(tables.FAMILIES, "family", "wan").load(WEIGHTS / "base"), clip_store(tmp_path, seed=2, count=2)
    near, far = (taken_back(family, store, tmp_path / f"{t}.npy", replace(SHORT, times=(t, t))).float() for t in (0.25, 0.75))
    assert near.shape == (2, 2, *family.latents_shape(17, 64, 64))
    torch.testing.assert_close(near[:, 0], family.encode(to_video(store.frames)), rtol=0, atol=0.01)
    assert torch.equal(near[:, 0], far[:, 0])
    departed = [(pairs[:, 1] - pairs[:, 0]).square().mean((1, 2, 3, 4)) for pairs in (near, far)]
    assert bool((departed[0] > 0).all()) and bool((departed[0] < departed[1]).all())
    monkeypatch.setattr("magicid.avatar.pretrain_decoder.sample", None)
    assert torch.equal(taken_back(family, store, tmp_path / "0.25.npy", SHORT).float(), near)


def test_windows_are_of_clips_own_latents_or_of_those_taken_back_and_trained_is_the_decoder(tmp_path: Path) -> None:
    family, store = tables.load(tables.FAMILIES, "family", "wan").load(WEIGHTS / "base"), clip_store(tmp_path, seed=2, count=2)
    own = family.encode(to_video(store.frames))
    vae = AutoencoderKLWan.from_pretrained(WEIGHTS / "base" / "vae", dtype=torch.float32).eval()

    def missed(clean: float) -> float:
        value, logged = DecoderLoss(vae, store, torch.stack((own, 0 * own), 1), replace(SHORT, clean=clean))(0, 0)
        assert float(value.detach()) == pytest.approx(logged["missed"] + SHORT.edges * logged["edges"])
        value.backward()  # type: ignore[no-untyped-call]
        return logged["missed"]

    assert 3 * missed(1.0) < missed(0.0)
    loss = DecoderLoss(vae, store, own[:, None], SHORT)
    assert all(p.grad is not None for p in loss.parameters.values())
    assert {id(p) for p in vae.parameters() if p.grad is not None} == {id(p) for p in loss.parameters.values()}


def test_it_moves_the_decoder_alone_and_goes_on_to_the_byte(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "out")
    decoder(settings(tmp_path))
    file = Path("base/vae/diffusion_pytorch_model.safetensors")
    made, before = load_file(tmp_path / "out" / file), load_file(WEIGHTS / file)
    moved = {name for name in before if not torch.equal(made[name], before[name])}
    assert set(made) == set(before) and moved
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)
    configs = [json.loads((folder / "base/vae/config.json").read_text()) for folder in (tmp_path / "out", WEIGHTS)]
    assert configs[0] == configs[1]

    work = tmp_path / "work" / "decoder"
    found = latest(work)
    assert found is not None and found.step == 2
    whole = (work / "step-00000002" / "model.safetensors").read_bytes()
    shutil.rmtree(work / "step-00000002")
    decoder(settings(tmp_path))
    assert (work / "step-00000002" / "model.safetensors").read_bytes() == whole
    again = load_file(tmp_path / "out" / file)
    assert all(torch.equal(made[name], again[name]) for name in made)
