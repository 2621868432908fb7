"""CLIP sees frames in RGB, evenly chosen, and reads whole prompts, however long."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from magicid.core.errors import DataError
from magicid.core.weights import write_weights
from magicid.media.video import evenly
from magicid.perception import clip
from magicid.perception.clip import ClipEncoder, parts
from tests.families.tiny import EOS, WORDS, tokenizer

LONG = " ".join(["a person walks in the park and waves ."] * 20)


def tiny_clip(folder: Path) -> Path:
    """A random CLIP of 32 pixels and a dozen words in a folder."""
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = {"vocab_size": len(WORDS), "max_position_embeddings": 77, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": EOS}
    config = CLIPConfig(text_config=small | words, vision_config=small | {"image_size": 32, "patch_size": 8}, projection_dim=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    tokenizer(77).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ClipEncoder:
    return ClipEncoder(str(tiny_clip(tmp_path_factory.mktemp("clip"))))


def clip_of(seed: int, frames: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (frames, 40, 60, 3), np.uint8)


def test_clips_and_sentences_are_unit_vectors_of_one_space(encoder: ClipEncoder) -> None:
    clips, texts = [clip_of(0), clip_of(1, 40)], ["a person walks", "the park"]
    videos, said = encoder.embed_video(clips), encoder.embed_text(texts)
    assert videos.shape == said.shape == (2, 8) and videos.dtype == np.float32
    assert np.allclose(np.linalg.norm(videos, axis=1), 1, atol=1e-5) and np.allclose(np.linalg.norm(said, axis=1), 1, atol=1e-5)
    assert np.allclose(encoder.similarity(clips, texts), (videos * said).sum(1))


def test_red_is_not_taken_for_blue(encoder: ClipEncoder) -> None:
    clip = clip_of(0)
    clip[..., 2] = 0
    mine = encoder.embed_video([clip])[0]
    _, processor, model = encoder._parts
    with torch.inference_mode():
        pixels = torch.cat([processor(images=frame, return_tensors="pt")["pixel_values"] for frame in clip])
        rows = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    own = torch.nn.functional.normalize(rows, dim=-1).mean(0)
    assert np.allclose(mine, (own / own.norm()).numpy(), atol=1e-5)
    assert not np.allclose(mine, encoder.embed_video([clip[..., ::-1]])[0], atol=1e-3)


def test_the_end_of_a_long_prompt_counts(encoder: ClipEncoder) -> None:
    ends = [f"{LONG} {end}" for end in ("the person sits", "describe the park")]
    first, second = encoder.embed_text(ends)
    assert not np.allclose(first, second, atol=1e-4)


def test_a_prompt_is_split_at_sentences_then_commas_then_words() -> None:
    def count(text: str) -> int:
        return len(text.split())

    assert parts("One two three. Four five.", count, 5) == ["One two three. Four five."]
    assert parts("One two three. Four five.", count, 4) == ["One two three.", "Four five."]
    assert parts("one two, three four five", count, 3) == ["one two,", "three four five"]
    assert all(count(part) <= 77 for part in parts(LONG, count, 77)) and " ".join(parts(LONG, count, 77)) == LONG
    assert parts("word", len, 2) == ["word"]


def test_frames_are_the_first_the_last_and_those_between() -> None:
    frames = clip_of(0, 31)
    assert np.array_equal(evenly(frames, clip.FRAMES), frames[::2]) and len(evenly(frames[:3], clip.FRAMES)) == 3


def test_another_kind_of_model_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(DataError, match=r"^clip '.*': a configuration without weights; put the model's \.safetensors beside"):
        ClipEncoder(str(tmp_path))
    write_weights(tmp_path / "model.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(DataError, match=r"^clip '.*': a model of the kind 'bert', not CLIP; name one that"):
        ClipEncoder(str(tmp_path))
