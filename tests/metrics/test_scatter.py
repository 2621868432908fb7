"""The picture of the repository shows all clips, all pairs and the thresholds that chose them."""

import re
from typing import Any

import numpy as np

from magicid.core.records import Pair, Score, Video
from magicid.metrics.scatter import repository_plot

PHOTOS = ["photo-000", "photo-001"]
VIDEOS = [Video(f"finetuned-{i}", "finetuned", "p", 0, 1.0 if i % 2 else 0.45, "", "", "") for i in range(8)] + [
    Video(f"base-{i}", "base", "p", 0, 0.0, "", "", "") for i in range(3)
]
SETTINGS: dict[str, Any] = {
    "pair.rule": "dominance", "pair.rewards": ["identity", "motion", "prompt"], "pair.least_prompt": 6.0,
    "pair.identity_most_motion_gap": 4.0, "pair.dynamic_least_identity_gap": 1.5, "pair.dynamic_least_motion_gap": 2.0,
}  # fmt: skip
PAIRS = [
    Pair("identity-000", "identity", "photo-000", "base-0", "t", 5, -3),
    Pair("identity-001", "identity", "photo-001", "base-1", "t", 5, -3),
    Pair("dynamic-000", "dynamic", "finetuned-1", "base-2", "p", 2, 3),
]


def scores(prompt: float = 8.0) -> list[Score]:
    rng = np.random.default_rng(0)
    names = [*PHOTOS, *(v.id for v in VIDEOS)]
    rows = [{"identity": float(rng.uniform(1, 10)), "motion": float(rng.uniform(1, 10)), "prompt": prompt} for _ in names]
    return [Score(name, row, row, {}) for name, row in zip(names, rows, strict=True)]


def words(*arguments: Any) -> str:
    plot = repository_plot(*arguments)
    assert plot is not None
    return " ".join(re.findall(r">([^<>]+)</(?:text|tspan)>", plot))


def test_every_origin_and_strength_is_named_with_its_count() -> None:
    text = words(PHOTOS, VIDEOS, scores(), PAIRS, SETTINGS)
    for label in ("photo, standing still (2)", "customised, strength 1 (4)", "customised, strength 0.45 (4)", "base model (3)"):
        assert label in text, label
    assert "identity pair (2): loser → winner" in text and "dynamic pair (1): loser → winner" in text
    assert "first front" in text and "hollow" not in text


def test_a_clip_without_finite_rewards_is_not_counted() -> None:
    lost = [Score(s.video, s.raw, {}, {}) if s.video == "base-0" else s for s in scores()]
    lost = [Score(s.video, {"identity": float("nan"), "motion": 1.0}, {}, {}) if s.video == "base-0" else s for s in lost]
    text = words(PHOTOS, VIDEOS, lost, PAIRS, SETTINGS)
    assert "base model (2)" in text and "identity pair (1)" in text


def test_thresholds_are_those_of_the_rule() -> None:
    ours = words(PHOTOS, VIDEOS, scores(), PAIRS, SETTINGS)
    assert "at most 4 apart in motion" in ours and "at least 1.5 up" in ours and "and 2 to the right" in ours
    paper = words(PHOTOS, VIDEOS, scores(), PAIRS, SETTINGS | {"pair.rule": "paper"})
    assert "at most 4 apart in motion" in paper and "to the right" not in paper
    alone = words(PHOTOS, VIDEOS, scores(), PAIRS, SETTINGS | {"pair.rewards": ["identity"]})
    assert "apart in motion" not in alone and "to the right" not in alone


def test_clips_below_the_semantic_floor_are_hollow_where_there_is_one() -> None:
    mixed = [Score(s.video, s.raw, s.scaled | {"prompt": 2.0 if s.video == "base-1" else 8.0}, {}) for s in scores()]
    assert "cannot win" in words(PHOTOS, VIDEOS, mixed, PAIRS, SETTINGS)
    without = SETTINGS | {"pair.rewards": ["identity", "motion"]}
    assert "cannot win" not in words(PHOTOS, VIDEOS, mixed, PAIRS, without)
    assert "cannot win" not in words(PHOTOS, VIDEOS, scores(prompt=1.0), PAIRS, SETTINGS), "the floor is never above the best"


def test_a_run_without_pairs_or_settings_still_has_its_picture_and_one_without_scores_none() -> None:
    assert "base model (3)" in words(PHOTOS, VIDEOS, scores(), [], {})
    assert "photo, standing still (2)" in words(PHOTOS, [], scores(), [], {})
    assert repository_plot(PHOTOS, VIDEOS, [], [], SETTINGS) is None
