"""A local instruct model answers by its seed, and what cannot be opened is one line."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from magicid.core.errors import DataError
from magicid.core.run import Run
from magicid.language.instruct import Instruct
from magicid.stages.prompts import Prompts
from tests.doubles import fake_run
from tests.families.tiny import EOS, WORDS, tokenizer

TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of a dozen words, which soon says that it is done."""
    folder, words = tmp_path_factory.mktemp("instruct"), tokenizer(512)
    words.chat_template = TEMPLATE
    words.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=5_000, pad_token_id=0, bos_token_id=2, eos_token_id=EOS,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = fake_run(tmp_path / "run", tmp_path)
    run.common = replace(run.common, trigger="a person")
    yield run
    run.dir.close()


def test_a_question_has_one_reply_a_number(folder: Path) -> None:
    before = torch.get_rng_state()
    replies = [Instruct(str(folder), 3)("a person walks", number) for number in (0, 0, 1)]
    assert replies[0] == replies[1] != replies[2]
    assert set(" ".join(replies).split()) <= set(WORDS) and torch.equal(before, torch.get_rng_state())


def test_a_model_that_does_not_write_prompts_is_told_how_many_came(run: Run, folder: Path) -> None:
    with pytest.raises(DataError, match=r"^\d+ different prompts, 2000 are needed; lower --prompts\.repository"):
        Prompts(1_000, 1_000, source="local", model=str(folder)).run(run)


def test_a_model_without_a_chat_template_is_refused(folder: Path, tmp_path: Path) -> None:
    tokenizer(16).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(DataError, match=r"^prompts\.model '.*': no chat template, so it takes no instructions; name an instruct"):
        Instruct(str(tmp_path), 0)


def test_a_model_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"^prompts\.model 'no/such': not a folder here, and the hub did not give it \([^\n]+$"):
        Instruct("no/such", 0)
    with pytest.raises(DataError, match=rf"^prompts\.model '{tmp_path}': cannot be read \([^\n]+\. Name a folder that holds it"):
        Instruct(str(tmp_path), 0)


def test_a_pickle_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    with pytest.raises(DataError, match=r"pytorch_model\.bin: a pickle can run code, and is never loaded"):
        Instruct(str(tmp_path), 0)
