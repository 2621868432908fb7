"""One LoRA file that loads in diffusers and ComfyUI: universal names, alpha folded in, its story in the header.

After writing, the file is loaded back through the stock pipeline and its output compared with the adapter in memory.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from magicid._version import __version__
from magicid.core import tables
from magicid.core.errors import DataError
from magicid.core.files import publish, sha256
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.core.seeds import noise
from magicid.training import lora
from magicid.training.adapters import load_adapter

CHECK = "export_check"


def export_adapter(run: Run, record: Adapter, path: Path) -> None:
    """Write the adapter of `record` to `path` and verify it; `DataError` when anything would be lost."""
    settings = run.dir.settings()
    scale = settings["finetune.alpha"] / settings["finetune.rank"]
    rename = tables.load(tables.EXPORTS, "export of", run.common.family)
    tensors = {}
    for name, tensor in load_file(run.file(record.file)).items():
        folded = tensor * scale if ".lora_B." in name else tensor
        tensors[rename(name)] = folded.contiguous()
    header = {
        "format": "pt",
        "magicid": json.dumps(
            {
                "version": __version__,
                "trigger": run.common.trigger,
                "base": str(run.common.base),
                "adapter_sha256": record.sha256,
            }
        ),
    }
    publish(path, lambda target: save_file(tensors, target, metadata=header))
    _verify(run, record, path)


@torch.no_grad()
def _verify(run: Run, record: Adapter, path: Path) -> None:
    """The file, loaded by the stock pipeline, must predict what the adapter in memory predicts."""
    family, geometry = run.family, run.family.geometry
    shape = family.latents_shape(geometry.frames, geometry.height, geometry.width)
    device = next(family.transformer.parameters()).device
    x, t = noise((1, *shape), 0, "export").to(device), torch.full((1,), 0.5, device=device)
    load_adapter(run, CHECK, record)
    with lora.using(family, CHECK):
        expected = family.predict(x, t, run.negative)
    trained = len(lora.parameters(family, CHECK))
    lora.remove_adapter(family, CHECK)
    family.pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=CHECK)  # type: ignore[attr-defined]
    with lora.using(family, CHECK):
        found = family.predict(x, t, run.negative)
    loaded = len(lora.parameters(family, CHECK))
    lora.remove_adapter(family, CHECK)
    difference = float((found - expected).abs().max())
    if loaded != trained or difference > 1e-3 * float(expected.abs().max()):
        raise DataError(
            f"{path} (sha256 {sha256(path)[:12]}): {loaded} of {trained} tensors load and outputs differ by {difference:.2g}; "
            "the export is wrong for this family; use finetune.targets that it knows."
        )
