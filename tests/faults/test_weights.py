"""Files of weights: whole, known by content, what was written; a checkpoint is used as a whole or not at all."""

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from magicid.core.errors import DataError
from magicid.core.run import Common, find_base
from magicid.core.weights import MOST_HEADER, check_weights, read_weights
from magicid.families.wan import Wan
from magicid.media.photo import write_png
from magicid.stages.prepare import Prepare
from magicid.training import checkpoint
from magicid.training.adapters import load_adapter, save_adapter
from magicid.training.clips import read_latents
from magicid.training.log import Log
from magicid.training.loop import LoopSettings, train
from tests.doubles import RED, fake_run, picture
from tests.families.tiny import tiny_family
from tests.faults.guards import Guard

GUARDS = {
    12: Guard("training/checkpoint.py", 'say(f"{error} This checkpoint is passed over.")', "pass"),
    13: Guard("core/weights.py", "if sha256_hex is not None and sha256(path) != sha256_hex:", "if False:"),
    14: Guard("core/weights.py", "if length > MOST_HEADER:", "if False:"),
    15: Guard("training/checkpoint.py", 'for name, digest in manifest["files"].items()}', 'for name in ("model.safetensors",)}'),
    53: Guard("core/weights.py", 'if len(start) < 9 or start[8:] != b"{" or length > size:', "if False:"),
}
SETTINGS = LoopSettings(steps=4, learning_rate=0.1, save_every_steps=1)


def trained(folder: Path, settings: LoopSettings, said: list[str] | None = None) -> list[int]:
    """Train one number by the package's loop; the steps that it did."""
    weight, steps = nn.Parameter(torch.ones(1)), list[int]()

    def loss(step: int, micro: int) -> tuple[torch.Tensor, dict[str, float]]:
        steps.append(step)
        return (weight**2).sum(), {}

    say = (said if said is not None else list[str]()).append
    train({"w": weight}, loss, settings, folder / "checkpoints", Log(folder / "log.jsonl"), say=say)
    return steps


def harmed(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data if how == "flip" else data[:-3])


@pytest.mark.parametrize("name", ["optimizer.safetensors", "model.safetensors"])
def test_row_12_a_truncated_checkpoint_is_named_and_the_one_before_it_used(tmp_path: Path, name: str) -> None:
    said = list[str]()
    assert trained(tmp_path, SETTINGS) == [0, 1, 2, 3]
    harmed(tmp_path / "checkpoints" / "step-00000004" / name, "cut")
    assert trained(tmp_path, SETTINGS, said) == [3]
    assert len(said) == 1 and f"step-00000004/{name}: damaged or cut short" in said[0] and "\n" not in said[0]


