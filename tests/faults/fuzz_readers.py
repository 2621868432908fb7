"""Readers for `scripts/fuzz` that need more than a path; imported inside the search, so that what they import is watched."""

import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from torch import nn

from magicid.core import tables
from magicid.core.errors import MagicIDError
from magicid.core.interfaces import Family
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.export.read_lora import bring_in, read_lora
from magicid.training import lora


@cache
def _run() -> Run:
    """A run on the tiny Wan."""
    from tests.families.tiny import tiny_family

    folder = Path(tempfile.mkdtemp(prefix="fuzz-run-"))
    run = Run(RunDir(folder / "run"), Common(folder))
    run.dir.freeze({"base_digest": "0123456789abcdef"})
    run.family = tiny_family("wan", folder / "base")
    return run


def adapter(path: Path) -> None:
    """Read a file as a LoRA of every family, and put it on the tiny Wan."""
    for name in tables.IMPORTS:
        with suppress(MagicIDError):
            read_lora(path, cast(Family, SimpleNamespace(name=name, transformer=nn.Module())))  # of no layers
    bring_in(_run(), "fuzzed", path, lambda line: None)
    lora.remove_adapter(_run().family, "fuzzed")
