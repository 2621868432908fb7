"""CLIP through transformers: frames evenly chosen, in RGB; a sentence that is too long is split, not cut.

Left out: time. A clip is the mean of its frames, as in the field's CLIPScore.
"""

import re
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from magicid.core.device import device
from magicid.core.errors import DataError
from magicid.core.interfaces import Frames
from magicid.language.pretrained import described, load_pretrained
from magicid.media.video import evenly

FRAMES = 16
ROLE = "clip"
BREAKS = (r"(?<=[.!?])\s+", r"(?<=[,;:])\s+", r"\s+")  # where a sentence is split: as early in this list as can be


class ClipEncoder:
    """A `VideoTextEncoder`; `name` is a hub id or a folder. Weights are loaded at first use, in fp32."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = threading.Lock()  # tokenizers are not for several threads at once
        kind = described(name, ROLE).model_type
        if kind != "clip":
            raise DataError(
                f"{ROLE} {name!r}: a model of the kind {kind!r}, not CLIP; name one that transformers' CLIPModel loads."
            )

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        """The tokenizer, the image processor and the model."""
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        model = load_pretrained(CLIPModel, self._name, ROLE, use_safetensors=True, dtype=torch.float32)
        tokenizer, processor = (load_pretrained(kind, self._name, ROLE) for kind in (AutoTokenizer, AutoImageProcessor))
        return tokenizer, processor, model.to(device()).eval()

    def similarity(self, clips: Sequence[Frames], sentences: Sequence[str]) -> NDArray[np.float32]:
        """Cosine (N,) of each clip with its own sentence."""
        return np.asarray((self.embed_video(clips) * self.embed_text(sentences)).sum(1), np.float32)

    def embed_video(self, clips: Sequence[Frames]) -> NDArray[np.float32]:
        """Unit vectors (N, D): the direction of the mean over the frames' unit vectors."""
        chosen = [evenly(clip, FRAMES) for clip in clips]
        frames = [frame for clip in chosen for frame in clip]
        with self._turn:
            rows = torch.cat([self._seen(frames[i : i + FRAMES]) for i in range(0, len(frames), FRAMES)])
        return np.stack([_numbers(part) for part in rows.split([len(clip) for clip in chosen])])

    def embed_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (N, D), of a sentence in several parts the direction of their mean."""
        with self._turn:
            return np.stack([_numbers(self._read(sentence)) for sentence in sentences])

    @torch.inference_mode()
    def _seen(self, frames: Sequence[NDArray[np.uint8]]) -> Tensor:
        _, processor, model = self._parts
        pixels = processor(images=frames, input_data_format="channels_last", return_tensors="pt")
        pooled = model.vision_model(pixel_values=pixels["pixel_values"].to(model.device)).pooler_output
        rows: Tensor = model.visual_projection(pooled)
        return rows

    @torch.inference_mode()
    def _read(self, sentence: str) -> Tensor:
        tokenizer, _, model = self._parts
        most = model.config.text_config.max_position_embeddings  # 77, the start and end tokens among them
        texts = parts(sentence, lambda text: len(tokenizer(text)["input_ids"]), most)
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=most, return_tensors="pt").to(model.device)
        pooled = model.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).pooler_output
        rows: Tensor = model.text_projection(pooled)
        return rows


def parts(text: str, count: Callable[[str], int], most: int) -> list[str]:
    """The text in parts of at most `most` by `count`: halved at an end of sentence, else at a comma, else between words.

    Halves keep the parts alike in length, so that a short rest does not weigh as much as all before it. A single word
    that is too long stays whole.
    """
    if count(text) <= most:
        return [text]
    for mark in BREAKS:
        if places := [found for found in re.finditer(mark, text) if found.start() > 0 and found.end() < len(text)]:
            middle = min(places, key=lambda found: abs(found.start() - len(text) / 2))
            return parts(text[: middle.start()], count, most) + parts(text[middle.end() :], count, most)
    return [text]


def _numbers(rows: Tensor) -> NDArray[np.float32]:
    """Rows (K, D) as one unit vector (D,): the direction of the mean of theirs."""
    return np.asarray(F.normalize(F.normalize(rows.float(), dim=-1).mean(0), dim=-1).cpu().numpy(), np.float32)
