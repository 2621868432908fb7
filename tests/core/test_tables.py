"""Whatever can be named exists, and what does not is answered with the nearest name."""

import diffusers
import pytest

from magicid.core import tables
from magicid.core.errors import UsageError

TABLES = {name: table for name, table in vars(tables).items() if name.isupper() and name != "PIPELINES"}


@pytest.mark.parametrize(("table", "name"), [(table, name) for table in TABLES for name in TABLES[table]])
def test_every_entry_is_there(table: str, name: str) -> None:
    assert callable(tables.load(TABLES[table], table, name))


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"stage 'optimise' is unknown; did you mean 'optimize'\?"):
        tables.load(tables.STAGES, "stage", "optimise")


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(UsageError, match="choose one of: " + ", ".join(tables.FAMILIES)):
        tables.load(tables.FAMILIES, "family", "zzz")


def test_every_family_has_its_stock_pipeline() -> None:
    assert tables.PIPELINES.keys() == tables.FAMILIES.keys()
    assert all(hasattr(diffusers, name) for name in tables.PIPELINES.values())
