"""Any number of clips can be measured and shown, and what is kept is never taken for more than it is."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from magicid.avatar.dataset import HELD_OUT, render
from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.core.finite import finite
from magicid.experiments import base_quality
from magicid.experiments.base_quality import BaseQuality, _likeness, _ratio, contact_sheet
from magicid.media.photo import read_photo
from magicid.media.video import to_frames, to_tensor


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (4, 1, 4), (6, 2, 4), (16, 4, 4)])
def test_a_sheet_shows_every_clip_and_is_white_where_there_is_none(count: int, rows: int, columns: int) -> None:
    clips = np.stack([np.full((17, 8, 8, 3), i, np.uint8) for i in range(count)])
    sheet = contact_sheet(clips)
    assert sheet.shape == (2 * 8 * rows, 2 * columns * (5 * 8 + 4), 3)
    assert set(np.unique(sheet)) == {*range(count), 255}


def test_kept_batches_of_fewer_clips_are_not_taken_for_whole_ones(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_quality, "WEIGHTS", weights)
    asked, quiet = BaseQuality(steps=1, batch=2, work=tmp_path / "work"), Console(quiet=True)
    said = ["a person waves", "a person sits", "a person walks", "a person"]
    real = np.stack([render(HELD_OUT, i).frames for i in range(4)])
    assert [len(asked._generated(said[:count], real, quiet)) for count in (3, 4, 3)] == [3, 4, 3]
    assert sorted(path.name[12:] for path in asked.work.iterdir()) == [f"-1-None-1.0-{end}.npy" for end in ("0-2", "2-1", "2-2")]


def test_later_sentences_alone_have_the_clips_that_they_have_among_all(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_quality, "WEIGHTS", weights)
    said, quiet = ["a person waves", "a person sits", "a person walks", "a person"], Console(quiet=True)
    real = np.stack([render(HELD_OUT, i).frames for i in range(4)])
    every = BaseQuality(steps=1, batch=2, work=tmp_path / "all")._generated(said, real, quiet)
    later = BaseQuality(steps=1, batch=2, first=2, work=tmp_path / "later")._generated(said[2:], real[2:], quiet)
    np.testing.assert_array_equal(later, every[2:])
    assert [path.name[12:] for path in (tmp_path / "later").iterdir()] == ["-1-None-1.0-2-2.npy"]
    with pytest.raises(UsageError, match=r"first -1: held-out sentences are numbered from 0"):
        BaseQuality(first=-1).run(quiet=True)


def test_clips_that_start_from_nearly_clean_renders_are_the_renders(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_quality, "WEIGHTS", weights)
    family, quiet = tables.load(tables.FAMILIES, "family", "wan").load(weights / "base"), Console(quiet=True)
    g = family.geometry
    real = np.random.default_rng(0).integers(256, size=(2, g.frames, g.height, g.width, 3), dtype=np.uint8)
    near, far = (
        BaseQuality(steps=10, start=start, work=tmp_path)._generated(["a person waves"] * 2, real, quiet) for start in (0.0, 1.0)
    )
    np.testing.assert_array_equal(near, to_frames(family.decode(family.encode(to_tensor(real)))))
    assert not np.array_equal(near, far)


@pytest.mark.parametrize("count", [1, 3])
def test_few_clips_are_enough(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = np.stack([render(HELD_OUT + 2, i).frames for i in range(count)])
    monkeypatch.setattr(BaseQuality, "_generated", lambda *arguments: made)
    found = BaseQuality(clips=count, sheet=tmp_path / "sheet.png").run(quiet=True)
    assert read_photo(tmp_path / "sheet.png").shape == (128, 2 * count * 324, 3)
    assert math.isfinite(found["frechet"]) == math.isfinite(found["diversity_gap"]) == (count > 1)
    json.dumps(finite(found), allow_nan=False)


def test_likeness_is_the_mean_cosine_of_those_who_differ() -> None:
    assert _likeness(np.eye(3)) == 0 and _likeness(np.array([[1.0, 0], [1, 0], [0, 1]])) == pytest.approx(1 / 3)
    assert math.isnan(_likeness(np.eye(1))) and math.isnan(_likeness(np.array([])))


def test_a_ratio_is_of_means_and_its_interval_narrows_with_clips() -> None:
    pairs = [(1.0, 2.0), (3.0, 2.0), (2.0, 4.0)] * 5 + [(math.nan, 8 / 3)]  # what cannot be measured leaves its other half
    ratio, low, high = _ratio(pairs)
    assert ratio == pytest.approx(3 / 4) and low < ratio < high
    _, lower, higher = _ratio(pairs * 10)
    assert low < lower < higher < high
    assert _ratio([(2.0, 2.0), (5.0, 5.0)]) == (1, 1, 1) and all(math.isnan(end) for end in _ratio([]))
