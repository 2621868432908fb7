"""New clips of a finished run: the prompt, the recipe beside them, and what is refused."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from magicid._version import __version__
from magicid.core.errors import DataError, UsageError
from magicid.core.files import sha256
from magicid.core.interfaces import Condition
from magicid.core.run_dir import RunDir
from magicid.families.wan import Wan
from magicid.media.video import read_video
from magicid.pipeline import generate_clip

pytestmark = pytest.mark.usefixtures("judges")


def test_an_adapter_is_not_put_on_another_base(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    base = tmp_path / "base"
    settings = (out / "settings.yaml").read_text()
    shutil.copytree(next(line.split(": ")[1] for line in settings.splitlines() if line.startswith("base: ")), base)
    (out / "settings.yaml").write_text(re.sub(r"(?m)^base: .*$", f"base: {base}", settings))
    generate_clip(out, "someone waves", tmp_path / "same.mp4", steps=1)
    weights = next((base / "transformer").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UsageError, match="made on another base model"):
        generate_clip(out, "someone waves", tmp_path / "other.mp4", steps=1)


@pytest.mark.parametrize("asked", ["SKS Person nods", "a man nods", "masks personally"])
def test_the_trigger_is_put_in_front_unless_it_is_there_in_any_case(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    texts: list[str] = []
    original = Wan.encode_prompts

    def noted(self: Wan, prompts: Sequence[str]) -> Condition:
        texts.extend(prompts)
        return original(self, prompts)

    monkeypatch.setattr(Wan, "encode_prompts", noted)
    generate_clip(finished, asked, tmp_path / "new.mp4", steps=1)
    assert (asked if asked.startswith("SKS") else f"sks person, {asked}") in texts


def test_a_clip_is_written_while_its_run_is_held_and_then_let_go(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []

    def written(*_arguments: object) -> None:
        with pytest.raises(UsageError, match="in use by") as refused:
            RunDir(finished, create=False)
        held.append(str(refused.value))

    monkeypatch.setattr("magicid.pipeline.write_video", written)
    generate_clip(finished, "someone waves", tmp_path / "new.mp4", steps=1)
    assert held
    RunDir(finished, create=False).close()


def test_a_finished_run_makes_new_clips_and_keeps_their_recipes(finished: Path, tmp_path: Path) -> None:
    asked = "a scientist in a lab coat nods in the snow"
    path = generate_clip(finished, asked, tmp_path / "new.mp4", seed=5, steps=2)
    frames, _ = read_video(path)
    assert frames.shape == (5, 32, 32, 3) and np.ptp(frames) > 0
    kept = json.loads((tmp_path / "new.json").read_text())
    settings, own = RunDir.read_settings(finished), finished / "optimize" / "adapter.safetensors"
    told = {"asked": asked, "seed": 5, "prompt": f"sks person, {asked}", "trigger": "sks person", "steps": 2, "guidance": 1.0}
    told |= {"frames": 5, "height": 32, "width": 32, "fps": 8.0, "shift": 3.0, "strength": 1.0, "version": __version__}
    told |= {"adapter": str(own), "adapter_sha256": sha256(own)} | {key: settings[key] for key in ("base", "base_digest")}
    assert kept.items() >= told.items()


def test_a_flipped_byte_in_an_adapter_is_refused(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    path = copy / "optimize" / "adapter.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="sha256 differs"):
        generate_clip(copy, "someone waves", tmp_path / "x.mp4", steps=2)
