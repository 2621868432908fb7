"""diffusers' own layout, whose scale is in the header alone."""

from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magicid.core import tables
from magicid.core.errors import DataError
from magicid.core.interfaces import Family
from magicid.export.lora_file import verify, write_lora
from magicid.export.read_lora import read_lora
from magicid.training.lora import LoraSettings
from tests.families.tiny import adapter

SIZE = LoraSettings(3, 6.0)


@pytest.mark.parametrize("name", tables.EXPORTS)
def test_the_header_gives_the_scale_and_without_it_the_alpha_is_lost(
    families: dict[str, Family], tmp_path: Path, name: str
) -> None:
    family, file = families[name], tmp_path / "adapter.safetensors"
    with adapter(family, "ava", SIZE) as weights:
        assert write_lora(family, "ava", SIZE, file, {"trigger": "sks dog"}, "diffusers") == [file]
        assert load_file(file).keys() == {f"transformer.{key}" for key in weights}
        with safe_open(file, "pt") as opened:
            header = opened.metadata()
        found = read_lora(file, family)
        assert found.story == {"trigger": "sks dog", "slot": "person"}
        key = next(key for key in weights if ".lora_B." in key)
        assert found.tensors[key].equal(weights[key] * 2)
        save_file(load_file(file), file, {key: value for key, value in header.items() if key == "magicid"})
        with pytest.raises(DataError, match=r"layers are changed otherwise"):
            verify(family, "ava", file)
        assert read_lora(file, family).tensors[key].equal(weights[key]), "read as diffusers reads it"


def test_it_is_the_same_bytes_every_time(families: dict[str, Family], tmp_path: Path) -> None:
    file, found = tmp_path / "adapter.safetensors", set[bytes]()
    with adapter(families["wan"], "ava", SIZE):
        for _ in range(6):  # of two keys in random order, 6 are alike once in 32
            write_lora(families["wan"], "ava", SIZE, file, {"trigger": "sks dog"}, "diffusers")
            found.add(file.read_bytes())
    assert len(found) == 1
