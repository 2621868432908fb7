"""Tiny random checkpoints of every family, of stock classes, in the diffusers layout: 5 x 32 x 32 clips, milliseconds a call."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    ClassifierFreeGuidance,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    ByT5Tokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from magicid.core import tables
from magicid.core.interfaces import Family, Geometry
from magicid.core.seeds import generator
from magicid.media.photo import write_png
from magicid.training import lora
from tests.doubles import RED, picture

GEOMETRY = Geometry(frames=5, height=32, width=32, fps=8.0, guidance=1.0)
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]
WORDS = [*SPECIAL, "describe", ":", "a", "person", "walks", "sits", "and", "waves", "in", "the", "park"]
EOS = WORDS.index("</s>")
TEXT, HEADS, HEAD = 32, 2, 16


def tokenizer(length: int) -> PreTrainedTokenizerFast:
    """One token a word; every sentence ends with </s>."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=length, **names)


def wan() -> WanPipeline:
    """Latents of 4 channels, 2x in time, 4x in space."""
    vae = AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True],
        scale_factor_temporal=2, scale_factor_spatial=4, latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[0.5, 1.5, 0.8, 2.0],
    )  # fmt: skip
    text = UMT5Config(
        vocab_size=len(WORDS), d_model=TEXT, d_kv=8, d_ff=64, num_layers=1, num_heads=4, pad_token_id=0, eos_token_id=EOS
    )
    transformer = wan_transformer()
    return WanPipeline(
        tokenizer=tokenizer(16),
        text_encoder=UMT5EncoderModel(text),
        transformer=transformer,
        vae=vae,
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    )


def wan_transformer() -> WanTransformer3DModel:
    """Two blocks."""
    return WanTransformer3DModel(
        num_attention_heads=HEADS, attention_head_dim=HEAD, in_channels=4, out_channels=4, text_dim=TEXT, freq_dim=32,
        ffn_dim=64, num_layers=2, rope_max_seq_len=32,
    )  # fmt: skip


def wan22() -> WanPipeline:
    """The same with two experts, which part at t = 0.7, between those of a batch in the tests."""
    one = wan()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    parts = {"tokenizer": one.tokenizer, "text_encoder": one.text_encoder, "vae": one.vae, "transformer": one.transformer}
    return WanPipeline(**parts, scheduler=scheduler, transformer_2=wan_transformer(), boundary_ratio=0.7)


def hunyuan_video() -> HunyuanVideoPipeline:
    """Latents of 4 channels, 4x in time, 8x in space."""
    vae = AutoencoderKLHunyuanVideo(latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4)
    llama = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=TEXT, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=EOS,
    )  # fmt: skip
    clip = CLIPTextConfig(
        vocab_size=len(WORDS), hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=77, pad_token_id=0, bos_token_id=2, eos_token_id=EOS,
    )  # fmt: skip
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=HEADS, attention_head_dim=HEAD, num_layers=2, num_single_layers=2,
        num_refiner_layers=1, text_embed_dim=TEXT, pooled_projection_dim=24, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip
    return HunyuanVideoPipeline(
        text_encoder=LlamaModel(llama),
        tokenizer=tokenizer(24),
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=CLIPTextModel(clip),
        tokenizer_2=tokenizer(77),
    )


