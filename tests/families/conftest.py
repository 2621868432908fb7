"""Every family of the table, tiny."""

import pytest

from magicid.core import tables
from magicid.core.interfaces import Family
from tests.families.tiny import tiny_family


@pytest.fixture(scope="session", params=tables.FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """One family after the other."""
    return tiny_family(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def hunyuan(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """HunyuanVideo alone."""
    return tiny_family("hunyuan_video", tmp_path_factory.mktemp("hunyuan"))
