"""Settings and data that changed, and repositories of which nothing can be learnt."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from magicid.core import records
from magicid.core.errors import DataError
from magicid.core.interfaces import Measured
from magicid.core.records import Video
from magicid.media.photo import write_png
from magicid.perception.tracking import observe
from magicid.rewards.identity import IdentityReward
from magicid.selection import choice
from magicid.selection.scored import Candidate
from magicid.stages.pair import Pair
from magicid.stages.score import Score
from tests.doubles import RED, FakeDetector, FakeEncoder, picture
from tests.faults.attempts import attempt
from tests.faults.conftest import Bench, stage_two
from tests.faults.guards import Guard

GUARDS = {
    16: Guard("core/run_dir.py", "if differing:", "if False:"),
    17: Guard("runs.py", "and _more_steps(", "and not _more_steps("),
    48: Guard("rewards/scoring.py", "if all(np.isfinite(v) for v in s.raw.values())]", "]"),
    49: Guard("rewards/scoring.py", "if len(set(scaled[name].values())) == 1:", "if False:"),
    50: Guard("selection/choice.py", "if not any(found.values()) or any(", "if False and any("),
    51: Guard("selection/choice.py", "len(found[kind]) < min(self.least, asked[kind])", "False"),
    52: Guard("selection/choice.py", "held[pair.winner.id] == held[pair.loser.id] or ", ""),
}


@pytest.fixture
def done(whole: Bench, bench: Bench) -> Bench:
    """A copy of the finished run."""
    shutil.copytree(whole.run, bench.run)
    return bench


def forked(bench: Bench, *more: str, **environment: str) -> tuple[int, str]:
    words = ["fork", str(bench.run), "--out", str(bench.folder / "fork"), *more]
    return attempt(words, bench.folder / "fork.txt", **environment)


def test_row_16_other_settings_or_photos_are_refused_and_a_fork_is_possible(done: Bench, whole: Bench) -> None:
    code, said = done.attempt("--optimize.beta", "250")
    assert code == 2 and "optimize.beta: 1000.0 there, 250.0 asked" in said and "magicid fork" in said
    photos = done.folder / "photos"
    shutil.copytree(done.photos, photos)
    write_png(photos / "1.png", picture((60, 44, RED)))
    (done.run / "settings.yaml").write_text((done.run / "settings.yaml").read_text().replace(str(done.photos), str(photos)))
    code, said = replace(done, photos=photos).attempt()
    assert code == 2 and "1.png added, gone or changed since" in said
    (done.run / "settings.yaml").write_text((whole.run / "settings.yaml").read_text())
    code, said = forked(done, "--optimize.beta", "250")
    assert code == 0 and "with other settings from 'optimize' on" in said and done.contents() == whole.contents()
    other = replace(done, folder=done.folder / "x")
    shutil.move(done.folder / "fork", other.run)
    changed = {name for name, digest in other.contents().items() if whole.contents()[name] != digest}
    assert "settings.yaml" in changed and "optimize/adapter.safetensors" in changed
    assert not any(name.startswith(("prepare/", "finetune/", "sample/", "score/", "pair/")) for name in changed)


def test_row_17_more_steps_go_on_from_the_last_and_end_as_if_asked_for_at_first(done: Bench, whole: Bench) -> None:
    code, said = forked(done, "--optimize.steps", "10", MAGICID_FAULT="optimize:0:step:kill")  # step 0 is not done again
    assert code == 0, said
    at_first = replace(done, folder=done.folder / "first")
    shutil.copytree(whole.run, at_first.run, ignore=shutil.ignore_patterns("optimize", "generate", "evaluate"))
    code, said = at_first.attempt("--optimize.steps", "10")
    assert code == 0, said
    for file in ("optimize/adapter.safetensors", "optimize/log.jsonl", "adapter.safetensors"):
        assert (done.folder / "fork" / file).read_bytes() == (at_first.run / file).read_bytes()


def test_row_48_a_reward_that_is_not_finite_leaves_its_video_out(bench: Bench) -> None:
    code, said = bench.attempt(command="score", MAGICID_FAULT="score:finetuned-001-0:reward:nan")
    assert code == 0 and "1 of 15 videos has no finite score and is left out" in said
    scores = (bench.run / "score" / "manifest.jsonl").read_text().splitlines()
    row = next(line for line in scores if '"finetuned-001-0"' in line)
    assert '"identity": "unmeasurable"' in row and '"scaled": {}' in row


def test_row_48_too_many_stop_the_stage(bench: Bench) -> None:
    code, said = bench.attempt(command="score", MAGICID_FAULT="score:*:reward:nan")
    assert code == 3 and "0 of 15 videos have finite scores" in said


def test_row_49_rewards_that_are_all_equal_stop_the_stage(done: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(done.run / "score")
    run = stage_two(done, monkeypatch)
    monkeypatch.setattr(IdentityReward, "__call__", lambda reward, video: Measured("measured", 0.5, {}))
    with pytest.raises(DataError, match=r"all 15 videos have the same identity, 0\.5: nothing can be preferred"):
        Score().run(run)


def test_row_49_no_face_is_embedded_where_none_is_detected() -> None:
    class Never(FakeEncoder):
        def embed(self, crops: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            assert not len(crops), f"{len(crops)} crops of nobody"
            return np.zeros((0, 3), np.float32)

    black = observe(np.zeros((5, 32, 32, 3), np.uint8), "nobody", 8.0, FakeDetector())
    measured = IdentityReward(Never(), np.eye(3, dtype=np.float32))(black)
    assert (measured.state, measured.value) == ("failed", 0.0)


def test_row_50_where_every_pair_is_filtered_out_nothing_is_trained(bench: Bench) -> None:
    code, said = bench.attempt("--pair.identity-least-gap", "99", "--pair.dynamic-least-motion-gap", "99", "--pair.least", "0")
    assert code == 3 and said.count(" 0 with the ") + said.count(", 0 ") >= 2 and "ordered pairs" in said
    assert not (bench.run / "optimize").exists()


def test_row_51_the_least_number_of_pairs_is_enforced_and_said(bench: Bench) -> None:
    code, said = bench.attempt("--pair.least", "6", "--pair.dynamic-least-motion-gap", "99")
    assert code == 3 and "6 of 6 identity pairs" in said and "0 of 6 dynamic pairs" in said and "need 6 of each kind" in said


def test_row_52_a_winner_that_is_its_loser_is_refused(done: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run, settings = stage_two(done, monkeypatch), Pair(6, 6, identity_least_gap=0, dynamic_least_identity_gap=0, least=0)
    read = run.dir.read

    def twins(name: str, kind: type) -> list:  # type: ignore[type-arg]
        records = read(name, kind)
        return [replace(r, sha256="0" * 64) if isinstance(r, Video) else r for r in records]

    monkeypatch.setattr(run.dir, "read", twins)
    with pytest.raises(DataError, match="the same clip, or the same pair twice; a winner must differ from its loser"):
        settings.run(run)


def test_row_52_a_pair_stands_once(done: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stage_two(done, monkeypatch)
    clips = run.dir.read("sample", Video)
    videos = choice.scored(run, clips, run.dir.read("score", records.Score))
    with pytest.raises(DataError, match="the same pair twice"):
        choice._refuse_twins({c.id: c.sha256 for c in clips}, [Candidate(v, w) for v, w in [videos[:2]] * 2])
