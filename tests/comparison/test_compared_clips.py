"""Clips that are compared are drawn as those of the run's own stage are."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from magicid.comparison import clips
from magicid.comparison.clips import Method, drawn
from magicid.core.interfaces import Geometry
from magicid.core.records import Adapter, Video
from magicid.core.run import Run
from magicid.training.clips import Wanted, make_clips
from tests.doubles import fake_run


def test_they_have_the_size_of_the_clips_that_generate_drew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fake_run(tmp_path / "run", tmp_path)
    run.dir.freeze(
        {"generate.frames": 9, "generate.height": 32, "generate.steps": 1, "generate.batch": 1, "generate.guidance": None}
    )
    base = make_clips(run, "generate", [Wanted("base-000-0", "base", "sks person", 1, None, 0.0)], 1, 1, None, run.drawn)
    run.dir.publish("generate", base)
    sizes: list[Geometry] = []

    def noted(run: Run, folder: str, wanted: Any, steps: int, batch: int, guidance: Any, shown: Geometry) -> list[Video]:
        sizes.append(shown)
        return base

    monkeypatch.setattr(clips, "make_clips", noted)
    monkeypatch.setattr(clips, "_loaded", lambda run, method: nullcontext(lambda prompt: prompt))
    drawn(run, Method("ours", run, Adapter("ours", "a" * 64)))
    assert [(size.frames, size.height, size.width) for size in sizes] == [(9, 32, 16)]
    run.dir.close()
