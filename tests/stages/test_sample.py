"""Which clips the repository asks for, and from which noise each is drawn."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from magicid.core.errors import UsageError
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.stages import sample
from magicid.stages.sample import Sample
from magicid.training.clips import Wanted

pytestmark = pytest.mark.usefixtures("judges")
STAGE = Sample(finetuned_per_prompt=3, base_per_prompt=1, strengths=(1.0, 0.7, 0.4))


def asked(stage: Sample, common: Common, finished: Path, monkeypatch: pytest.MonkeyPatch) -> list[Wanted]:
    wanted: list[Wanted] = []

    def noted(_run: Run, _stage: str, clips: Sequence[Wanted], *_drawing: object) -> list[object]:
        wanted.extend(clips)
        return []

    monkeypatch.setattr(sample, "make_clips", noted)
    folder = RunDir(finished)
    stage.run(Run(folder, common))
    folder.close()
    return wanted


def test_each_clip_has_a_noise_of_its_own(common: Common, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = asked(STAGE, common, finished, monkeypatch)
    assert len({clip.seed for clip in wanted}) == len(wanted) > 4
    assert [clip.strength for clip in wanted[:4]] == [1.0, 0.7, 0.4, 0.0]


def test_or_all_clips_of_a_prompt_begin_with_one(common: Common, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = defaultdict(set)
    for clip in asked(replace(STAGE, same_noise=True), common, finished, monkeypatch):
        seeds[clip.prompt].add(clip.seed)
    assert all(len(found) == 1 for found in seeds.values()) and len(set.union(*seeds.values())) == len(seeds) > 1


@pytest.mark.parametrize(
    ("changed", "twice"),
    [
        ({"strengths": (1.0, 0.5, 1.0)}, "1"),
        ({"strengths": (0.5, 0.5, 0.7), "finetuned_per_prompt": 2}, "0.5"),
        ({"strengths": (1.0, 0.5, 0.0)}, "0"),
        ({"finetuned_per_prompt": 4}, "1"),
        ({"base_per_prompt": 2}, "0"),
    ],
)
def test_from_one_noise_no_clip_is_drawn_twice(changed: dict[str, object], twice: str) -> None:
    replace(STAGE, same_noise=True).check()
    replace(STAGE, same_noise=True, base_per_prompt=0, strengths=(1.0, 0.5, 0.0)).check()
    replace(STAGE, **changed).check()  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=rf"^sample\.same_noise with two clips of strength {twice} \(0: the base model\): from"):
        replace(STAGE, same_noise=True, **changed).check()  # type: ignore[arg-type]
