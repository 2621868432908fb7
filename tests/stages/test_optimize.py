"""HPO as a stage: killed anywhere it ends the same, with every kind of reference; settings that do not fit are refused."""

import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from magicid.core.diffusion import FlowMatching, VariancePreserving
from magicid.core.errors import Interrupted, UsageError
from magicid.core.files import sha256
from magicid.core.interfaces import Family
from magicid.core.records import Pair, Video
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.core.seeds import noise
from magicid.stages.optimize import Optimize
from magicid.training import lora, timesteps
from magicid.training.adapters import save_adapter
from magicid.training.log import Log
from magicid.training.pair_data import PairData
from tests.families.tiny import adapter, tiny_family

SHAPE = (4, 3, 8, 8)
SETTINGS = {"finetune.rank": 3, "finetune.alpha": 6.0, "finetune.targets": []}
PAIRS = [("a", "b"), ("a", "c"), ("d", "b"), ("a", "d"), ("d", "c"), ("e", "f")]
STAGE = Optimize(steps=6, learning_rate=1e-2, batch=3, beta=50.0)
KINDS: dict[str, Optimize] = {
    "default": STAGE,
    "base": replace(STAGE, reference="base", beta=1.0),
    "ema": replace(STAGE, reference="ema", reference_decay=0.7, chunk=2),
    "bank": replace(STAGE, draws=2, chunk=1, share=2, recompute="attention"),
    "guarded": replace(STAGE, loser_safeguard=0.5, winner_guard=1.0, logit_clamp=2.0, times="stratified", times_by_kind=True),
    "automatic beta": replace(STAGE, beta=0.0, times="logit_normal"),
}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return tiny_family("wan", tmp_path_factory.mktemp("wan"))


def begin(family: Family, root: Path) -> Run:
    """A run that has its pairs: random clips and a random adapter of stage one."""
    run = Run(RunDir(root), Common(root), Console(quiet=True))
    run.family = family
    run.dir.freeze(SETTINGS)
    run.dir.publish("prepare", [])
    with adapter(family, "one") as weights:
        run.dir.publish("distill", [save_adapter(run, "distill", weights)])
    videos = []
    for name in "abcdef":
        latents = run.path("sample", f"{name}.safetensors")
        save_file({"latents": noise(SHAPE, 0, name)}, run.file(latents))
        videos.append(Video(name, "base", "", 0, 0.0, "", latents, sha256(run.file(latents))))
    run.dir.publish("sample", videos)
    kinds = ["identity", "dynamic"] * 3
    run.dir.publish("pair", [Pair(str(i), kinds[i], w, x, "a person waves", 1.0, float(i % 2)) for i, (w, x) in enumerate(PAIRS)])
    return run


def optimize(family: Family, root: Path, stage: Optimize) -> list[dict[str, Any]]:
    """The log of a whole training, in one go or as it goes on."""
    run = Run(RunDir(root), Common(root), Console(quiet=True)) if (root / "settings.yaml").exists() else begin(family, root)
    run.family = family
    try:
        stage.run(run)
        return Log(run.log_path("optimize")).read()
    finally:
        run.dir.close()
        for name in ("policy", "reference"):
            if lora.parameters(family, name):
                lora.remove_adapter(family, name)


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_in_the_middle_it_ends_as_if_it_had_not_been(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = optimize(family, tmp_path / "whole", KINDS[kind])
    write = Log.write

    def signalled(self: Log, step: int, numbers: dict[str, float]) -> None:
        write(self, step, numbers)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="stopped at step 4"):
        patch.setattr(Log, "write", signalled)
        optimize(family, tmp_path / "stopped", KINDS[kind])
    assert optimize(family, tmp_path / "stopped", KINDS[kind]) == whole
    for file in ("adapter.safetensors", "log.jsonl"):
        assert (tmp_path / "stopped/optimize" / file).read_bytes() == (tmp_path / "whole/optimize" / file).read_bytes()
    assert len(whole) == 6 and all(line["grad_norm"] > 0 for line in whole)


