"""Everyone has photos, prompts and noise of their own; a run takes over what another has done under equal settings."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from magicid.comparison.people import EXAMPLES, common_of, people, person_run, share_stages, variant
from magicid.core.records import Adapter, Prompt
from magicid.families.wan import Wan
from tests.comparison.conftest import TINY

pytestmark = pytest.mark.usefixtures("world")
QUIET = Console(quiet=True)


def test_the_first_people_are_those_of_the_examples_and_no_two_are_the_same() -> None:
    assert people(2) == EXAMPLES[:2] and people(5) == (*EXAMPLES, 201, 202)
    assert len(set(people(50))) == 50


def test_photos_are_drawn_once_and_seeds_differ_between_people_and_between_experiments(tmp_path: Path) -> None:
    common = common_of(tmp_path, 9, seed=0)
    photo = common.photos / "photo-1.png"
    before = photo.stat().st_mtime_ns
    assert common_of(tmp_path, 9, seed=0) == common and photo.stat().st_mtime_ns == before
    assert len({common.seed, common_of(tmp_path, 7, seed=0).seed, common_of(tmp_path, 9, seed=1).seed}) == 3


def test_people_get_prompts_of_their_own(tmp_path: Path) -> None:
    said = []
    for person in (9, 7):
        with person_run(common_of(tmp_path, person, 0), TINY, tmp_path / f"{person}", QUIET, until="prompts") as run:
            said.append({prompt.text for prompt in run.dir.read("prompts", Prompt)})
    assert not said[0] & said[1]


def test_equal_stages_are_shared_and_the_other_run_goes_on_from_them(tmp_path: Path) -> None:
    common, other = common_of(tmp_path, 9, 0), replace(TINY, sample=replace(TINY.sample, strengths=(1.0,)))
    with person_run(common, TINY, tmp_path / "ours", QUIET, until="prompts") as run:
        share_stages(run.dir, tmp_path / "theirs", common, other)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "theirs").rglob("*") if path.is_file()}
    with person_run(common, other, tmp_path / "theirs", QUIET, until="sample") as theirs:
        assert theirs.dir.settings()["sample.strengths"] == [1.0]
        assert {path: path.stat().st_mtime_ns for path in times} == times
        for stage in ("prepare", "finetune", "prompts"):
            assert theirs.dir.manifest(stage).read_bytes() == (tmp_path / "ours" / stage / "manifest.jsonl").read_bytes()
    inputs = json.loads((tmp_path / "theirs" / "sample" / "manifest.jsonl").read_text().splitlines()[0])["inputs"]
    assert list(inputs) == ["prepare", "finetune", "prompts", "distill"]


def test_from_the_first_stage_that_differs_on_nothing_is_shared(tmp_path: Path) -> None:
    common, other = common_of(tmp_path, 9, 0), replace(TINY, finetune=replace(TINY.finetune, steps=6))
    with person_run(common, TINY, tmp_path / "ours", QUIET, until="prompts") as run:
        share_stages(run.dir, tmp_path / "theirs", common, other)
        assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["prepare"]
        share_stages(run.dir, tmp_path / "strangers", replace(common, seed=1), TINY)
        assert not (tmp_path / "strangers").exists()


def test_a_variant_copies_what_is_equal_and_trains_on_the_runs_own_base_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common, other = common_of(tmp_path, 9, 0), replace(TINY, optimize=replace(TINY.optimize, beta=3.0))
    with person_run(common, other, tmp_path / "alone", QUIET, until="optimize") as run:
        alone = run.dir.read("optimize", Adapter)[0]
    loaded: list[Path] = []
    original = Wan.load.__func__  # type: ignore[attr-defined]

    def noted(kind: type[Wan], path: Path, *how: object) -> Wan:
        loaded.append(path)
        made: Wan = original(kind, path, *how)
        return made

    with person_run(common, TINY, tmp_path / "person-9", QUIET) as run:
        stages = ("prepare", "finetune", "prompts", "distill", "sample", "score", "pair")
        monkeypatch.setattr(Wan, "load", classmethod(noted))
        with variant(run, "soft", other) as made:
            assert made.dir.root == tmp_path / "person-9-soft" and made.family is run.family and len(loaded) == 1
            assert all(made.dir.manifest(name).read_bytes() == run.dir.manifest(name).read_bytes() for name in stages)
            assert made.dir.read("optimize", Adapter)[0].sha256 == alone.sha256 != run.dir.read("optimize", Adapter)[0].sha256
            assert not made.dir.finished("generate")
