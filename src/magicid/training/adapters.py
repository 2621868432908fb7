"""A run's adapters on disk: written by the training stages, read by those that sample."""

from safetensors.torch import save_file
from torch import Tensor

from magicid.core.files import publish, sha256
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.core.weights import read_weights
from magicid.training import lora


def save_adapter(run: Run, stage: str, weights: dict[str, Tensor]) -> Adapter:
    """Publish an adapter's weights under a stage, by our own names."""
    path = run.path(stage, "adapter.safetensors")
    publish(run.file(path), lambda target: save_file(weights, target))
    return Adapter(path, sha256(run.file(path)))


def read_adapter(run: Run, record: Adapter) -> dict[str, Tensor]:
    """A stage's weights; `DataError` where the file is not what was written."""
    return read_weights(run.checked(record.file, record.sha256))


def load_adapter(run: Run, name: str, record: Adapter) -> None:
    """Bring a stage's adapter into the family under `name`, in the size that the run's settings give."""
    tensors, settings = read_adapter(run, record), run.dir.settings()
    targets = tuple(settings["finetune.targets"])
    lora.add_adapter(run.family, name, lora.LoraSettings(settings["finetune.rank"], settings["finetune.alpha"], targets))
    lora.load_weights(run.family, name, tensors)
