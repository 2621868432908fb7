"""RAFT (Teed and Deng, ECCV 2020; arXiv:2003.12039) through torchvision, the flow of VBench's dynamic degree.

Torchvision's own weights are a pickle of its server: it checks their hash, and only tensors are taken from it. A file of
the user's is .safetensors, as all weights here.
"""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from magicid.core.device import device
from magicid.core.errors import DataError, UsageError
from magicid.core.pulse import waiting
from magicid.core.weights import check_weights, read_weights

MULTIPLE, LEAST = 8, 128  # pixels: sides are multiples of the first, and no shorter than the second
UPDATES = 12  # of the flow, RAFT's own default


class Raft:
    """A `FlowEstimator`; `weights` is a .safetensors file, or "" for torchvision's own."""

    def __init__(self, weights: str = "") -> None:
        self._model = _model(weights).to(device()).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flow (H, W, 2) from a to b, both (H, W, 3) RGB, at their own size."""
        height, width = a.shape[:2]
        right, below = (max(LEAST, -(-side // MULTIPLE) * MULTIPLE) - side for side in (width, height))
        pair = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).to(device()).float() / 127.5 - 1
        first, second = F.pad(pair, (0, right, 0, below), mode="replicate").split(1)
        found = self._model(first, second, num_flow_updates=UPDATES)[-1][0, :, :height, :width]
        return np.ascontiguousarray(found.permute(1, 2, 0).cpu().numpy(), np.float32)


def check_raft(weights: str = "") -> None:
    """`UsageError` where torchvision is missing, `DataError` where the weights' file is none."""
    _torchvision()
    if weights:
        check_weights(Path(weights))


def _torchvision() -> Any:
    try:
        from torchvision.models import optical_flow
    except ImportError as error:
        raise UsageError(
            "score.flow 'raft': torchvision is not installed; pip install 'magicid[gpu]', or choose --score.flow dis."
        ) from error
    return optical_flow


def _model(weights: str) -> Any:
    networks = _torchvision()
    model = networks.raft_large(weights=None, progress=False)
    if weights:
        tensors = read_weights(Path(weights))
    else:
        own = networks.Raft_Large_Weights.DEFAULT
        try:
            tensors = waiting(lambda: own.get_state_dict(progress=False, check_hash=True, weights_only=True), "model")
        except (URLError, OSError, RuntimeError) as error:
            raise DataError(
                f"score.flow 'raft': torchvision's weights did not come ({str(error)[:160]}); go online once, or name a file: "
                "--score.flow-weights FILE.safetensors."
            ) from error
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            f"score.flow_weights {weights!r}: not of torchvision's raft_large; name a file of its weights."
        ) from error
    return model
