"""Texts and names of users are data: they work as they are, and none becomes a path; models are found on this machine."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from magicid.core.errors import UsageError
from magicid.core.files import digest
from magicid.core.records import Photo, Prompt
from magicid.core.run import WEIGHTS, Common, Run, find_base
from magicid.core.run_dir import R, RunDir
from magicid.media.photo import write_png
from tests.doubles import RED, picture
from tests.families.tiny import tiny_family
from tests.faults.attempts import SMALL, attempt
from tests.faults.guards import Guard

GUARDS = {
    33: Guard(
        "core/files.py",
        "{TEMPORARY}{os.getpid()}-{text_digest(path.name)}{path.suffix[-20:]}",
        "{TEMPORARY}{os.getpid()}-{path.name}",
    ),
    34: Guard("stages/prompts.py", 'f"prompt-{i:03d}"', 'f"prompt-{text}"'),
    67: Guard("core/run.py", '{"base_digest": self.base_digest} | judges', "judges"),
}
LONG = "\N{CYRILLIC SMALL LETTER ZHE}" * 125  # 250 bytes
NAMES = [
    f"{LONG}a.png", "two words \N{CJK UNIFIED IDEOGRAPH-5F20}.png", os.fsdecode(b"caf\xe9.png"), "-rf.png",
    "; touch made.png", "$(touch made).png", "a\nline.png", "%2e%2e%2fmade.png", "<script>.png", "[bold]x.png",
]  # fmt: skip
PROMPTS = [
    "sks person ../../../../made", "sks person \0 made", "sks person; touch made", "$(touch made) sks person",
    "/tmp/made/sks person <script>alert(1)</script>",
]  # fmt: skip


@contextmanager
def endpoint(prompts: list[str]) -> Iterator[str]:
    """The address of a server that answers every request with these prompts."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = json.dumps({"choices": [{"message": {"content": "\n".join(prompts)}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose folder, photos and prompts are named as oddly as can be; its folder has a folder to itself."""
    folder = tmp_path_factory.mktemp("odd")
    photos, out = folder / "photos of $(me)", folder / f"{LONG}-run\n"
    base = tmp_path_factory.mktemp("base")
    tiny_family("wan", base)
    for i, name in enumerate(NAMES):
        write_png(photos / name, picture((60, 10 + 5 * i, RED)))
    words = [
        "run",
        str(photos),
        "--out",
        str(out),
        "--preset",
        "quick",
        "--base",
        str(base),
        "--judges",
        "centred",
        *SMALL.split(),
    ]
    with endpoint(PROMPTS) as url:
        code, said = attempt([*words, "--prompts.source", "endpoint"], folder / "said.txt", report=True, MAGICID_LLM_URL=url)
    assert code == 0, said
    return out


def records(run: Path, stage: str, kind: type[R]) -> list[R]:
    """The records of a stage; the run's lock is free again."""
    with closing(RunDir(run)) as folder:
        return folder.read(stage, kind)


def test_row_33_photos_and_folders_of_any_name_work(odd: Path) -> None:
    assert sorted(photo.source for photo in records(odd, "prepare", Photo)) == sorted(NAMES)
    assert (odd / "report.html").stat().st_size and (odd / "adapter.safetensors").stat().st_size


def test_row_33_a_clip_may_have_any_name(odd: Path, tmp_path: Path) -> None:
    out = tmp_path / f"{LONG}b.mp4"
    code, said = attempt(["generate", str(odd), "waves", "--out", str(out), "--steps", "1"], tmp_path / "said.txt")
    assert code == 0 and out.stat().st_size, said
    assert [json.loads(path.read_text())["asked"] for path in tmp_path.glob("*.json")] == ["waves"]


def test_row_34_texts_and_names_are_data_and_nothing_is_outside_the_run(odd: Path) -> None:
    assert [prompt.text.removesuffix(".") for prompt in records(odd, "prompts", Prompt)] == PROMPTS
    assert sorted(path.name for path in odd.parent.iterdir()) == sorted(["photos of $(me)", odd.name, "said.txt"])
    names = {path.name for path in odd.rglob("*")}
    assert not [name for name in names if "made" in name or "sks" in name or "script" in name]
    assert not Path("made").exists() and not Path("/tmp/made").exists()
    report = (odd / "report.html").read_text()
    assert "<script>alert" not in report and "&lt;script&gt;alert" in report


@pytest.mark.parametrize("prompt", ["../../../made", "a\0b", "; touch made", "$(touch made)", "two\nlines", "-- -rf"])
def test_row_34_a_prompt_of_generate_names_no_file(odd: Path, tmp_path: Path, prompt: str) -> None:
    before = set(odd.parent.rglob("*"))
    words = ["generate", str(odd), "--steps", "1", *(["--", "-rf"] if prompt == "-- -rf" else [prompt])]
    code, said = attempt(words, tmp_path / "said.txt")
    assert code == 0, said
    assert {path.parent for path in set(odd.parent.rglob("*")) - before} == {odd}
    assert all(path.name.startswith("generated") for path in set(odd.parent.rglob("*")) - before)


def test_row_67_the_embedded_models_need_no_network_and_are_known_by_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuses)
    monkeypatch.setattr(socket, "getaddrinfo", refuses)
    run = Run(RunDir(tmp_path / "run"), Common(tmp_path), Console(quiet=True))
    assert run.family.geometry.frames and run.judges.detector
    assert run.models == {"base_digest": digest(WEIGHTS / "base"), "judges_digest": digest(WEIGHTS / "judges")}
    run.dir.close()
    with pytest.raises(UsageError, match=r"base 'wan2\.1': no model_index\.json in .*; name a folder"):
        find_base(Common(tmp_path, base="wan2.1"))
