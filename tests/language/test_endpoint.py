"""An endpoint is asked with its model and key, again when it is busy, and told once when it refuses."""

from http.client import IncompleteRead
from typing import Any
from urllib.error import URLError
from urllib.request import Request

import pytest

from magicid.core.errors import DataError
from magicid.language import endpoint
from magicid.language.endpoint import Endpoint
from tests.endpoint import answering, said


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize(("before", "calls"), [([], 1), ([429], 2), ([500, 503], 3)])
def test_a_busy_server_is_asked_again(before: list[int], calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def answer(question: dict[str, Any]) -> object:
        asked.append(question)
        return before[len(asked) - 1] if len(asked) <= len(before) else said(" yes ")

    with answering(answer) as url:
        for name, value in (("URL", f"{url}/"), ("MODEL", "tiny"), ("KEY", "secret")):
            monkeypatch.setenv(f"MAGICID_VLM_{name}", value)
        found = Endpoint.configured("VLM", "do without")
        assert found is not None and "secret" not in repr(found)
        assert found.ask("well?", temperature=0) == "yes" and len(asked) == calls
    last = asked[-1]
    assert (last["model"], last["key"], last["temperature"]) == ("tiny", "Bearer secret", 0)
    assert last["messages"] == [{"role": "user", "content": "well?"}]


@pytest.mark.parametrize(("status", "calls"), [(401, 1), (500, 3)])
def test_a_refusal_is_one_line_with_the_remedy(status: int, calls: int) -> None:
    count = [0]

    def answer(_: object) -> int:
        count[0] += 1
        return status

    with (
        answering(answer) as url,
        pytest.raises(DataError, match=rf"^{url}/chat/completions: no usable answer \(.*{status}.*; do"),
    ):
        Endpoint(url, "m", "do without.").ask("well?")
    assert count[0] == calls


def test_a_connection_that_breaks_off_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, fetched = [TimeoutError("late"), URLError(ConnectionResetError("reset")), IncompleteRead(b"{")], endpoint._fetched

    def fetch(request: Request) -> bytes:
        if broken:
            raise broken.pop()
        return fetched(request)

    monkeypatch.setattr(endpoint, "_fetched", fetch)
    with answering(lambda _: said("yes")) as url:
        with pytest.raises(DataError, match=r"no usable answer \(TimeoutError: late\); do$"):
            Endpoint(url, "m", "do").ask("well?")
        broken += [TimeoutError("late"), URLError(ConnectionResetError("reset"))]
        assert Endpoint(url, "m", "do").ask("well?") == "yes"


def test_nothing_is_asked_where_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAGICID_VLM_URL", raising=False)
    assert Endpoint.configured("VLM", "") is None
