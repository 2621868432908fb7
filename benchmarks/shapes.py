"""Folders that describe well-known base models without their weights: what `magicid doctor` and `gpu.py` need of them.

Sizes are those of the published configurations. The tokenizers are stand-ins (one token a word): they set the length of
the text, and nothing else of them counts here.
"""

import json
from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderKLHunyuanVideo,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoTransformer3DModel,
    UniPCMultistepScheduler,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPTextConfig, LlamaConfig, PreTrainedTokenizerFast, UMT5Config

WAN = {
    "1.3b": {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "14b": {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
    "small": {"num_attention_heads": 2, "ffn_dim": 512, "num_layers": 3},
}
HUNYUAN = {
    "13b": {"num_attention_heads": 24, "num_layers": 20, "num_single_layers": 40},
    "small": {"num_attention_heads": 2, "num_layers": 1, "num_single_layers": 1},
}


def wan(folder: Path, size: str) -> Path:
    """Wan 2.1 text-to-video."""
    small = size == "small"
    text = {"d_model": 128 if small else 4096, "num_layers": 2 if small else 24, "num_heads": 4 if small else 64}
    text |= {"d_ff": 256 if small else 10240, "vocab_size": 100 if small else 256384, "d_kv": 64}
    encoder = UMT5Config(**text, feed_forward_proj="gated-gelu")
    transformer = {**WAN[size], "text_dim": text["d_model"]}
    vae = {"base_dim": 8} if small else {}
    parts = {
        "transformer": ("diffusers", "WanTransformer3DModel", _config(WanTransformer3DModel, transformer)),
        "vae": ("diffusers", "AutoencoderKLWan", _config(AutoencoderKLWan, vae)),
        "text_encoder": ("transformers", "UMT5EncoderModel", encoder.to_dict()),
    }
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return _write(folder, "WanPipeline", parts, {"tokenizer": 64 if small else 512}, scheduler)


def hunyuan_video(folder: Path, size: str) -> Path:
    """HunyuanVideo text-to-video."""
    small = size == "small"
    wide = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 100}
    full = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    llama = LlamaConfig(**(wide if small else full | {"num_key_value_heads": 8, "vocab_size": 128320}))
    clip = CLIPTextConfig(**(wide if small else {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}))
    transformer = {**HUNYUAN[size], "text_embed_dim": llama.hidden_size, "pooled_projection_dim": clip.hidden_size}
    vae = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1} if small else {}
    parts = {
        "transformer": ("diffusers", "HunyuanVideoTransformer3DModel", _config(HunyuanVideoTransformer3DModel, transformer)),
        "vae": ("diffusers", "AutoencoderKLHunyuanVideo", _config(AutoencoderKLHunyuanVideo, vae)),
        "text_encoder": ("transformers", "LlamaModel", llama.to_dict()),
        "text_encoder_2": ("transformers", "CLIPTextModel", clip.to_dict()),
    }
    scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    written = _write(
        folder, "HunyuanVideoPipeline", parts, {"tokenizer": (32 if small else 256) + 2, "tokenizer_2": 77}, scheduler
    )
    (folder / "geometry.json").write_text(json.dumps({
        "frames": 61, "height": 720, "width": 1280, "fps": 24.0, "guidance": 1.0,
        "prompt_template": {"template": "describe : {}", "crop_start": 2},
    }))  # fmt: skip
    return written


SHAPES = {"wan": wan, "hunyuan_video": hunyuan_video}


def _config(kind: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """A diffusers configuration as its folder holds it."""
    import torch

    with torch.device("meta"):
        return {"_class_name": kind.__name__, **kind(**settings).config}


def _write(folder: Path, pipeline: str, parts: dict[str, Any], tokens: dict[str, int], scheduler: Any) -> Path:
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": "0.42.0"}
    for name, (library, kind, config) in parts.items():
        index[name] = [library, kind]
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    for name, length in tokens.items():
        index[name] = ["transformers", "PreTrainedTokenizerFast"]
        words = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1, "<unk>": 2}, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        made = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=length, pad_token="<pad>", unk_token="<unk>")
        made.save_pretrained(folder / name)
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
