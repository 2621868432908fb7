"""The one place that reads and writes weights files: safetensors by content, whole, with a header that is not a bomb.

Pickles and torch's archives run code when they are loaded; they are refused whatever their name, and nothing overrides it.
What is written is finite and reads back to the bit; what is read may hold any values, which are for those who use them.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicid.core.errors import DataError, NotFinite, out_of_memory
from magicid.core.files import publish, sha256

if TYPE_CHECKING:
    from torch import Tensor

MOST_HEADER = 2 * 2**20  # bytes; as Python objects the worst JSON of this size stays under 100 MB (14B models have 0.2 MB)
MOST_SIDE = 2**63 - 1
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8, "F8_E8M0": 8, "U16": 16,
    "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
_KINDS = {
    b"PK\x03\x04": "a zip archive (torch's format)",
    b"\x80": "a pickle",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
}
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_RULE = "weights must be whole .safetensors. Fetch or make the file again."


def check_weights(path: Path) -> dict[str, str]:
    """The header's metadata; `DataError` unless the file is safetensors whose tensors fill it just to its end.

    Only the header is read, and of no more than `MOST_HEADER` bytes.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; {_RULE}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
            length = int.from_bytes(start[:8], "little")
            if len(start) < 9 or start[8:] != b"{" or length > size:
                raise DataError(f"{path}: {_kind(start, size)}; {_RULE}")
            if length > MOST_HEADER:
                raise DataError(f"{path}: a header of {length:,} bytes; at most {MOST_HEADER:,} are read. {_RULE}")
            text = start[8:] + file.read(length - 1)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {_RULE}") from error
    try:
        header = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
        return _check_header(header, size - 8 - length)
    except (ValueError, RecursionError) as error:
        said = str(error)[:200] if isinstance(error, ValueError) else "nested too deeply"
        raise DataError(f"{path}: damaged or cut short ({said}); {_RULE}") from error


def read_weights(path: Path, sha256_hex: str | None = None) -> "dict[str, Tensor]":
    """The tensors of a file that passes `check_weights`; `DataError` where its hash is not the one given."""
    check_weights(path)
    if sha256_hex is not None and sha256(path) != sha256_hex:
        raise DataError(f"{path}: its sha256 differs from the one recorded; it is not what was written. Bring it back.")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        if out_of_memory(error):
            raise
        raise DataError(f"{path}: cannot be read ({str(error)[:200]}); {_RULE}") from error


def write_weights(path: Path, tensors: "Mapping[str, Tensor]") -> str:
    """Publish tensors (on any device) as one file; returns its sha256.

    `DataError` where one is not finite, or where what was written does not read back as it was.
    """
    import torch
    from safetensors.torch import load_file, save_file

    check_finite(path, tensors)
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def write(target: Path) -> None:
        save_file(kept, target)
        found = load_file(target)
        if found.keys() != kept.keys() or not all(torch.equal(found[name], kept[name]) for name in kept):
            raise DataError(f"{path}: does not read back as it was written; look at the disk, then run the same command again.")

    publish(path, write)
    return sha256(path)


def in_order(data: bytes) -> bytes:
    """A safetensors file with its header's keys sorted: the library writes several of the metadata in random order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def check_finite(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """`NotFinite` where a tensor that is to stand in `path` is not."""
    if odd := next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None):
        raise NotFinite(
            f"{path}: {odd} is not finite, so it is not saved; lower the learning rate of what made it, and do this stage again."
        )


def check_model(folder: Path) -> None:
    """`DataError` unless all weights in the folders of a diffusers checkpoint are safetensors; pickles beside them stay shut."""
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        check_folder(part)


def check_folder(part: Path) -> None:
    """The same of one folder that holds weights."""
    whole = sorted(part.glob("*.safetensors"))
    if not whole and (pickles := sorted(path for path in part.iterdir() if path.suffix in PICKLES)):
        raise DataError(f"{pickles[0]}: a pickle can run code, and is never loaded; convert {part} to .safetensors.")
    for path in whole:
        check_weights(path)
    for index in sorted(part.glob("*.index.json")):
        if whole and ".safetensors." in index.name:
            _check_shards(index)


def _check_shards(index: Path) -> None:
    """A list of shards may name .safetensors of its own folder only: loaders take others for pickles."""
    try:
        named = set(dict(json.loads(index.read_text())["weight_map"]).values())
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{index}: not a list of shards; fetch the model again.") from error
    for name in named:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise DataError(f"{index}: names {str(name)[:100]!r}; shards are .safetensors beside it. Fetch the model again.")
        if not (index.parent / name).is_file():
            raise DataError(f"{index.parent / name}: gone, though {index.name} names it; fetch the model again.")


def _kind(start: bytes, size: int) -> str:
    """What a file that is not safetensors is, as far as its first bytes tell."""
    for mark, kind in _KINDS.items():
        if start.startswith(mark):
            return f"{kind}, not safetensors"
    if len(start) == 9 and start[8:] == b"{":
        return f"cut short, {size:,} bytes"
    return "not safetensors"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return found


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} in the header")


def _check_header(header: dict[str, Any], size: int) -> dict[str, str]:
    """The metadata; `ValueError` unless the tensors lie one behind the other in `size` bytes."""
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not text")
    spans = sorted(_span(name, entry) for name, entry in header.items())
    end = 0
    for first, last, name in spans:
        if first != end:
            raise ValueError(f"{name!r:.100} starts at byte {first}, the one before it ends at {end}")
        end = last
    if end != size:
        raise ValueError(f"{size:,} bytes of tensors, its header says {end:,}")
    return metadata


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """(first byte, byte after the last, name) of one tensor."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r:.100} has no dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _BITS:
        raise ValueError(f"{name!r:.100} has the unknown dtype {kind!r:.40}")
    if not _counts(shape) or not _counts(offsets) or len(shape) > 64 or len(offsets) != 2:
        raise ValueError(f"{name!r:.100} has a shape or offsets that cannot be")
    if math.prod(shape) * _BITS[kind] != 8 * (offsets[1] - offsets[0]):
        raise ValueError(f"{name!r:.100} has {offsets[1] - offsets[0]} bytes, its shape and dtype need another number")
    return offsets[0], offsets[1], name


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= MOST_SIDE for value in values)
