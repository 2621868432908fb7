"""The GPU benchmark's small variant does every piece of work and prints what it promises."""

import json

import pytest

from benchmarks.gpu import Gpu, main


@pytest.mark.parametrize(("family", "precision", "offload"), [("wan", "fp32", "none"), ("hunyuan_video", "fp8", "block")])
def test_every_piece_of_work_is_timed_and_the_plain_loop_beside_it(
    family: str, precision: str, offload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Gpu(
        family,
        5,
        32,
        32,
        rounds=1,
        precision=precision,
        offload=offload,
        small=True,
        json=True,  # type: ignore[arg-type]
    )
    main(asked)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    works = found["works"]
    assert set(works) == {"forward", "pair-step", "sampling step", "decode", "plain loop"}
    assert all(row["median"] > 0 and row["flops"] > 0 for row in works.values())
    assert works["sampling step"]["flops"] == 2 * works["forward"]["flops"]
    assert found["speedup"] == pytest.approx(works["plain loop"]["median"] / works["pair-step"]["median"])
