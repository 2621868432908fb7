"""What holds of the code as a whole and import-linter does not see."""

import ast
import re
from pathlib import Path

import pytest

import magicid
from magicid.core import tables

SRC = Path(magicid.__file__).parent
MODULES = sorted(path for path in SRC.rglob("*.py") if path.read_text().strip())


def name(path: Path) -> str:
    return str(path.relative_to(SRC))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_file_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(text))


def test_half_of_the_files_have_about_100_lines_or_less() -> None:
    lengths = sorted(len(path.read_text().splitlines()) for path in MODULES)
    assert lengths[len(lengths) // 2] <= 120


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_whatever_is_public_has_a_docstring(path: Path) -> None:
    kinds = (ast.FunctionDef, ast.ClassDef)
    tree = ast.parse(path.read_text())
    assert not [n.name for n in tree.body if isinstance(n, kinds) and n.name[0] != "_" and not ast.get_docstring(n)]


def test_stages_read_only_earlier_stages() -> None:
    order, reads = list(tables.STAGES), 0
    for position, stage in enumerate(order):
        source = (SRC / "stages" / f"{stage}.py").read_text()
        for read in re.findall(r"\.dir\.read\(\s*\"(\w+)\"", source):
            assert read in order[:position], f"{stage} reads {read}"
            reads += 1
    assert reads > 6


def test_every_file_of_a_table_folder_is_in_its_table() -> None:
    folders = {"stages": tables.STAGES, "families": tables.FAMILIES, "baselines": tables.BASELINES}
    for folder, table in (folders | {"experiments": tables.EXPERIMENTS}).items():
        named = {entry.split(":")[0].rsplit(".", 1)[1] for entry in table.values()}
        assert {path.stem for path in (SRC / folder).glob("[a-z]*.py")} == named
        assert all(entry.startswith(f"magicid.{folder}.{key}:") for key, entry in table.items())


def test_nothing_unpickles() -> None:
    for path in MODULES:
        assert not re.search(r"import pickle|\bpickle\.|torch\.load\(|allow_pickle=True", path.read_text()), name(path)
