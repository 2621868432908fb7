"""The command line answers in one line, with an exit code, and lists itself without loading anything."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import magicid
from magicid.cli import COMMANDS, main
from magicid.core import tables
from magicid.core.errors import DataError
from magicid.core.run import Common
from magicid.media.photo import write_png
from tests.doubles import BLUE, RED, picture


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and the one line on stderr."""
    code = main(arguments)
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("magicid: ") and not said.out, said.err + said.out
    return code, said.err


def test_help_and_version_import_no_torch() -> None:
    heavy = "{'torch', 'numpy', 'diffusers', 'peft', 'tyro', 'rich'}"
    for words in ("['--help']", "['--version']", "['smaple']", "['experiment']"):
        check = f"loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
        code = f"import sys; from magicid.cli import main; main({words}); {check}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert not done.returncode, done.stderr


def test_the_module_runs_and_its_help_names_every_command_stage_and_experiment() -> None:
    done = subprocess.run([sys.executable, "-m", "magicid", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(name in done.stdout for name in (*COMMANDS, *tables.STAGES, *tables.EXPERIMENTS))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("smaple", "command 'smaple' is unknown; did you mean 'sample'?"),
        ("zzz", "command 'zzz' is unknown; choose one of: run, "),
        ("prepar photos --out OUT", "command 'prepar' is unknown; did you mean 'prepare'?"),
        ("finetune photos --out OUT --finetune.rnak 8", "--finetune.rnak"),
        ("run photos --out OUT --preset papr", "preset 'papr' is unknown; did you mean 'paper'?"),
        ("run photos --out OUT --preset", "preset '' is unknown"),
        ("run photos --out OUT --optimize.bta 3", "--optimize.bta"),
        ("run photos --out OUT --seed three", "--seed: invalid literal for int() with base 10: 'three'; see magicid run --help."),
        (
            "run photos --out OUT --optimize.loss dpo",
            "'dpo' for argument '--optimize.loss'. Expected one of ('sigmoid', 'ipo', 'hinge')",
        ),
        ("run photos --out OUT --pair.rule best", "'dominance', 'paper'"),
        ("run photos --out OUT more", "more; see magicid run --help."),
        ("run photos", "--out"),
        ("optimize", "see magicid optimize --help."),
        ("run photos --out OUT --family wam", "family 'wam' is unknown; did you mean 'wan'?"),
        ("run photos --out OUT --judges avatr", "judges 'avatr' is unknown; did you mean 'avatar'?"),
        ("run photos --out OUT --preset paper --base nowhere", "base 'nowhere': no model_index.json"),
        ("run photos --out OUT --base nowhere", "choose --preset paper, or say --preset quick"),
        ("experiment three_row", "experiment 'three_row' is unknown; did you mean 'three_rows'?"),
        ("experiment three_rows --seat 3", "--seat"),
        ("avatar old", "avatar old: unknown; use: magicid avatar new"),
        ("avatar", "magicid avatar new"),
        ("avatar new", "--seed"),
        ("avatar new --seed -1 --out drawn", "seed -1: people are named by whole numbers from 0 on."),
        ("avatar new --seed 1 --out drawn --count 0", "count 0, held-out 4, size 256: need 1 to 1000 photos"),
        ("avatar new --seed 1 --out drawn --size -5", "size -5: need 1 to 1000 photos, 0 to as many held out, and a side of 32"),
        ("run photos --out photos", "photos: holds the photos, and a run needs a folder of its own"),
        ("run photos --out OUT --trigger=", "trigger '': the words that stand for the person must not be empty"),
        ("run photos --out OUT --sample.guidance nan", "sample.guidance nan: must be finite"),
        ("run photos --out OUT --sample.strengths nan", "sample.strengths nan: must be 0 to 2"),
        ("experiment --json three_row", "experiment 'three_row' is unknown; did you mean 'three_rows'?"),
        ("experiment base_quality --clips 0", "clips 0, steps 50, batch 16: each must be at least 1"),
        ("experiment base_quality --sheet sheet.gif", "sheet.gif: a picture is written as a .png file, in a folder that can be"),
        ("experiment base_quality --work photos/1.png/new", "photos/1.png cannot be written; choose another --out."),
        ("experiment main_table --figure photos", "photos: a picture is written as a .png file"),
        ("experiment motion_over_steps --figure figure", "figure: a picture is written as a .png file"),
        ("experiment identity_over_frames --figure photos/1.png/a.png", "a.png: a picture is written as a .png file"),
        ("experiment judge_quality --clips 0", "clips 0: must be at least 1; set --clips to 1 or more."),
        ("experiment base_quality --start 1.5", "start 1.5: a time is above 0 (clean) and at most 1 (noise)"),
        ("doctor --all", "see magicid doctor --help."),
        ("generate photos waves", "photos: not a run directory (no settings.yaml)"),
        ("generate", "see magicid generate --help."),
        ("generate nowhere waves", "nowhere: not a run directory (no settings.yaml)"),
        ("generate nowhere waves --steps 0", "steps 0: a clip is drawn in at least 1."),
        ("generate nowhere waves --steps -2", "steps -2: a clip is drawn in at least 1."),
        ("generate nowhere waves --out photos", "photos: a clip is one file in a folder that can be written."),
        ("generate nowhere waves --out photos/1.png/new.mp4", "photos/1.png/new.mp4: a clip is one file"),
        ("generate nowhere waves --out /", "/: a clip is one file"),
        ("generate nowhere waves --out new/new.mp4", "nowhere: not a run directory (no settings.yaml)"),
        ("export nowhere", "nowhere: not a run directory (no settings.yaml)"),
        ("export nowhere --layout comfy", "'universal', 'diffusers'"),
        ("import lora.safetensors", "--out"),
        ("import lora.safetensors --out new --family wam", "family 'wam' is unknown; did you mean 'wan'?"),
        ("import lora.safetensors --out lora.safetensors", "lora.safetensors: is the file that is read; choose another --out."),
        ("import lora.safetensors --out lora_low.safetensors", "lora_low.safetensors: is the file that is read"),
        ("import lora.safetensors --out photos/1.png/new", "photos/1.png/new: a LoRA is written as a .safetensors file, in a"),
        ("avatar new --seed 7 --out photos/1.png --count 1 --held-out 0 --size 32", "photos/1.png: "),
        ("avatar new --seed 7 --out photos --count 1 --held-out 0 --size 32", "photos/1.png: there already; it is not what"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("photos/1.png").touch()
    Path("lora_low.safetensors").touch()
    code, line = refused(capsys, *arguments.split())
    assert code == 2 and said in line
    assert not Path("OUT/settings.yaml").exists() and not Path("nowhere").exists()


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_photos_that_are_not_there_are_exit_code_3_and_freeze_no_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    code, line = refused(capsys, "run", str(tmp_path / name), "--out", str(tmp_path / "out"))
    assert code == 3 and str(tmp_path / name) in line
    assert not (tmp_path / "out" / "settings.yaml").exists()


@pytest.fixture
def first_stage(common: Common, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command for the first stage of a run on a tiny model, whose judges see coloured rectangles."""
    monkeypatch.setitem(tables.JUDGES, "fake", "tests.doubles:fake_judges")
    return [
        "prepare",
        str(tmp_path / "photos"),
        "--out",
        str(tmp_path / "out"),
        "--preset",
        "quick",
        "--base",
        common.base,
        "--judges",
        "fake",
    ]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (None, "photos: 1 photo; need at least 2. Add photos of the same person."),
        (picture((10, 10, RED), (100, 40, RED)), "magicid: b.png: 2 faces; need exactly 1. Crop it to the one meant"),
        (b"PK", "magicid: b.png: not a readable picture; photos are JPEG, PNG, WebP or HEIC by content."),
        (picture((60, 9, BLUE)), "magicid: a.png: looks like another person (median similarity "),
    ],
)
def test_photos_that_will_not_do_are_exit_code_3(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    first_stage: list[str],
    second: NDArray[np.uint8] | bytes | None,
    said: str,
) -> None:
    write_png(tmp_path / "photos" / "a.png", picture((10, 30, RED)))
    if isinstance(second, bytes):
        (tmp_path / "photos" / "b.png").write_bytes(second)
    elif second is not None:
        write_png(tmp_path / "photos" / "b.png", second)
    code, line = refused(capsys, *first_stage)
    assert code == 3 and said in line and not (tmp_path / "out" / "prepare" / "manifest.jsonl").exists()


def test_a_run_that_was_made_with_other_settings_is_exit_code_2_and_says_which(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, first_stage: list[str]
) -> None:
    for name, place in {"a": (10, 30), "b": (60, 9)}.items():
        write_png(tmp_path / "photos" / f"{name}.png", picture((*place, RED)))
    assert main(first_stage) == 0
    capsys.readouterr()
    code, line = refused(capsys, *first_stage, "--seed", "1")
    assert code == 2 and "was made with other settings (seed: 0 there, 1 asked); choose another --out" in line
    code, line = refused(capsys, *first_stage, "--prepare.least-photos", "3")
    assert code == 2 and "(prepare.least_photos: 2 there, 3 asked); choose another --out, fork it" in line


def test_ctrl_c_is_exit_code_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "doctor", interrupted)
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "magicid: interrupted; run the same command again to go on.\n"


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


class SafetensorError(Exception):
    """Named as safetensors' own."""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.mp4"), 4, "x.mp4: the disk is full, "),
        (SafetensorError("I/O error: No space left on device (os error 28)"), 4, "disk is full, "),
        (MemoryError(), 4, "out of memory;"),
        (OutOfMemoryError("CUDA out of memory.\nTried"), 4, "out of memory;"),
        (SafetensorError("Error while deserializing header:\nHeaderTooLarge"), 3, "cannot be read"),
    ],
)
def test_a_machine_or_file_that_fails_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, said: str
) -> None:
    def fails(arguments: object) -> None:
        raise error

    monkeypatch.setitem(COMMANDS, "doctor", fails)
    found, line = refused(capsys, "doctor")
    assert found == code and said in line


def test_a_name_with_a_newline_does_not_break_the_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(arguments: object) -> None:
        raise DataError("me\n at sea.jpg: 2 faces; need exactly 1. Crop it.")

    monkeypatch.setitem(COMMANDS, "doctor", fails)
    assert refused(capsys, "doctor") == (3, "magicid: me at sea.jpg: 2 faces; need exactly 1. Crop it.\n")


@dataclass(frozen=True)
class Lost:
    """An experiment that could not measure everything."""

    def run(self, quiet: bool) -> dict[str, Any]:
        """One figure of each kind."""
        return {"motion": float("nan"), "intervals": (0.5, float("inf"))}


def test_json_of_an_experiment_has_null_for_what_could_not_be_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    monkeypatch.setitem(tables.EXPERIMENTS, "lost", f"{__name__}:Lost")
    assert main(["experiment", "lost", "--json"]) == 0
    said = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert said == {"motion": None, "intervals": [0.5, None]}


def test_an_error_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(arguments: object) -> None:
        raise OSError(errno.EACCES, "not ours to explain")

    monkeypatch.setitem(COMMANDS, "doctor", fails)
    with pytest.raises(OSError, match="not ours"):
        main(["doctor"])


def test_sigterm_is_exit_code_75_anywhere(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setitem(COMMANDS, "doctor", lambda arguments: signal.raise_signal(signal.SIGTERM))
    assert refused(capsys, "doctor") == (75, "magicid: stopped; run the same command again to go on.\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_help_of_a_command_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "--help"])
    assert stop.value.code == 0 and "--optimize.beta" in capsys.readouterr().out


def test_public_names_are_sorted_and_complete() -> None:
    assert magicid.__all__ == sorted(magicid.__all__)
    assert all(getattr(magicid, name) is not None for name in magicid.__all__)
    here = {
        n
        for n, v in vars(magicid).items()
        if not n.startswith("_") and getattr(v, "__module__", "").startswith("magicid.core.errors")
    }
    assert here | set(magicid._LAZY) | {"__version__"} == set(magicid.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = magicid.nothing
