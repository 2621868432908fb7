"""Step two of pretraining: a small `WanTransformer3DModel` and its `UMT5EncoderModel`, trained together by flow matching.

Latents are encoded once and kept in memory; sentences are phrased anew at every draw, one in ten is dropped to "" so
that classifier-free guidance works. What is saved is a `WanPipeline` that its stock `from_pretrained` loads.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from magicid.avatar.dataset import FPS, FRAMES, SIZE, ClipStore
from magicid.avatar.guided import Guided, Teacher
from magicid.avatar.plain_attention import PlainAttention
from magicid.avatar.pretrain_autoencoder import PATCH as PIXELS
from magicid.avatar.pretrain_autoencoder import encode
from magicid.avatar.probe import Probe, probe_targets
from magicid.avatar.prompts import describe, sentences
from magicid.core.device import autocast
from magicid.core.diffusion import FlowMatching
from magicid.core.files import publish_folder
from magicid.core.interfaces import Geometry
from magicid.core.seeds import generator, item_seed, noise
from magicid.media.video import to_tensor

TOKENS = 40  # the longest sentence has 31
TEXT_WIDTH, HEADS, HEAD_WIDTH, LAYERS = 256, 6, 64, 6
PATCH = 2  # latents of a token, each way
PROBED = 3  # after so many blocks the probe reads
GEOMETRY = Geometry(frames=FRAMES, height=SIZE, width=SIZE, fps=FPS, guidance=3.0, guidance_until=0.5)
MUON = r"block.*\.(to_[qkv]|to_out\.0|q|k|v|o|net\.0\.proj|net\.2|wi_0|wi_1|wo)\.weight$"  # matrices inside blocks


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-pair tokenizer of the grammar, lower case, that can still spell any other word."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789,.'-"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(4000, seed=0), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=TOKENS
    )


class TextToLatents(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, channels: int, vocabulary: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.text_encoder = UMT5EncoderModel(
            UMT5Config(
                vocab_size=vocabulary, d_model=TEXT_WIDTH, d_kv=64, d_ff=2 * TEXT_WIDTH, num_layers=2, num_heads=4,
                dropout_rate=0.0, pad_token_id=0, eos_token_id=1,
            )
        )  # fmt: skip
        self.transformer = WanTransformer3DModel(
            patch_size=(1, PATCH, PATCH), num_attention_heads=HEADS, attention_head_dim=HEAD_WIDTH, in_channels=channels,
            out_channels=channels, text_dim=TEXT_WIDTH, freq_dim=256, ffn_dim=3 * HEADS * HEAD_WIDTH, num_layers=LAYERS,
            rope_max_seq_len=64,
        )  # fmt: skip

    def prepare(self, compile: bool) -> None:
        """Make training faster, not different: attention in plain products, and on request compiled blocks."""
        for block in self.transformer.blocks:
            block.attn1.set_processor(PlainAttention())
            block.attn2.set_processor(PlainAttention())
            if compile:  # two lengths of clips, compiled apart; the forward alone, so that hooks stay outside
                block.forward = torch.compile(block.forward, dynamic=False)

    def load(self, folder: Path) -> None:
        """Take both networks' weights from a saved pipeline."""
        for name in ("text_encoder", "transformer"):
            part = getattr(self, name)
            part.load_state_dict(type(part).from_pretrained(folder / name, torch_dtype=torch.float32).state_dict())

    def add_probe(self, who: int, where: int, frame_tokens: int) -> Probe:
        """A probe of the tokens after `PROBED` blocks; what it read of the last call stands in `read`."""
        self.probe = Probe(HEADS * HEAD_WIDTH, frame_tokens, who, where)

        def listen(_block: nn.Module, _inputs: object, hidden_BLC: Tensor) -> None:
            self.read = self.probe(hidden_BLC)

        self.transformer.blocks[PROBED - 1].register_forward_hook(listen)
        return self.probe

    def forward(self, x_t: Tensor, t_B: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Predicted velocity."""
        velocity: Tensor = self.transformer(x_t, t_B * 1000, self.text(ids_BL, mask_BL), return_dict=False)[0]
        return velocity

    def text(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """What the sentences say, (B, L, D); after a sentence's end zero, as the stock pipeline makes it."""
        states: Tensor = self.text_encoder(ids_BL, mask_BL).last_hidden_state
        return states * mask_BL[..., None]


@torch.inference_mode()
def encode_store(vae: AutoencoderKLWan, store: ClipStore, cache: Path, batch: int = 16) -> Tensor:
    """Standardised latents (N, C, F, H, W) of every clip, fp16, encoded once and kept in `cache`."""
    if cache.exists():
        cached: Tensor = torch.from_numpy(np.load(cache))
        return cached
    mean, std = latents_scale(vae)
    parts = []
    for start in range(0, len(store), batch):
        video = to_tensor(store.frames[start : start + batch])
        with autocast(video.device):
            latents = encode(vae, video)[0]
        parts.append(((latents.float() - mean) / std).half())
    latents = torch.cat(parts)
    np.save(cache.with_suffix(".tmp.npy"), latents.numpy())
    cache.with_suffix(".tmp.npy").rename(cache)
    return latents


@dataclass(frozen=True)
class Curriculum:
    """Short windows first: most of what a clip shows is in any of its frames, and four cost a fifth of seventeen."""

    short_frames: int = 4
    short_batch: int = 128
    batch: int = 32  # of whole clips: every fourth step, and all steps from `whole_from` on
    whole_from: int = 1100
    head_weight: float = 1.0  # of the error in a head's cells at t = 0, falling to 1 at t = 1, where a head's place is open
    even_times: bool = False  # t uniform in 0.05..0.97; else logit-normal (arXiv:2403.03206), bent towards noise
    probe_weight: float = 0.0  # of the probe's error beside the velocity's (avatar/probe.py); 0: no probe
    guided: Guided = field(default=Guided())  # learn what the network itself says under such guidance (avatar/guided.py)

    def at(self, step: int) -> tuple[int | None, int]:
        """(frames of a window, None for all; batch) of a step."""
        if step >= self.whole_from or step % 4 == 0:
            return None, self.batch
        return self.short_frames, self.short_batch

    def times(self, batch: int, source: torch.Generator) -> Tensor:
        """t of each clip, (B,)."""
        if self.even_times:
            return 0.05 + 0.92 * torch.rand(batch, generator=source)
        return (1.2 * torch.randn(batch, generator=source) + 0.4).sigmoid()

    def weights(self, inside_BFHW: Tensor, t_B: Tensor) -> Tensor:
        """Weight of each cell's error, mean 1 over the batch, from the share of each cell that lies in the head's box."""
        weights = 1 + (self.head_weight - 1) * inside_BFHW * (1 - t_B).reshape(-1, 1, 1, 1)
        return weights / weights.mean()


class TransformerLoss:
    """Flow matching on cached latents; where there is a teacher, the target is what it says of them."""

    def __init__(
        self,
        model: TextToLatents,
        tokenizer: PreTrainedTokenizerFast,
        store: ClipStore,
        latents: Tensor,
        curriculum: Curriculum = Curriculum(),
        teacher: Teacher | None = None,
        seed: int = 0,
    ) -> None:
        self.model, self.tokenizer, self.latents, self.curriculum = model, tokenizer, latents, curriculum
        self.teacher, self.seed = teacher, seed
        self.law = FlowMatching()
        self.truths = [store.item(i).truth for i in range(len(store))]
        self.inside = heads_inside(store.boxes, store.frames.shape[2], latents.shape[-1])
        self.probe: Probe | None = None
        if curriculum.probe_weight:
            self.who, self.where = probe_targets(store)
            self.probe = model.add_probe(self.who.shape[1], self.where.shape[2], frame_tokens(latents.shape))

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        frames, batch = self.curriculum.at(step)
        rng = np.random.default_rng(item_seed(self.seed, "transformer", step, micro))
        indices = rng.integers(len(self.latents), size=batch)
        texts = [describe(self.truths[i], rng) if rng.random() > 0.1 else "" for i in indices]
        prompt = tokens(self.tokenizer, texts)
        length = frames or self.latents.shape[2]
        starts = rng.integers(self.latents.shape[2] - length + 1, size=batch)
        windows = [(i, slice(s, s + length)) for i, s in zip(indices, starts, strict=True)]
        x0 = torch.stack([self.latents[i, :, window] for i, window in windows]).float()
        inside = torch.stack([self.inside[i, window] for i, window in windows]).float()
        eps = noise(tuple(x0.shape), self.seed, "transformer", step, micro)
        t = self.curriculum.times(batch, generator(self.seed, "transformer-time", step, micro))
        x_t = self.law.add_noise(x0, eps, t)
        with autocast(x0.device):
            said = self.teacher and self.teacher(x_t, t, *prompt)
            velocity = self.model(x_t, t, *prompt)
        target = self.law.target(x0, eps, t) if said is None else said
        errors_BFHW = (velocity.float() - target).square().mean(1)
        errors, head = errors_BFHW.detach().mean((1, 2, 3)), (errors_BFHW.detach() * inside).sum() / inside.sum().clamp(min=1e-6)
        logged = {"noisy_half": float(errors[t > 0.5].mean()), "head": float(head), "frames": float(length)}
        loss = (errors_BFHW * self.curriculum.weights(inside, t)).mean()
        if self.probe is not None:
            where = torch.stack([self.where[i, window] for i, window in windows]).float()
            who_missed, where_missed = self.probe.loss(self.model.read.float(), self.who[indices].float(), where)
            loss = loss + self.curriculum.probe_weight * (who_missed + where_missed)
            logged |= {"who": float(who_missed.detach()), "where": float(where_missed.detach())}
        return loss, logged


def tokens(tokenizer: PreTrainedTokenizerFast, sentences: list[str]) -> tuple[Tensor, Tensor]:
    """Token numbers and which of them are there, (B, L) each."""
    read = tokenizer(sentences, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
    return read.input_ids, read.attention_mask


def latents_shape(vae: AutoencoderKLWan) -> tuple[int, int, int, int]:
    """(C, F, H, W) of a clip."""
    return vae.config.z_dim, FRAMES, SIZE // PIXELS, SIZE // PIXELS


def latents_scale(vae: AutoencoderKLWan) -> tuple[Tensor, Tensor]:
    """Mean and deviation, (1, C, 1, 1, 1) each, of latents before they are standardised."""
    mean, std = (torch.tensor(v).reshape(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    return mean, std


def frame_tokens(shape: Sequence[int]) -> int:
    """Tokens of a frame of latents of shape (..., H, W)."""
    return shape[-2] * shape[-1] // PATCH**2


def heads_inside(boxes_NF4: NDArray[np.float32], size: int, cells: int) -> Tensor:
    """Share (N, F, cells, cells), fp16, of each cell that lies in the head's box (x0, y0, x1, y1); a picture is `size` wide."""
    edges = np.arange(cells + 1, dtype=np.float32) * (size / cells)
    low, high = boxes_NF4[..., None, :2], boxes_NF4[..., None, 2:]  # (N, F, 1, 2): x and y
    overlap = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])  # (N, F, cells, 2)
    share = torch.from_numpy(overlap.clip(min=0) * (cells / size)).half()
    return share[..., None, :, 0] * share[..., :, None, 1]


def save_pipeline(
    model: TextToLatents, tokenizer: PreTrainedTokenizerFast, vae: AutoencoderKLWan, out: Path, geometry: Geometry = GEOMETRY
) -> None:
    """Save a whole `WanPipeline`, bf16, with the geometry of its clips beside it."""
    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=model.text_encoder,
        transformer=model.transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    )

    def write(folder: Path) -> None:
        pipeline.to(torch.bfloat16).save_pretrained(folder)
        for path in folder.glob("*/config.json"):  # where a part was loaded from is nobody's business
            config = json.loads(path.read_text())
            config.pop("_name_or_path", None)
            path.write_text(json.dumps(config, indent=2) + "\n")
        (folder / "geometry.json").write_text(json.dumps(asdict(geometry)) + "\n")

    publish_folder(out, write)
