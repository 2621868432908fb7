"""A small random Qwen2.5-VL is shown the frames as pictures and answers the rubric through its own code.

Its own processor is only to be had with torchvision; the double here has its picture and text parts alone.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from magicid.core.errors import UsageError
from magicid.perception.rubric import CRITERIA
from magicid.perception.text_judges import text_judge

SPECIAL = ["<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CLIP = np.random.default_rng(0).integers(0, 255, (3, 56, 56, 3), np.uint8)
GOOD = json.dumps(dict.fromkeys(CRITERIA, 7))


class PicturesAndText(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without the part for videos, which needs torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([self.image_token, self.video_token])
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    @classmethod
    def opened(cls, name: str, **_: object) -> "PicturesAndText":
        """As AutoProcessor would."""
        words = AutoTokenizer.from_pretrained(name)
        return cls(AutoImageProcessor.from_pretrained(name), words, words.chat_template)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model over bytes."""
    folder = tmp_path_factory.mktemp("vlm")
    letters = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    letters.pre_tokenizer, letters.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    words = PreTrainedTokenizerFast(
        tokenizer_object=letters, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=SPECIAL,
        chat_template=TEMPLATE,
    )  # fmt: skip
    pad, end, _, start, stop, image, video = words.convert_tokens_to_ids(SPECIAL)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "rope_parameters": rope, "bos_token_id": None,
            "eos_token_id": end, "pad_token_id": pad,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [1], "window_size": 56,
        },
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=stop,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    words.save_pretrained(folder)
    Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 4 * 56 * 56}).save_pretrained(folder)
    return folder


def test_what_a_random_model_says_is_unmeasurable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoProcessor, "from_pretrained", PicturesAndText.opened)
    asked: list[dict[str, Any]] = []
    original = Qwen2_5_VLForConditionalGeneration.generate

    def noted(self: Any, **inputs: Any) -> Any:
        asked.append(inputs)
        return original(self, **inputs)

    monkeypatch.setattr(Qwen2_5_VLForConditionalGeneration, "generate", noted)
    assert np.isnan(text_judge(f"vlm:{folder}").similarity([CLIP], ["someone waves"])).all()
    assert len(asked) == 4  # two orderings, each asked once more
    assert asked[0]["image_grid_thw"].tolist() == [[1, 4, 4]] * 3 and asked[0]["do_sample"] is False


def test_its_reply_is_what_comes_after_the_question(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoProcessor, "from_pretrained", PicturesAndText.opened)
    words = AutoTokenizer.from_pretrained(folder)

    def replies(self: Any, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        assert "someone waves" in words.decode(input_ids[0])
        return torch.cat([input_ids, words(GOOD + "<|im_end|>", return_tensors="pt")["input_ids"]], 1)

    monkeypatch.setattr(Qwen2_5_VLForConditionalGeneration, "generate", replies)
    assert text_judge(f"vlm:{folder}").similarity([CLIP], ["someone waves"]) == pytest.approx([0.7])


def test_a_processor_that_needs_a_package_says_which_extra_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def needs(*_: object, **__: object) -> None:
        raise ImportError("\nQwen2VLVideoProcessor requires the Torchvision library but it was not found.")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", needs)
    with pytest.raises(UsageError, match=r"^vlm '.*': needs a package more \(Qwen2VL.*\); pip install 'magicid\[vlm\]'\.$"):
        text_judge(f"vlm:{folder}").similarity([CLIP], ["someone waves"])
