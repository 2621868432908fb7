"""Extended keywords (Magic-Me, arXiv:2402.09368): new words whose embeddings are parameters of their own.

No embedding is resized and nothing of an encoder changes: inside `using`, an encoder is handed a known token in the
place of each new word, and the embedding's output is replaced there. Known tokens also keep CLIP's pooling right, which
looks for the largest token.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from magicid.core.device import device_of
from magicid.core.errors import DataError
from magicid.core.interfaces import Family
from magicid.core.seeds import generator

Rows = dict[str, nn.Parameter]  # "encoder-0" -> (K, D), a row a new word


def words(count: int) -> list[str]:
    """The new words: <new1>, <new2>, ..."""
    return [f"<new{i + 1}>" for i in range(count)]


def new_rows(family: Family, count: int, start: str, seed: int) -> Rows:
    """Rows for every text encoder, around the embedding of the word `start`, spread a tenth as far as the vocabulary."""
    rows: Rows = {}
    for i, (tokenizer, encoder) in enumerate(family.text_encoders):
        weight = _embedding(encoder).weight.detach().float().cpu()
        ids = tokenizer(start, add_special_tokens=False).input_ids
        if not ids:
            raise DataError(f"{start!r} has no token in text encoder {i}; start from another word.")
        spread = 0.1 * weight.std() * torch.randn(count, weight.shape[1], generator=generator(seed, "keywords", i))
        device = device_of(family.transformer)
        rows[f"encoder-{i}"] = nn.Parameter((weight[ids].mean(0) + spread).to(device))
    return rows


@contextmanager
def using(family: Family, rows: Rows) -> Iterator[None]:
    """Let the family's text encoders know the new words inside the block."""
    with ExitStack() as stack:
        for (tokenizer, encoder), own in zip(family.text_encoders, rows.values(), strict=True):
            new = words(len(own))
            tokenizer.add_tokens(new)
            stack.enter_context(_replacing(encoder, tokenizer.convert_tokens_to_ids(new), own))
        yield


@contextmanager
def _replacing(encoder: nn.Module, ids: list[int], rows_KD: Tensor) -> Iterator[None]:
    asked: Tensor | None = None  # the tokens (B, L) of the call in progress

    def hide(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        nonlocal asked
        asked = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        known = torch.where(_which(asked, ids) < 0, asked, 0)
        return (args, kwargs | {"input_ids": known}) if "input_ids" in kwargs else ((known, *args[1:]), kwargs)

    def insert(module: nn.Module, args: tuple[Any, ...], output_BLD: Tensor) -> Tensor:
        assert asked is not None, "an embedding was called outside of its encoder"
        which_BL = _which(asked, ids)
        own = rows_KD.to(output_BLD)[which_BL.clamp(min=0)]
        return torch.where(which_BL[..., None] < 0, output_BLD, own)

    shape = _embedding(encoder).weight.shape
    embeddings = [m for m in encoder.modules() if isinstance(m, nn.Embedding) and m.weight.shape == shape]  # they are tied
    handles = [encoder.register_forward_pre_hook(hide, with_kwargs=True)]
    handles += [embedding.register_forward_hook(insert) for embedding in embeddings]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _which(tokens_BL: Tensor, ids: list[int]) -> Tensor:
    """The row of each token (B, L), -1 for known ones."""
    same_BLK = tokens_BL[..., None] == torch.tensor(ids, device=tokens_BL.device)
    return torch.where(same_BLK.any(-1), same_BLK.int().argmax(-1), -1)


def _embedding(encoder: Any) -> nn.Embedding:
    found = encoder.get_input_embeddings()
    assert isinstance(found, nn.Embedding), f"{type(encoder).__name__} has no embedding of tokens"
    return found
