"""A run directory has one owner, one set of settings, and stages that are finished or are not."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from magicid.core import tables
from magicid.core.errors import DataError, UsageError
from magicid.core.files import sha256
from magicid.core.records import Adapter, Metric, Prompt, Score
from magicid.core.run_dir import Journal, RunDir, filled

PROMPTS = [Prompt("a", "walks", "repository"), Prompt("b", "nods", "evaluation")]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def test_the_same_settings_open_a_run_again(run: RunDir) -> None:
    run.freeze({"seed": 0, "optimize.beta": 500.0, "targets": []})
    run.freeze({"targets": [], "optimize.beta": 500.0, "seed": 0})
    assert run.settings()["optimize.beta"] == 500.0


def test_settings_come_back_whatever_their_names_and_are_the_callers_own(run: RunDir) -> None:
    asked = {"photos": "caf\udce9", "trigger": "caf\u00e9 \U0001f600", "targets": ["to_q"]}
    run.freeze(asked)
    run.settings()["targets"].append("to_k")
    assert run.settings() == asked


def test_other_settings_are_refused_with_the_difference(run: RunDir) -> None:
    run.freeze({"seed": 0, "optimize.beta": 500.0, "old": 1})
    run.stage("optimize")
    with pytest.raises(UsageError) as error:
        run.freeze({"seed": 0, "optimize.beta": 7.0, "new": 2})
    for said in ("optimize.beta: 500.0 there, 7.0 asked", "old: 1 there, absent asked", "new: absent there, 2 asked", "--out"):
        assert said in str(error.value)
    assert "seed" not in str(error.value) and "delete" not in str(error.value)


def test_settings_of_stages_that_have_not_begun_may_change(run: RunDir) -> None:
    run.freeze({"version": "1", "pair.least": 4, "optimize.beta": 500.0})
    run.freeze({"version": "2", "pair.least": 2, "optimize.beta": 7.0})
    assert run.settings() == {"version": "1", "pair.least": 2, "optimize.beta": 7.0}
    run.stage("pair")
    run.stage("optimize")
    with pytest.raises(
        UsageError, match=r"least: 2 there, 3 asked\); choose another --out, fork it .*, or delete pair/, optimize/ to do them"
    ):
        run.freeze({"version": "2", "pair.least": 3, "optimize.beta": 7.0})
    run.freeze({"version": "2", "pair.least": 2, "optimize.beta": 7.0, "generate.steps": 20})
    assert run.settings()["generate.steps"] == 20


def test_a_setting_younger_than_the_run_was_at_its_default(run: RunDir) -> None:
    run.freeze({"pair.least": 4})
    run.stage("pair")
    defaults = {"pair.least": 9, "pair.new": False}
    with pytest.raises(UsageError, match=r"\(pair.new: False there, True asked\)"):
        run.freeze({"pair.least": 4, "pair.new": True}, defaults)
    run.freeze({"pair.least": 4, "pair.new": False}, defaults)
    assert run.settings() == {"pair.least": 4, "pair.new": False}


def test_a_stage_after_another_one_than_it_was_made_from_is_refused(run: RunDir) -> None:
    for name in ("prepare", "finetune", "prompts"):
        run.stage(name)
        run.publish(name, [])
    run.refuse_stale()
    Journal(run, "distill")
    run.publish("finetune", PROMPTS)
    with pytest.raises(DataError, match=r": prompts was made from another finetune; delete prompts/, distill/ and run again\.$"):
        run.refuse_stale()
    run.publish("prompts", [])
    run.refuse_stale()
    run.manifest("prompts").unlink()
    with pytest.raises(DataError, match=r": distill was made from another prompts; delete distill/ and run again\.$"):
        run.refuse_stale()


def test_a_run_from_before_there_was_a_stage_is_refused_as_made_without_it(run: RunDir) -> None:
    for name in ("prepare", "finetune", "prompts", "sample"):
        run.stage(name)
        run.publish(name, [])
    with pytest.raises(DataError, match=r": sample was made without distill; delete sample/ and run again\.$"):
        run.refuse_stale()


def test_only_earlier_stages_are_inputs(run: RunDir) -> None:
    for name in ("prepare", "sample", "prompts"):
        run.publish(name, [])
    assert list(json.loads(run.manifest("prompts").read_text())["inputs"]) == ["prepare"]


def test_a_folder_without_settings_is_no_run(run: RunDir) -> None:
    with pytest.raises(UsageError, match="not a run directory"):
        run.settings()


def test_a_second_opener_is_refused_and_told_who_holds_it(run: RunDir) -> None:
    with pytest.raises(UsageError, match=r"in use by process \d+ on "):
        RunDir(run.root)
    code = f"from pathlib import Path; from magicid.core.run_dir import RunDir; RunDir(Path({str(run.root)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "in use by process" in done.stderr


def test_a_lock_whose_process_is_gone_frees_itself(tmp_path: Path) -> None:
    opened = f"from pathlib import Path; from magicid.core.run_dir import RunDir; run = RunDir(Path({str(tmp_path)!r}))"
    code = f"import os; {opened}; os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert "process" in (tmp_path / ".lock").read_text()
    RunDir(tmp_path).close()


def test_a_closed_run_can_be_opened(run: RunDir) -> None:
    run.close()
    RunDir(run.root).close()


def test_a_file_in_the_place_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can be written"):
        RunDir(tmp_path / "file")


def test_a_run_that_is_only_read_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        RunDir(tmp_path / "misspelt", create=False)
    assert not (tmp_path / "misspelt").exists()


def test_records_come_back_as_they_were_published(run: RunDir) -> None:
    run.stage("prompts")
    assert not run.finished("prompts")
    run.publish("prompts", PROMPTS)
    assert run.finished("prompts") and run.read("prompts", Prompt) == PROMPTS


def test_an_unfinished_stage_cannot_be_read(run: RunDir) -> None:
    Journal(run, "prompts").add(PROMPTS[0], "a")
    with pytest.raises(UsageError, match="'prompts' is not finished; run it first"):
        run.read("prompts", Prompt)


def test_a_manifest_with_a_line_missing_is_refused(run: RunDir) -> None:
    run.stage("prompts")
    run.publish("prompts", PROMPTS)
    manifest = run.manifest("prompts")
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(DataError, match="1 records, its header says 2"):
        run.read("prompts", Prompt)


def test_the_manifest_names_what_it_was_made_from_and_ends_the_journal(run: RunDir) -> None:
    run.stage("prompts")
    run.publish("prompts", PROMPTS)
    journal = Journal(run, "score")
    journal.add(Score("v", {"motion": 1.0}, {}, {"motion": "measured"}), "v")
    run.publish("score", [])
    assert sha256(run.manifest("prompts")) in run.manifest("score").read_text().splitlines()[0]
    assert [path.name for path in (run.root / "score").iterdir()] == ["manifest.jsonl"]


def test_a_torn_last_line_of_a_journal_is_dropped(run: RunDir) -> None:
    journal = Journal(run, "prompts")
    for prompt in PROMPTS:
        journal.add(prompt, prompt.id)
    path = run.root / "prompts" / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    again = Journal(run, "prompts")
    assert again.get(Prompt, "a") == PROMPTS[0] and again.get(Prompt, "b") is None
    again.add(PROMPTS[1], "b")
    assert Journal(run, "prompts").get(Prompt, "b") == PROMPTS[1]


def test_an_item_counts_only_while_its_file_is_whole(run: RunDir) -> None:
    file = run.stage("finetune") / "x.safetensors"
    file.write_bytes(b"weights")
    journal, record = Journal(run, "finetune"), Adapter("finetune/x.safetensors", sha256(file))
    journal.add(record, "x")
    assert journal.get(Adapter, "x", record.file) == record
    file.write_bytes(b"weightz")
    assert journal.get(Adapter, "x", record.file) is None
    file.unlink()
    assert journal.get(Adapter, "x", record.file) is None


def test_settings_may_change_until_a_stage_has_begun_and_a_broken_file_is_named(run: RunDir) -> None:
    run.freeze({"photos": "a", "seed": 0})
    run.freeze({"photos": "b", "seed": 0})
    assert run.settings()["photos"] == "b"
    run.stage("prepare")
    with pytest.raises(UsageError, match="photos: b there, c asked"):
        run.freeze({"photos": "c", "seed": 0})
    for text in ("photos: [", "just words", "", "seed: !!int ''", "seed: !!timestamp x", "[" * 5000):
        (run.root / "settings.yaml").write_text(text)
        with pytest.raises(DataError, match=r"settings\.yaml: not the settings written here"):
            run.settings()


HEADERS = ["", "no json\n", "[1]\n", '{"count": 1}\n{"id": 1}\n', '{"count": 0, "inputs": 1}\n']


@pytest.mark.parametrize("content", [*HEADERS, '{"count": 0, "inputs": {}}\n{"torn', '{"count": 1, "inputs": {}}\n{"id": "a"}\n'])
def test_a_damaged_manifest_is_named_with_the_remedy(run: RunDir, content: str) -> None:
    run.publish("prompts", PROMPTS)
    run.manifest("prompts").write_text(content)
    with pytest.raises(DataError, match=r"prompts/manifest\.jsonl: damaged .*; bring it back, or delete prompts/ and rerun\.$"):
        run.read("prompts", Prompt)


def test_a_damaged_part_of_a_stage_leads_to_the_whole_stage(run: RunDir) -> None:
    run.stage("optimize/round-2/sample")
    run.publish("optimize/round-2/sample", PROMPTS)
    run.manifest("optimize/round-2/sample").write_text('{"count": 1, "inputs": {}}\n')
    with pytest.raises(DataError, match=r"0 records, its header says 1\); bring it back, or delete optimize/ and rerun\.$"):
        run.read("optimize/round-2/sample", Prompt)


def test_text_in_the_place_of_a_number_is_named(run: RunDir) -> None:
    (run.root / "settings.yaml").write_text("a.value: 2e-5\n")  # which YAML takes for a name
    with pytest.raises(DataError, match=r"^settings\.yaml: a\.value is the text '2e-5'; must be a number, .*\. Write 2\.0e-5\.$"):
        filled(Metric, run.settings(), "a.")


def test_how_much_is_computed_again_may_change_once_a_stage_has_begun(run: RunDir) -> None:
    run.freeze({"seed": 0, "finetune.recompute": "nothing", "finetune.steps": 3})
    run.stage("finetune")
    run.freeze({"seed": 0, "finetune.recompute": "blocks", "finetune.steps": 3})
    assert run.settings()["finetune.recompute"] == "blocks"
    with pytest.raises(UsageError, match=r"finetune\.steps: 3 there, 4 asked"):
        run.freeze({"seed": 0, "finetune.recompute": "blocks", "finetune.steps": 4})


def test_a_baseline_that_is_made_from_another_goes_stale_with_it(run: RunDir) -> None:
    for name in (*tables.STAGES, "dreambooth_lora", "dreambooth_lora_early"):
        run.stage(name)
        run.publish(name, [])
    run.refuse_stale()
    run.publish("dreambooth_lora", PROMPTS)
    with pytest.raises(
        DataError, match=r"dreambooth_lora_early was made from another dreambooth_lora; delete dreambooth_lora_early/"
    ):
        run.refuse_stale()


def test_a_damaged_journal_is_named_with_the_remedy(run: RunDir) -> None:
    (run.stage("sample") / "journal.jsonl").write_text("no json\n")
    with pytest.raises(DataError, match=r"journal\.jsonl: damaged .*; delete it"):
        Journal(run, "sample")


KILLED_WHILE_SAVING = """
import resource, signal, sys
import numpy
from safetensors.numpy import save_file
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
save_file({"a": numpy.zeros(4096)}, sys.argv[1])
"""


def test_what_a_library_left_half_written_is_swept_away(run: RunDir) -> None:
    half = run.stage("finetune") / ".tmp-half.safetensors"
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, str(half)])
    assert done.returncode == -signal.SIGXFSZ and any(path != half for path in half.parent.iterdir())
    run.close()
    (half.parent / ".tmp_notes").touch()
    RunDir(run.root)
    assert [path.name for path in half.parent.iterdir()] == [".tmp_notes"]  # a user's own


def test_a_folder_with_a_users_own_temporary_files_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / ".tmp").mkdir()
    with pytest.raises(UsageError, match=r"holds \.tmp and is not a run"):
        RunDir(tmp_path)
    assert (tmp_path / ".tmp").exists()
