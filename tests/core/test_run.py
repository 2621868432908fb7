"""The clips of a run have the size that is asked for, or none; how memory is saved may change on the way."""

from pathlib import Path

import pytest

from magicid.core.errors import DataError, UsageError
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from tests.families.tiny import tiny_family


def test_clips_have_the_size_that_is_asked_for(tmp_path: Path) -> None:
    tiny_family("wan", tmp_path / "base")
    run = Run(RunDir(tmp_path / "run"), Common(tmp_path, str(tmp_path / "base"), frames=9, width=64))
    own = run.family.geometry
    assert (own.frames, own.height, own.width, own.fps) == (9, 32, 64, 8.0)
    shown = run.clips(height=64)
    assert (shown.frames, shown.height, shown.width) == (9, 64, 64)
    assert run.family.geometry == own, "the clips that are learnt from stay as they are"
    with pytest.raises(DataError, match=r"^8x32x64: frames must be 2n\+1 and sides multiples of 8\.$"):
        run.clips(frames=8)
    run.dir.close()


def test_offload_may_change_on_the_way_and_precision_not(tmp_path: Path) -> None:
    folder = RunDir(tmp_path / "run")
    folder.freeze({"offload": "none", "precision": "bf16"})
    folder.stage("finetune")
    folder.freeze({"offload": "block", "precision": "bf16"})
    assert folder.settings()["offload"] == "block"
    with pytest.raises(UsageError, match=r"made with other settings \(precision: bf16 there, fp8 asked\)"):
        folder.freeze({"offload": "block", "precision": "fp8"})
    folder.close()
