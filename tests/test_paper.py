"""docs/paper.md names code and settings that exist, and every setting of a stage."""

import dataclasses
import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

import magicid
from magicid.core import tables

SRC = Path(magicid.__file__).parent
NAMED = set(re.findall(r"`([^`\n]+)`", (SRC.parents[1] / "docs" / "paper.md").read_text()))
CODE = sorted(name for name in NAMED if re.fullmatch(r"[a-z_]+/[a-z_]+\.\w[\w.]*", name) and not name.startswith("tests/"))
SETTINGS = {
    f"{stage}.{field.name}" for stage in tables.STAGES for field in dataclasses.fields(tables.load(tables.STAGES, "stage", stage))
}


@pytest.mark.parametrize("name", CODE)
def test_what_the_paper_became_is_there(name: str) -> None:
    path, _, inner = name.partition(".")
    assert (SRC / f"{path}.py").is_file()
    if inner != "py":
        reduce(getattr, inner.split("."), importlib.import_module(f"magicid.{path.replace('/', '.')}"))


def test_every_setting_of_a_stage_is_named_and_no_other() -> None:
    assert len(CODE) > 25
    assert {name for name in NAMED if name.split(".")[0] in tables.STAGES and "." in name} == SETTINGS
