"""LoRA files that leave a run and come into one, by the commands that a user gives."""

import pickle
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magicid.cli import main
from magicid.core.errors import DataError, UsageError
from magicid.core.files import sha256
from magicid.core.records import Video
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.export.read_lora import read_lora
from magicid.families.wan import Wan
from magicid.media.video import to_frames
from magicid.pipeline import generate_clip, run_pipeline, stored
from tests.small_run import QUIET, SMALL

pytestmark = pytest.mark.usefixtures("judges")


def test_beside_a_runs_adapter_stands_a_script_that_draws_its_clip(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    script = tmp_path / "run" / "adapter_diffusers.py"
    frames = np.stack(runpy.run_path(str(script))["frames"])
    folder = RunDir(finished)
    clip = next(video for video in folder.read("generate", Video) if video.origin == "magicid")
    run = Run(folder, Common(finished, base=folder.settings()["base"]))
    latents = load_file(finished / clip.latents)["latents"][None]
    assert np.abs(to_frames(run.family.decode(latents))[0] / 255 - frames).max() <= 1 / 255
    folder.close()


def test_export_writes_the_same_again_and_other_layouts_elsewhere(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["adapter.safetensors", "adapter_diffusers.py", "adapter_comfyui.json"]
    assert main(["export", str(finished), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "".join(f"{tmp_path / name}\n" for name in names)
    assert all((tmp_path / name).read_bytes() == (finished / name).read_bytes() for name in names)
    assert main(["export", str(finished), "--layout", "diffusers", "--out", str(tmp_path / "new" / "n.safetensors")]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"n.safetensors", "n_diffusers.py"}
    with safe_open(tmp_path / "new" / "n.safetensors", "pt") as file:
        assert file.metadata().keys() == {"magicid", "lora_adapter_metadata"}
    (tmp_path / "file").touch()
    assert main(["export", str(finished), "--out", str(tmp_path / "file")]) == 2
    assert main(["export", str(finished), "--layout", "comfyui"]) == 2


def test_an_imported_lora_generates_and_a_run_starts_from_it(
    common: Common, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours, out = tmp_path / "musubi.safetensors", tmp_path / "ours.safetensors", tmp_path / "run"
    tensors = {}
    for key, tensor in load_file(finished / "adapter.safetensors").items():
        layer = "lora_unet_" + key.removeprefix("diffusion_model.").partition(".lora_")[0].replace(".", "_")
        tensors[f"{layer}.{'lora_down' if '.lora_A.' in key else 'lora_up'}.weight"] = tensor
        tensors[f"{layer}.alpha"] = torch.tensor(2.0)
    save_file(tensors, theirs)
    assert main(["import", str(theirs), "--out", str(ours), "--base", common.base]) == 0
    told = capsys.readouterr()
    assert told.out == f"{ours}\n" and "which base and which person it was made for is unknown" in told.err
    expected = load_file(finished / "adapter.safetensors")
    assert load_file(ours).keys() == expected.keys()
    assert all(tensor.equal(expected[key]) for key, tensor in load_file(ours).items())
    generate_clip(finished, "someone waves", tmp_path / "a.mp4", steps=1)
    generate_clip(finished, "someone waves", tmp_path / "b.mp4", steps=1, adapter=ours, console=QUIET)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()

    settings = replace(SMALL, finetune=replace(SMALL.finetune, start=theirs, learning_rate=1e-12))
    run_pipeline(common, settings, out, QUIET, until="finetune").close()
    trained, start = load_file(out / "finetune" / "adapter.safetensors"), read_lora(theirs, Wan.load(common.base)).tensors
    scale = SMALL.finetune.rank / SMALL.finetune.alpha
    assert all(torch.allclose(trained[key], start[key] * (scale if ".lora_B." in key else 1), atol=1e-6) for key in start)
    assert RunDir.read_settings(out)["finetune.start_sha256"] == sha256(theirs) and stored(out)[1] == settings
    theirs.unlink()  # the stage is done, and needs it no more
    run_pipeline(common, settings, out, QUIET, until="finetune").close()
    (out / "finetune" / "manifest.jsonl").unlink()
    ours.rename(theirs)
    with pytest.raises(UsageError, match=r"finetune\.start_sha256: \w+ there, \w+ asked"):
        run_pipeline(common, settings, out, QUIET, until="finetune")
    shutil.copytree(finished, tmp_path / "from nothing")
    with pytest.raises(UsageError, match=r"finetune\.start: None there, .*; finetune\.start_sha256: absent there, \w+ asked"):
        run_pipeline(common, settings, tmp_path / "from nothing", QUIET, until="finetune")
    theirs.write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(DataError, match="a pickle, not safetensors"):
        run_pipeline(common, settings, tmp_path / "other", QUIET, until="finetune")
    assert not (tmp_path / "other").exists()
    assert main(["import", str(theirs), "--out", str(ours), "--base", common.base]) == 3