def test_an_averaged_reference_starts_at_stage_one_and_follows_the_policy(family: Family, tmp_path: Path) -> None:
    average = optimize(family, tmp_path / "ema", KINDS["ema"])
    frozen = optimize(family, tmp_path / "frozen", replace(KINDS["ema"], reference="start"))
    assert average[0] == frozen[0] and average[0]["margin"] == 0
    assert average[-1]["reference_win"] != frozen[-1]["reference_win"]
    start, end, mean = (
        load_file(tmp_path / "ema" / path)
        for path in (
            "distill/adapter.safetensors", "optimize/adapter.safetensors", "optimize/checkpoints/step-00000006/ema.safetensors",
        )
    )  # fmt: skip
    assert sum(float((end[n] - mean[n]).norm()) for n in end) < sum(float((end[n] - start[n]).norm()) for n in end)
    assert not list((tmp_path / "frozen").rglob("ema.safetensors"))


def test_automatic_beta_is_what_the_references_errors_say(family: Family, tmp_path: Path) -> None:
    found = optimize(family, tmp_path, KINDS["automatic beta"])
    assert len({line["beta"] for line in found}) == 1
    assert found[0]["beta"] * 0.02 / 2 == pytest.approx(2 / (found[0]["reference_win"] + found[0]["reference_lose"]), rel=0.3)


@pytest.mark.parametrize("law", [FlowMatching(shift=3.0), VariancePreserving("eps"), VariancePreserving("v")])
def test_training_puts_pairs_in_order_whatever_the_model_predicts(
    family: Family, tmp_path: Path, law: FlowMatching | VariancePreserving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "law", law)
    found = optimize(family, tmp_path, replace(STAGE, steps=40, draws=2, chunk=1, beta=20.0))
    assert found[0]["loss"] == pytest.approx(math.log(2)) and found[0]["margin"] == 0
    last = found[-10:]
    assert sum(line["loss"] for line in last) / 10 < 0.6 and sum(line["accuracy"] for line in last) / 10 > 0.7
    assert sum(line["margin"] for line in last) > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reference": "best"}, "reference 'best' is unknown; choose start, base or ema"),
        ({"draws": 4}, "draws 4 with optimize.chunk 0: .* set optimize.chunk 1"),
        ({"draws": 4, "chunk": 1, "reference": "ema"}, "draws 4 with optimize.reference ema: .* set optimize.draws 0"),
        ({"loser_safeguard": 1.5}, "loser_safeguard 1.5: must be 0 to 1"),
        ({"share": 0}, "share 0: must be at least 1; set --optimize.share to 1 or more"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"^optimize.{said}") as error:
        replace(STAGE, **change).check()
    assert "\n" not in str(error.value)


def test_another_seed_is_another_training_of_the_same_pairs_and_none_is_the_runs_own(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_by: list[int] = []
    batches, original = PairData.batch, timesteps.Drawing

    def noted(law: object, shape: object, times: str, split: bool, fixed: int, seed: int) -> timesteps.Drawing:
        drawn_by.append(seed)
        return original(law, shape, times, split, fixed, seed)  # type: ignore[arg-type]

    def chosen(self: PairData, number: int, size: int, share: int, seed: int) -> list[list[int]]:
        assert seed == drawn_by[-1]
        return batches(self, number, size, share, seed)

    monkeypatch.setattr("magicid.stages.optimize.Drawing", noted)
    monkeypatch.setattr(PairData, "batch", chosen)
    logs = [optimize(family, tmp_path / str(seed), replace(STAGE, steps=2, seed=seed)) for seed in (0, 1, 2)]
    assert drawn_by[0] == Common(tmp_path).seed and len(set(drawn_by)) == 3
    assert len({log[0]["reference_win"] for log in logs}) == 3
