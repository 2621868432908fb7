"""Attempts at a small run, each a process of its own that can be killed; and what must be the same after any of them."""

import hashlib
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.warm"])
# of wall time, or written by others' clocks; checkpoints on the way depend on where a run was stopped
_APART = ("cost.json", ".lock", "report.html", "events.out.tfevents")

SMALL = """
--finetune.steps 6 --finetune.batch 2 --finetune.rank 2 --finetune.learning-rate 1e-2
--finetune.save-every-steps 2 --prompts.repository 3 --prompts.evaluation 2 --prompts.source grammar
--distill.steps 4 --distill.batch 2 --distill.sample-steps 2 --distill.sample-batch 2
--distill.learning-rate 1e-2 --distill.save-every-steps 2
--sample.finetuned-per-prompt 3 --sample.strengths 1.0 0.5 --sample.steps 2 --sample.batch 2
--pair.identity 6 --pair.dynamic 6 --pair.least 1 --pair.identity-least-gap 0 --pair.identity-most-motion-gap 9
--pair.dynamic-least-identity-gap 0 --pair.dynamic-least-motion-gap 0 --pair.dynamic-least-prompt-gap -9
--optimize.steps 6 --optimize.batch 2 --optimize.learning-rate 1e-2 --optimize.save-every-steps 2
--generate.seeds 1 --generate.steps 2 --generate.batch 2
"""


class Attempt:
    """`magicid ARGUMENTS` in a process of its own."""

    def __init__(
        self, arguments: Sequence[str], said: Path, environment: Mapping[str, str] | None = None, report: bool = True
    ) -> None:
        self._said = said
        self.process: ForkServerProcess = FORKS.Process(
            target=_run, args=(list(arguments), str(said), dict(environment or {}), report)
        )
        self.process.start()

    def wait(self, seconds: float = 120.0) -> int:
        """The exit code; minus the signal's number where one ended it."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()  # or it would be waited for when the tests end
            raise AssertionError(f"still at work after {seconds:g} s: {self.said}")
        return self.process.exitcode

    @property
    def said(self) -> str:
        """All that it printed."""
        return self._said.read_text(errors="replace") if self._said.exists() else ""


def attempt(arguments: Sequence[str], said: Path, report: bool = False, **environment: str) -> tuple[int, str]:
    """One attempt to its end: exit code and what it printed. Without the report it takes half of the time."""
    tried = Attempt(arguments, said, environment, report)
    return tried.wait(), tried.said


def _run(arguments: list[str], said: str, environment: dict[str, str], report: bool) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.environ.update(environment)
    os.fsync = lambda file: None  # a kill loses nothing that was written; only the power would
    import torch

    from magicid import pipeline
    from magicid.cli import main
    from magicid.core import tables

    torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))  # with one, other work on the machine slows it least
    tables.JUDGES["centred"] = "tests.doubles:centred_judges"
    if not report:
        pipeline.write_picture = lambda folder, path: path
        pipeline.write_report = lambda folder: folder.root / "report.html"
    code = main(arguments)
    sys.stdout.flush()
    os._exit(code)


def contents(run: Path) -> dict[str, str]:
    """The sha256 of every file that a run must have whatever happened to it; of checkpoints, the last."""
    last = {max(folder.glob("step-*")) for folder in run.glob("*/checkpoints")}
    found = {}
    for path in sorted(run.rglob("*")):
        early = "checkpoints" in path.parts and not any(folder in path.parents for folder in last)
        if path.is_file() and not early and not path.name.startswith(_APART):
            found[path.relative_to(run).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
