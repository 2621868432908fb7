"""What `scripts/fuzz` feeds broken files to: a target is a reader of one file, and whole files to begin with, drawn in code.

The package and Pillow are imported in functions only: what is imported before the search is not watched for coverage.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Target(NamedTuple):
    """Something that reads files of strangers, and what a search for its faults starts from."""

    reader: str  # module:function of one path
    name: str  # of the file that is read
    seeds: Callable[[Path], None]  # fills a folder


def photo_seeds(folder: Path) -> None:
    """Each format, mode and kind of header that photos come with, a few hundred bytes each."""
    from PIL import Image, TiffImagePlugin

    small = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8))
    exif = Image.Exif()
    exif[0x112], exif[0x11A] = 6, TiffImagePlugin.IFDRational(72, 1)  # orientation, resolution
    for mode in ("RGB", "RGBA", "P", "L", "LA", "1", "I;16"):
        image = Image.fromarray(np.full((4, 4), 40000, np.uint16)) if mode == "I;16" else small.convert(mode)
        image.save(folder / f"{mode}.png".replace(";", ""), exif=exif)
    small.save(folder / "key.png", transparency=(1, 2, 3), dpi=(72, 72))
    small.convert("P").save(folder / "keyed.png", transparency=b"\0\x80")
    for mode in ("RGB", "CMYK", "L"):
        small.convert(mode).save(folder / f"{mode}.jpg", exif=exif)
    small.save(folder / "progressive.jpg", progressive=True, optimize=True)
    small.save(folder / "two.jpg", format="MPO", save_all=True, append_images=[small.rotate(180)])
    small.save(folder / "lossy.webp", exif=exif)
    small.convert("RGBA").save(folder / "alpha.webp", lossless=True)
    small.save(folder / "moving.webp", save_all=True, append_images=[small.rotate(180)])
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()
    small.resize((64, 64)).save(folder / "photo.heic", exif=exif)
    small.convert("RGBA").resize((64, 64)).save(folder / "alpha.heic")


def video_seeds(folder: Path) -> None:
    """Clips of a few frames, as we write them."""
    from magicid.media.video import write_video

    clip = np.zeros((3, 16, 16, 3), np.uint8)
    for t in range(3):
        clip[t, 4:12, t : t + 8] = (220, 60, 30)
    write_video(folder / "enlarged.mp4", clip, 8)
    write_video(folder / "plain.mp4", clip, 23.976, enlarge=1)
    write_video(folder / "still.mp4", clip[:1], 8, enlarge=2)


def weights_seeds(folder: Path) -> None:
    """Files of a few tensors: of many dtypes, empty ones, with metadata, and what is none."""
    import torch
    from safetensors.torch import save_file

    kinds = (torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint16, torch.bool, torch.complex64)
    tensors = {str(kind): torch.zeros(2, 3, dtype=kind) for kind in kinds}
    save_file(tensors, folder / "kinds", {"format": "pt"})
    save_file({"scalar": torch.tensor(1.0), "empty": torch.zeros(0, 5)}, folder / "shapes")
    save_file({}, folder / "nothing")
    torch.save({"w": torch.zeros(2)}, folder / "pickle")


def adapter_seeds(folder: Path) -> None:
    """LoRA files of the tiny models' layers, with and without a story."""
    import json

    import torch
    from safetensors.torch import save_file

    def pair(layer: str, rows: int, rank: int = 1) -> dict[str, torch.Tensor]:
        made = {"A": torch.ones(rank, 32), "B": torch.ones(rows, rank)}
        return {f"diffusion_model.{layer}.lora_{half}.weight": tensor for half, tensor in made.items()}

    parts = [f"blocks.{i}.{kind}.{part}" for i in range(2) for kind in ("self_attn", "cross_attn") for part in "qkvo"]
    wan = {key: tensor for part in parts for key, tensor in pair(part, 32).items()}
    story = {"base_digest": "0123456789abcdef", "trigger": "sks dog", "subject": "ab12cd34", "slot": "person", "targets": []}
    story |= {"adapter_sha256": "fedcba9876543210"}
    save_file(wan, folder / "wan", {"magicid": json.dumps(story)})
    save_file({key: tensor.half() for key, tensor in wan.items()}, folder / "wan-half")
    hunyuan = pair("double_blocks.0.img_attn_qkv", 96, 3) | pair("single_blocks.1.linear1", 7 * 32, 4)
    save_file(hunyuan | pair("double_blocks.1.txt_mlp.fc1", 128), folder / "hunyuan")


TARGETS = {
    "photo": Target("magicid.media.photo:read_photo", "photo.jpg", photo_seeds),
    "video": Target("magicid.media.video:read_video", "video.mp4", video_seeds),
    "weights": Target("magicid.core.weights:read_weights", "w.safetensors", weights_seeds),
    "lora": Target("tests.faults.fuzz_readers:adapter", "lora.safetensors", adapter_seeds),
}
