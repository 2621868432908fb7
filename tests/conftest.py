"""The suite computes in fp32 on every machine, so that truths hold to their last digits; tests of bf16 ask for it.

It does not wait for the disk either: processes are killed, but no test takes the power away.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from magicid.core import tables
from magicid.core.run import Common


@pytest.fixture(autouse=True, scope="session")
def fp32() -> Iterator[None]:
    """`core.device.fast_dtype` finds no hardware for bf16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        patch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_waiting() -> Iterator[None]:
    """What is synced is so at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges without weights, by the name "centred"."""
    monkeypatch.setitem(tables.JUDGES, "centred", "tests.doubles:centred_judges")


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Common:
    """Three photos of a person, and a tiny Wan."""
    from tests.families.tiny import tiny_materials

    photos, base = tiny_materials(tmp_path_factory.mktemp("pipeline"))
    return Common(photos, base=str(base), judges="centred")


@pytest.fixture(scope="session")
def finished(common: Common, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be read and copied alone."""
    from magicid.pipeline import run_pipeline
    from tests.small_run import QUIET, SMALL

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tables.JUDGES, "centred", "tests.doubles:centred_judges")
        out = tmp_path_factory.mktemp("finished")
        run_pipeline(common, SMALL, out, QUIET).close()
    return out
