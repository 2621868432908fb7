"""Where the real photos, clips and networks for tests are, if they are."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("MAGICID_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
with_data = pytest.mark.skipif(
    not (DATA / "weights").is_dir(), reason="no real photos here; MAGICID_TEST_DATA names their folder"
)
