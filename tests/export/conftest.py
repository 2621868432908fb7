"""Tiny families, and a diffusers that can convert HunyuanVideo's names at their width."""

import pytest

from magicid.core import tables
from magicid.core.interfaces import Family
from tests.families.tiny import tiny_family
from tests.families.width import tiny_width


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """Every family that has an export, and a model of two experts."""
    return {name: tiny_family(name, tmp_path_factory.mktemp(name)) for name in (*tables.EXPORTS, "wan22")}


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every test here."""
    tiny_width(monkeypatch)
