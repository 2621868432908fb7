"""Prompts name the person in the trigger's own words, from the grammar, the list, or whoever answers at the endpoint."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from magicid.core.errors import DataError, UsageError
from magicid.core.run import Run
from magicid.stages.prompts import SCENES_OF_LIFE, Prompts
from tests.doubles import fake_run

Answer = Callable[[object], None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.delenv("MAGICID_LLM_URL", raising=False)
    run = fake_run(tmp_path / "run", tmp_path)
    run.common = replace(run.common, trigger="sks Person")
    yield run
    run.dir.close()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answer]:
    """Serve `choices` on this machine; call the fixture with what the endpoint shall answer."""
    answer: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/chat/completions" and "sks Person" in asked["messages"][0]["content"]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer[0]).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.setenv("MAGICID_LLM_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield answer.append
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("source", ["list", "grammar"])
def test_prompts_are_different_and_name_the_person(run: Run, source: str) -> None:
    prompts = Prompts(20, 10, source=source).run(run)  # type: ignore[arg-type]
    assert len({p.text for p in prompts}) == 30 and [p.split for p in prompts] == ["repository"] * 20 + ["evaluation"] * 10
    assert all("sks person" in p.text.lower() for p in prompts)


def test_the_list_keeps_the_triggers_case(run: Run) -> None:
    assert all("sks Person" in p.text for p in Prompts(20, 10, source="list").run(run))


def test_more_than_there_are_is_refused(run: Run) -> None:
    with pytest.raises(DataError, match=rf"^{len(SCENES_OF_LIFE)} different prompts, 31 are needed; lower"):
        Prompts(21, 10, source="list").run(run)
    with pytest.raises(DataError, match=r"^1441 prompts; the grammar has 1,440 combinations .* Lower --prompts"):
        Prompts(1431, 10, source="grammar").run(run)


def test_an_endpoint_that_is_not_named_is_refused(run: Run) -> None:
    with pytest.raises(UsageError, match=r"^prompts\.source 'endpoint' needs MAGICID_LLM_URL; set it, or choose"):
        Prompts(1, 1, source="endpoint").run(run)


def test_answers_are_kept_in_any_case_and_said_in_the_triggers_own(run: Run, endpoint: Answer) -> None:
    text = "Here you are:\n1. Sks person nods in the snow.\n- in the rain, sks Person waves\nsomeone else sings"
    endpoint({"choices": [{"message": {"content": text}}]})
    prompts = Prompts(1, 1, source="auto").run(run)
    assert [p.text for p in prompts] == ["sks Person nods in the snow.", "in the rain, sks Person waves."]


@pytest.mark.parametrize("answer", [[], {}, {"choices": []}, {"choices": [{"message": {"content": None}}]}])
def test_an_answer_without_prompts_is_one_line(run: Run, endpoint: Answer, answer: object) -> None:
    endpoint(answer)
    with pytest.raises(DataError, match=r"^http://127\.0\.0\.1:\d+/v1/chat/completions: no usable answer \(.*; choose --prompts"):
        Prompts(1, 1).run(run)


@pytest.mark.parametrize("url", ["nowhere", "http://127.0.0.1:1", "http://a b"])
def test_an_address_that_is_none_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("MAGICID_LLM_URL", url)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match=r"^[^\n]+: no usable answer [^\n]+$"):
        Prompts(1, 1).run(run)
