"""Scoring a small repository of coloured rectangles: what moves, who is red, and what a kill costs."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from magicid.core.errors import DataError
from magicid.core.records import Photo, Video
from magicid.core.records import Score as Scored
from magicid.core.run import Run
from magicid.media.photo import write_png
from magicid.media.video import write_video
from magicid.stages.score import Score
from tests.doubles import BLUE, RED, fake_run, picture

SPEEDS = {"base-0": 0, "base-1": 2, "base-2": 4, "finetuned-0": 2, "finetuned-1": 8}  # pixels a frame


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Red photos; red fine-tuned clips; blue clips of the base model."""
    run = fake_run(tmp_path / "run", tmp_path)
    rng = np.random.default_rng(0)
    texture = rng.integers(-40, 40, (120, 160, 1))
    photos = [Photo(f"photo-{i}", f"{i}.png", f"prepare/{i}.png", "", "", False) for i in range(2)]
    for photo in photos:
        write_png(run.file(photo.image), picture((60, 30, RED)))
    run.dir.publish("prepare", photos)
    videos = []
    for name, speed in SPEEDS.items():
        origin = name.split("-")[0]
        colour = RED if origin == "finetuned" else BLUE
        frames = [picture((20 + speed * t, 30, colour)) for t in range(9)]
        still = np.stack([np.clip(f + texture * (np.ptp(f, 2, keepdims=True) < 9), 0, 255) for f in frames]).astype(np.uint8)
        videos.append(Video(name, origin, "p", 0, 1.0, f"sample/{name}.mp4", "", ""))
        write_video(run.file(videos[-1].file), still, 8, enlarge=1)
    run.dir.publish("sample", videos)
    return run


def by_name(scores: object) -> dict[str, Scored]:
    return {s.video: s for s in scores}  # type: ignore[attr-defined]


def test_the_faster_has_more_motion_up_to_the_base_models_percentile(run: Run) -> None:
    found = by_name(Score().run(run))
    raw = [found[name].raw["motion"] for name in ("base-0", "base-1", "base-2")]
    assert raw[0] < raw[1] < raw[2]
    cap = float(np.percentile(raw, 75))
    best = [name for name, s in found.items() if s.raw["motion"] >= cap]
    assert best and all(found[name].scaled["motion"] == pytest.approx(10) for name in best)
    assert found["photo-0"].scaled["motion"] == 1


def test_the_person_has_more_identity_than_a_stranger(run: Run) -> None:
    found = by_name(Score().run(run))
    assert min(found[n].raw["identity"] for n in found if "base" not in n) > max(
        found[n].raw["identity"] for n in found if "base" in n
    )
    assert found["photo-0"].scaled["identity"] > 9 and found["base-0"].scaled["identity"] < 2


@pytest.mark.parametrize("threads", [1, 3])
def test_scores_do_not_depend_on_how_many_are_made_side_by_side(run: Run, threads: int) -> None:
    whole, before = Score().run(run), torch.get_num_threads()
    run.dir.publish("score", [])  # takes the journal away
    torch.set_num_threads(threads)
    assert Score().run(run) == whole
    torch.set_num_threads(before)


def test_what_was_scored_before_a_kill_is_not_scored_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, original, count = Score().run(run), Score._measure, [0]
    journal = run.dir.root / "score" / "journal.jsonl"
    journal.write_text("".join(line + "\n" for line in journal.read_text().splitlines()[:4]))

    def counted(self: Score, *arguments: object) -> object:
        count[0] += 1
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Score, "_measure", counted)
    assert Score().run(run) == whole and count[0] == len(whole) - 4


def test_a_repository_in_which_all_move_alike_is_refused(run: Run) -> None:
    with pytest.raises(DataError, match=r"have the same motion, .* or more \(capped at 0\): nothing can be preferred"):
        Score(motion_cap_percentile=0.0).run(run)


@pytest.mark.parametrize(("lost", "said"), [("", ""), ("0", "1 of 7 videos has"), ("01", "2 of 7 videos have")])
def test_videos_without_a_finite_score_are_counted_on_the_console_and_left_out(
    run: Run, monkeypatch: pytest.MonkeyPatch, lost: str, said: str
) -> None:
    gone, original = [f"finetuned-{i}" for i in lost], Score._measure

    def unmeasurable(self: Score, key: str, *arguments: object) -> Scored:
        score = original(self, key, *arguments)  # type: ignore[arg-type]
        return replace(score, raw=score.raw | {"identity": math.nan}) if key in gone else score

    monkeypatch.setattr(Score, "_measure", unmeasurable)
    run.console = Console(width=200)
    with run.console.capture() as printed:
        found = by_name(Score().run(run))
    assert [name for name, score in found.items() if not score.scaled] == gone
    assert ("no finite score" in printed.get()) == bool(lost) and said in printed.get()


def test_a_repository_without_a_single_finite_score_is_refused_whatever_is_allowed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Score._measure
    monkeypatch.setattr(Score, "_measure", lambda *a: replace(original(*a), raw={"identity": math.nan}))
    with pytest.raises(DataError, match=r"^0 of 7 videos have finite scores"):
        Score(most_unusable=1.0).run(run)
