"""Every tiny checkpoint, of all families of the table."""

import pytest

from magicid.core.interfaces import Family
from tests.families.tiny import BUILD, tiny_family


@pytest.fixture(scope="session", params=BUILD)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """One checkpoint after the other."""
    return tiny_family(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def hunyuan(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """HunyuanVideo alone."""
    return tiny_family("hunyuan_video", tmp_path_factory.mktemp("hunyuan"))