def t5() -> T5EncoderModel:
    """One layer."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(WORDS), d_model=TEXT, d_kv=8, d_ff=64, num_layers=1, num_heads=4, pad_token_id=0, eos_token_id=EOS
        )
    )


def cogvideox(rotary: bool = True, patch_size_t: int | None = None, snr_shift: float = 1.0) -> CogVideoXPipeline:
    """Latents of 4 channels, 2x in time, 4x in space; as the 5B is, unless 2B's or 1.5's settings are asked for."""
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 3, up_block_types=("CogVideoXUpBlock3D",) * 3, block_out_channels=(8, 8, 8),
        latent_channels=4, layers_per_block=1, norm_num_groups=4, temporal_compression_ratio=2, scaling_factor=0.7,
    )  # fmt: skip
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=HEADS, attention_head_dim=HEAD, in_channels=4, out_channels=4, time_embed_dim=16, text_embed_dim=TEXT,
        num_layers=2, sample_width=8, sample_height=8, sample_frames=5, patch_size=2, patch_size_t=patch_size_t,
        temporal_compression_ratio=2, max_text_seq_length=16, use_rotary_positional_embeddings=rotary,
    )  # fmt: skip
    scheduler = CogVideoXDDIMScheduler(
        clip_sample=False, prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True,
        snr_shift_scale=snr_shift,
    )  # fmt: skip
    return CogVideoXPipeline(tokenizer=tokenizer(16), text_encoder=t5(), vae=vae, transformer=transformer, scheduler=scheduler)


def ltx(noisy_decoder: bool = False) -> LTXPipeline:
    """Latents of 4 channels, 2x in time, 8x in space; a noisy decoder mixes noise in, and is told a time."""
    vae = AutoencoderKLLTXVideo(
        latent_channels=4, block_out_channels=(8, 16), down_block_types=("LTXVideoDownBlock3D",) * 2,
        decoder_block_out_channels=(8, 8), layers_per_block=(1, 1, 1), decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, False), decoder_spatio_temporal_scaling=(True, False),
        decoder_inject_noise=(noisy_decoder,) * 3, timestep_conditioning=noisy_decoder,
        downsample_type=("conv",) * 2, upsample_residual=(False,) * 2, upsample_factor=(1, 1),
    )  # fmt: skip
    vae.latents_mean, vae.latents_std = torch.tensor([0.1, -0.2, 0.3, 0.0]), torch.tensor([0.5, 1.5, 0.8, 2.0])
    transformer = LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=HEADS, attention_head_dim=HEAD, cross_attention_dim=HEADS * HEAD,
        num_layers=2, caption_channels=TEXT,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, shift_terminal=0.1
    )
    return LTXPipeline(scheduler=scheduler, vae=vae, text_encoder=t5(), tokenizer=tokenizer(16), transformer=transformer)


def hunyuan_video15() -> HunyuanVideo15Pipeline:
    """Latents of 4 channels, 4x in time, 8x in space."""
    vae = AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, spatial_compression_ratio=8
    )
    qwen = Qwen2_5_VLTextConfig(
        vocab_size=len(WORDS), hidden_size=TEXT, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=EOS,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
    )  # fmt: skip
    byt5 = ByT5Tokenizer()
    t5 = T5Config(vocab_size=len(byt5), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu")
    transformer = HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=HEADS, attention_head_dim=HEAD, num_layers=2, num_refiner_layers=1,
        text_embed_dim=TEXT, text_embed_2_dim=24, image_embed_dim=16, rope_axes_dim=(4, 6, 6), task_type="t2v",
    )  # fmt: skip
    words = tokenizer(24)
    words.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}</s>"
    return HunyuanVideo15Pipeline(
        text_encoder=Qwen2_5_VLTextModel(qwen),
        tokenizer=words,
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=byt5,
        guider=ClassifierFreeGuidance(guidance_scale=3.0),
    )


BUILD: dict[str, Callable[[], Any]] = {
    "wan": wan,
    "wan22": wan22,
    "hunyuan_video": hunyuan_video,
    "hunyuan_video15": hunyuan_video15,
    "cogvideox": cogvideox,
    "ltx": ltx,
}
FAMILY = {"wan22": "wan"}  # of checkpoints that have not the name of their family
SETTINGS: dict[str, dict[str, Any]] = {
    "hunyuan_video": {"prompt_template": {"template": "describe : {}", "crop_start": 2}},
    "hunyuan_video15": {"system_message": "describe :", "crop_start": 2},
}


def tiny_family(name: str, folder: Path) -> Family:
    """The family of a checkpoint of `BUILD`, loaded from random weights that are written to `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BUILD[name]().save_pretrained(folder)
    (folder / "geometry.json").write_text(json.dumps({**asdict(GEOMETRY), **SETTINGS.get(name, {})}))
    family: Family = tables.load(tables.FAMILIES, "family", FAMILY.get(name, name)).load(folder)
    return family


@contextmanager
def adapter(
    family: Family, name: str, settings: lora.LoraSettings | None = None, trained: bool = True
) -> Iterator[dict[str, torch.Tensor]]:
    """An adapter inside the block, random by its name unless it is not `trained`; gives its weights."""
    lora.add_adapter(family, name, settings or lora.LoraSettings(rank=3, alpha=6.0))
    try:
        if trained:
            drawn = generator(0, name)
            weights = {key: 0.3 * torch.randn(w.shape, generator=drawn) for key, w in lora.weights(family, name).items()}
            lora.load_weights(family, name, weights)
        yield lora.weights(family, name)
    finally:
        lora.remove_adapter(family, name)


def tiny_materials(folder: Path, name: str = "wan") -> tuple[Path, Path]:
    """Three photos that `centred_judges` take for one person's, and a tiny checkpoint: the folders of both."""
    tiny_family(name, folder / "base")
    for i in range(3):
        write_png(folder / "photos" / f"{i}.png", picture((60, 30 + i, RED)))
    return folder / "photos", folder / "base"
