"""A run's adapters on disk: written by the training stages, read by those that sample."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.core.run_dir import filled
from magicid.core.weights import read_weights, write_weights
from magicid.training import lora


def save_adapter(run: Run, stage: str, weights: dict[str, Tensor], name: str = "adapter") -> Adapter:
    """Publish an adapter's weights under a stage, by our own names."""
    path = run.path(stage, f"{name}.safetensors")
    return Adapter(path, write_weights(run.file(path), weights))


def read_adapter(run: Run, record: Adapter) -> dict[str, Tensor]:
    """A stage's weights; `DataError` where the file is not what was written."""
    return read_weights(run.checked(record.file, record.sha256))


def load_adapter(run: Run, name: str, record: Adapter) -> None:
    """Bring a stage's adapter into the family under `name`, in the size that the run's settings give."""
    tensors = read_adapter(run, record)
    lora.add_adapter(run.family, name, filled(lora.LoraSettings, run.dir.settings(), "finetune."))
    lora.load_weights(run.family, name, tensors)


@contextmanager
def loaded(run: Run, adapters: Mapping[str, Adapter]) -> Iterator[None]:
    """Adapters by the names under which they are in the family, for a while; none is left behind, whatever happens."""
    try:
        for name, record in adapters.items():
            load_adapter(run, name, record)
        yield
    finally:
        for name in adapters:
            lora.remove_adapter(run.family, name)
