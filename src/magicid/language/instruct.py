"""A local instruct model through transformers: one question, one reply, drawn from a seed."""

from functools import cached_property
from typing import Any

import torch

from magicid.core.device import device, fast_dtype
from magicid.core.errors import DataError
from magicid.core.pulse import waiting
from magicid.core.seeds import item_seed
from magicid.language.pretrained import load_pretrained

MOST_TOKENS = 4_000  # of a reply


class Instruct:
    """A causal language model with a chat template; `name` is a hub id or a folder. Weights are loaded at its first question."""

    def __init__(self, name: str, seed: int) -> None:
        from transformers import AutoTokenizer

        self._name, self._seed = name, seed
        self._tokenizer: Any = load_pretrained(AutoTokenizer, name, "prompts.model")
        if not self._tokenizer.chat_template:
            raise DataError(f"prompts.model {name!r}: no chat template, so it takes no instructions; name an instruct model.")

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModelForCausalLM

        where = device()
        dtype = fast_dtype(where)
        model = load_pretrained(AutoModelForCausalLM, self._name, "prompts.model", use_safetensors=True, dtype=dtype)
        return model.to(where).eval()

    def __call__(self, question: str, number: int) -> str:
        """The reply; the same question with another number gets another one."""
        return waiting(lambda: self._drawn(question, number), "model")

    @torch.inference_mode()
    def _drawn(self, question: str, number: int) -> str:
        asked = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
        ).to(self._model.device)
        with torch.random.fork_rng():
            torch.manual_seed(item_seed(self._seed, "prompts", number))
            drawn = self._model.generate(**asked, max_new_tokens=MOST_TOKENS, do_sample=True, temperature=0.8, top_p=0.95)
        return str(self._tokenizer.decode(drawn[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))
