"""The repository benchmark measures both ways and prints what it promises."""

import json

import pytest

from benchmarks.repository import Repository, main


def test_one_video_each_way_ends_with_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(Repository(prompts=1, steps=1, batch=1, rounds=1, json=True))
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    (plain,), (ours,) = result["seconds"]["plain"], result["seconds"]["ours"]
    assert plain > 0 and ours > 0 and result["videos"] == 2
    assert result["speedup"] == pytest.approx(plain / ours)