def test_row_12_a_truncated_adapter_is_named(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", tmp_path)
    path = run.file(save_adapter(run, "optimize", {"w": torch.ones(9)}).file)
    harmed(path, "cut")
    with pytest.raises(
        DataError, match=r"adapter\.safetensors: damaged or cut short \(33 bytes of tensors, its header says 36\); .*\.$"
    ):
        check_weights(path)


def test_row_13_a_flipped_byte_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    said = list[str]()
    trained(tmp_path, SETTINGS)
    harmed(tmp_path / "checkpoints" / "step-00000004" / "model.safetensors", "flip")
    assert trained(tmp_path, SETTINGS, said) == [3]
    assert "model.safetensors: its sha256 differs" in said[0]


def test_row_13_a_flipped_byte_in_an_adapter_is_refused(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", tmp_path)
    record = save_adapter(run, "optimize", {"w": torch.ones(9)})
    harmed(run.file(record.file), "flip")
    with pytest.raises(DataError, match=r"adapter\.safetensors: sha256 differs from its manifest"):
        load_adapter(run, "flipped", record)


def test_row_13_a_flipped_byte_in_a_photos_latents_is_refused(tmp_path: Path) -> None:
    for i in range(2):
        write_png(tmp_path / "photos" / f"{i}.png", picture((60, 30 + i, RED)))
    run = fake_run(tmp_path / "run", tmp_path / "photos")
    run.dir.publish("prepare", Prepare().run(run))
    assert read_latents(run, ["photo-000"]).keys() == {"photo-000"}
    harmed(run.file("prepare/photo-000.safetensors"), "flip")
    with pytest.raises(DataError, match=r"photo-000\.safetensors: sha256 differs from its manifest"):
        read_latents(run, ["photo-000"])


def with_header(text: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: object, offsets: object, dtype: str = "F32") -> bytes:
    return json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


def filled(start: bytes, unit: bytes, end: bytes) -> bytes:
    """A header of the most bytes there may be."""
    return with_header(start + unit * ((MOST_HEADER - len(start) - len(end)) // len(unit)) + end)


BOMBS = {
    "length beyond the file": with_header(b"{}", length=10**15),
    "length of 64 bits": with_header(b"{}", length=2**64 - 1),
    "a large header": with_header(b"{" + b" " * 60 * 2**20 + b"}"),
    "empty objects": filled(b'{"w":[', b"{},", b"0]}"),
    "objects of objects": filled(b'{"w":[', b'{"":{}},', b"0]}"),
    "lists": filled(b'{"w":[', b"[],", b"0]}"),
    "numbers": filled(b'{"w":[', b"1" * 14 + b",", b"0]}"),
    "wide text": filled(b'{"w":"' + "\N{GRINNING FACE}".encode(), b" ", b'"}'),
    "nested deeply": filled(b"{" + b'"w":' + b"[" * 200_000, b" ", b"}"),
    "offsets beyond the file": with_header(entry([2**40], [0, 2**42])),
    "offsets that turn back": with_header(entry([1], [4, 0]), b"1234"),
    "a shape of many sizes": with_header(entry([2**62] * 90_000, [0, 4]), b"1234"),
    "negative sizes": with_header(entry([-1, -1], [0, 4]), b"1234"),
    "a shape that is none": with_header(entry("F32", [0, 4]), b"1234"),
    "an entry that is none": with_header(b'{"w":3}'),
    "a hole": with_header(entry([1], [4, 8]), b"12345678"),
}  # fmt: skip


CHECK = """
import sys
from pathlib import Path
from magicid.core.errors import DataError
from magicid.core.weights import check_weights
try:
    check_weights(Path(sys.argv[1]))
except DataError as error:
    print(error.exit_code, error)
if Path("/proc/self/status").exists():
    print(*(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("name", BOMBS)
def test_row_14_a_header_bomb_is_refused_within_100_mb(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(BOMBS[name])
    done = subprocess.run([sys.executable, "-c", CHECK, str(path)], capture_output=True, text=True)
    said, *peak = done.stdout.splitlines()
    assert said.startswith(f"3 {path}: ") and said.endswith("again."), done.stderr
    assert all(int(line.split()[1]) * 1024 < 100e6 for line in peak), peak


def test_row_15_a_checkpoint_with_another_optimizer_state_is_rejected_as_a_whole(tmp_path: Path) -> None:
    said = list[str]()
    trained(tmp_path, SETTINGS)
    harmed(tmp_path / "checkpoints" / "step-00000004" / "optimizer.safetensors", "flip")
    assert trained(tmp_path, SETTINGS, said) == [3], "its model was used without its optimizer"
    assert "optimizer.safetensors" in said[0]
    harmed(tmp_path / "checkpoints" / "step-00000003" / "optimizer.safetensors", "cut")
    harmed(tmp_path / "checkpoints" / "step-00000004" / "optimizer.safetensors", "flip")
    assert checkpoint.latest(tmp_path / "checkpoints", said.append) is None


class Gadget:
    """Opening its pickle makes a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.made),)


WRITERS: dict[str, Callable[[object, Path], None]] = {
    "pickle": lambda thing, path: path.write_bytes(pickle.dumps(thing)) and None,
    "pickle, protocol 0": lambda thing, path: path.write_bytes(pickle.dumps(thing, 0)) and None,
    "torch": torch.save,
    "torch, old": lambda thing, path: torch.save(thing, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ["w.bin", "w.pt", "w.pkl", "w.ckpt", "w.safetensors"])
def test_row_53_pickles_are_refused_by_content(tmp_path: Path, writer: str, name: str) -> None:
    WRITERS[writer]({"w": Gadget(tmp_path / "made")}, tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: (a pickle, |a zip archive .*, )?not safetensors; "):
        read_weights(tmp_path / name)
    assert not (tmp_path / "made").exists()


def test_row_53_safetensors_are_read_whatever_their_name(tmp_path: Path) -> None:
    save_file({"w": torch.arange(3.0), "empty": torch.zeros(0, 2)}, tmp_path / "w.bin", {"said": "[{}]"})
    found = read_weights(tmp_path / "w.bin")
    assert found["w"].tolist() == [0, 1, 2] and found["empty"].shape == (0, 2)


def test_row_53_a_base_of_pickles_is_refused_and_one_that_hides_one_too(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny_family("wan", base)
    common = Common(tmp_path, base=str(base))
    assert find_base(common) == base
    weights = base / "text_encoder" / "model.safetensors"
    shutil.copy(weights, tmp_path / "kept")
    torch.save({"w": Gadget(tmp_path / "made")}, weights)
    with pytest.raises(DataError, match=r"text_encoder/model\.safetensors: a zip archive .*, not safetensors"):
        find_base(common)
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(DataError, match=r"text_encoder/pytorch_model\.bin: a pickle .* loaded; convert .* to \.safetensors"):
        find_base(common)
    with pytest.raises(DataError, match="no Wan checkpoint"):
        Wan.load(base)
    assert not (tmp_path / "made").exists()
