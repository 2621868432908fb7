"""Vision-language models that answer the rubric: a local one through transformers, or any OpenAI-compatible endpoint."""

import base64
import io
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from magicid.core.device import device, fast_dtype
from magicid.core.pulse import waiting
from magicid.language.endpoint import Endpoint
from magicid.language.pretrained import described, load_pretrained

MOST_TOKENS = 100  # of a reply; the rubric's object has about 30
ROLE = "vlm"


class LocalVlm:
    """A model of the hub or a folder that takes pictures and text; its weights are loaded when it is asked at first.

    Frames go in as pictures, not as a video, so that every model samples the same ones.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = threading.Lock()  # tokenizers are not for several threads at once
        described(name, ROLE)  # a misspelt name is told before anything is trained

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        """The processor and the model."""
        from transformers import AutoModelForImageTextToText, AutoProcessor

        processor, where = load_pretrained(AutoProcessor, self._name, ROLE), device()
        model = load_pretrained(AutoModelForImageTextToText, self._name, ROLE, use_safetensors=True, dtype=fast_dtype(where))
        return processor, model.to(where).eval()

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], question: str) -> str:
        """The likeliest reply."""
        with self._turn:
            return waiting(lambda: self._replied(pictures, question), ROLE)

    @torch.inference_mode()
    def _replied(self, pictures: Sequence[NDArray[np.uint8]], question: str) -> str:
        processor, model = self._parts
        shown = [{"type": "image", "image": Image.fromarray(picture)} for picture in pictures]
        message = {"role": "user", "content": [*shown, {"type": "text", "text": question}]}
        asked = processor.apply_chat_template(
            [message], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(model.device)
        drawn = model.generate(**asked, max_new_tokens=MOST_TOKENS, do_sample=False)
        return str(processor.batch_decode(drawn[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)[0])


class EndpointVlm:
    """A model behind an endpoint; frames go as JPEGs inside the request."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], question: str) -> str:
        """The reply, by the server's own settings: models that reason refuse a temperature and a limit of tokens."""
        shown = [{"type": "image_url", "image_url": {"url": _address(picture)}} for picture in pictures]
        return self._endpoint.ask([*shown, {"type": "text", "text": question}])


def _address(picture: NDArray[np.uint8]) -> str:
    """A picture as a data address."""
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"
