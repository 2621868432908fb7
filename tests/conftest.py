"""The suite computes in fp32 on every machine, so that truths hold to their last digits; tests of bf16 ask for it."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def fp32() -> Iterator[None]:
    """`core.device.fast_dtype` finds no hardware for bf16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        patch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        yield
