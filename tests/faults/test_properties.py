"""Truths of what is kept, on whatever hypothesis thinks of: settings, manifests, journals, names."""

import dataclasses
import json
import math
import struct
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.core.records import Metric, Photo, Prompt, Score, Video
from magicid.core.run import Common
from magicid.core.run_dir import Journal, RunDir
from magicid.pipeline import PRESETS, Pipeline, flatten
from magicid.stages.prompts import Prompts
from magicid.stages.sample import Sample
from magicid.stages.score import Score as ScoreStage
from tests.doubles import fake_run

MANY = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
FEW = settings(MANY, max_examples=25)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
FLOAT = st.floats()  # nan and the infinities too
HOSTILE = st.sampled_from(["../../etc/x", "/etc/x", "a\0b", "$(touch x)", "; rm x", "-rf", "a\nb", "..", ".", "%2e%2e/", "~/x"])
RECORDS = {
    Prompt: st.builds(Prompt, TEXT, TEXT, TEXT),
    Photo: st.builds(Photo, TEXT, TEXT, TEXT, TEXT, TEXT, st.booleans()),
    Video: st.builds(Video, TEXT, TEXT, TEXT, st.integers(0, 2**63), FLOAT, TEXT, TEXT, TEXT),
    Metric: st.builds(Metric, TEXT, TEXT, FLOAT, FLOAT, FLOAT, st.integers()),
    Score: st.builds(
        Score, TEXT, *[st.dictionaries(TEXT, kind) for kind in (FLOAT, FLOAT, TEXT, FLOAT)]
    ),
}  # fmt: skip


def bits(value: object) -> object:
    """The value with every float as its bits, but one nan for all, so that equal means the same number."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack(">d", value)
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple) else value


@MANY
@given(TEXT, TEXT, st.integers(0, 2**63 - 1), st.floats(0, 2), st.integers(1, 10**6), st.sampled_from(sorted(PRESETS)))
def test_settings_come_back_from_yaml_as_they_were(
    trigger: str, base: str, seed: int, strength: float, count: int, preset: str
) -> None:
    common = Common(Path("photos"), base=base.replace("\0", ""), trigger=trigger, seed=seed)
    pipeline = dataclasses.replace(PRESETS[preset], sample=Sample(strengths=(strength, 1.0)), prompts=Prompts(repository=count))
    flat = flatten(common, pipeline)
    assert bits(yaml.safe_load(yaml.safe_dump(flat, sort_keys=False))) == bits(flat)


def test_places_are_whole_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "clip", "sface", "a,b.onnx", "raft.safetensors"):
        (tmp_path / name).mkdir()  # a folder or a file, it is all the same
    common = Common(Path("photos"), base="base", detector="yunet:a,rfb:base", face_reward="sface:a,b.onnx", face_report="sface")
    common = dataclasses.replace(common, text_reward="vlm:owner/name", text_report="clip:./clip")
    flat = flatten(common, Pipeline(prompts=Prompts(model="base"), score=ScoreStage("raft", "raft.safetensors")))
    assert flat["base"] == flat["prompts.model"] == f"{tmp_path}/base" and flat["detector"] == f"yunet:a,rfb:{tmp_path}/base"
    assert flat["face_reward"] == f"sface:{tmp_path}/a,b.onnx" and flat["face_report"] == "sface"
    assert flat["text_reward"] == "vlm:owner/name" and flat["text_report"] == f"clip:{tmp_path}/clip"
    assert flat["score.flow_weights"] == f"{tmp_path}/raft.safetensors"


@FEW
@given(st.data())
def test_what_is_refused_is_just_what_differs_where_a_stage_has_begun(data: st.DataObject) -> None:
    frozen = flatten(Common(Path("photos")), Pipeline())
    numbers = sorted(key for key, value in frozen.items() if type(value) in (int, float))
    changed = data.draw(st.sets(st.sampled_from(numbers), max_size=4))
    begun = data.draw(st.sets(st.sampled_from(list(tables.STAGES)), max_size=3))
    asked = frozen | {key: frozen[key] + 1 for key in changed}
    refused = {key for key in changed if (begun if "." not in key else key.split(".")[0] in begun)}
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder) / "run")
        run.freeze(frozen)
        for name in begun:
            run.stage(name)
        if refused:
            with pytest.raises(UsageError) as error:
                run.freeze(asked)
            named = str(error.value).partition("(")[2].partition(")")[0].split("; ")
            assert named == [f"{key}: {frozen[key]} there, {asked[key]} asked" for key in sorted(refused)]
            assert run.settings() == frozen, "what was refused was written"
        else:
            run.freeze(asked)
            assert run.settings() == asked
        run.close()


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@FEW
@given(data=st.data())
def test_records_come_back_from_a_manifest_as_they_were(kind: type, data: st.DataObject) -> None:
    records = data.draw(st.lists(RECORDS[kind], max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder))
        run.stage("sample")
        run.publish("sample", records)
        found = run.read("sample", kind)
        run.close()
    assert bits([record.to_json() for record in found]) == bits([record.to_json() for record in records])


def test_a_journal_torn_at_any_byte_keeps_every_line_before_it_and_goes_on(tmp_path: Path) -> None:
    items = [Prompt(f"prompt-{i}", text, "repository") for i, text in enumerate(["waves", "n\u00e4ht \U0001f9f5", "a\nb\u2028c"])]
    run = RunDir(tmp_path)
    journal = Journal(run, "sample")
    for item in items:
        journal.add(item, item.id)
    path = run.stage("sample") / "journal.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        again = Journal(run, "sample")
        kept = whole[:cut].count(b"\n")
        assert [again.get(Prompt, item.id) for item in items] == items[:kept] + [None] * (3 - kept), cut
        again.add(items[0], "new")
        lines = path.read_bytes().splitlines()
        assert len(lines) == kept + 1 and all(json.loads(line) for line in lines), cut
    run.close()


@FEW
@given(st.lists(TEXT.filter(str.strip) | HOSTILE, min_size=1, max_size=4))
def test_no_prompt_is_part_of_a_path(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "run"
        run = fake_run(root, Path(folder))
        run.dir.stage("prompts")
        names = [Prompt(f"prompt-{i:03d}", text, "repository") for i, text in enumerate(texts)]
        run.dir.publish("prompts", names)
        for prompt in run.dir.read("prompts", Prompt):
            path = run.file(run.path("sample", f"{prompt.number}-0.mp4"))
            assert path.resolve().is_relative_to(root) and prompt.number.isdigit()
        run.dir.close()
        assert {path.name for path in Path(folder).iterdir()} == {"run"}
