"""Where a family's parts are and in which precision: what makes a large base fit a small device.

The base is frozen, so its weights may be stored in fewer bits than they are multiplied in, and may wait in the host's
memory; adapters stay in fp32 on the device. Text encoders and the autoencoder are guests there: they come when they are
called, and leave before the transformer works; with offload "block", encoders, which may be larger than the device, do
their few prompts in the host. By default nothing is moved, and all is as `Family.load` made it.

With fp8 or int8 weights and with blocks that are brought in, what a layer multiplied by stays on the device until its
gradient is taken; so a training needs `recompute`, which forgets it block by block (`need_recompute`).
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from magicid.core.checks import one_of
from magicid.core.errors import UsageError
from magicid.core.interfaces import Condition, Family

Precision = Literal["auto", "fp32", "bf16", "fp8", "int8"]
Offload = Literal["none", "model", "block"]
LARGE_FRAME = 512 * 512  # pixels, above which autoencoders work in tiles
HOST = torch.device("cpu")


def check(precision: str, offload: str) -> None:
    """`UsageError` for what is unknown, or needs a library that is not there."""
    one_of("", get_args(Precision), precision=precision)
    one_of("", get_args(Offload), offload=offload)
    if precision == "int8" and find_spec("torchao") is None:
        raise UsageError("precision 'int8': needs torchao; pip install 'magicid[gpu]', or set --precision fp8.")


def need_recompute(stage: str, recompute: str, precision: str, offload: str) -> None:
    """`UsageError` where a training would keep on the device what `precision` or `offload` is to keep off it."""
    asked = f"precision {precision}" if precision in ("fp8", "int8") else "offload block" if offload == "block" else ""
    if asked and recompute == "nothing":
        raise UsageError(
            f"{stage}.recompute nothing with {asked}: the gradient would keep all weights on the device; set --{stage}.recompute "
            "blocks, or attention."
        )


def weights_dtype(precision: str, where: torch.device) -> torch.dtype:
    """What the base's weights are loaded in; `auto` is bf16 on a GPU, fp32 on a CPU."""
    whole = precision == "fp32" or (precision == "auto" and where.type == "cpu")
    return torch.float32 if whole else torch.bfloat16


def place(family: Family, precision: str, offload: str, attention: str, where: torch.device) -> None:
    """Bring a family that was just loaded to `where`; before any adapter is added."""
    for transformer in transformers(family):
        if attention:
            _attend(transformer, attention)
        if precision == "fp8":
            transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
        if precision == "int8":
            _quantise(transformer)
    if offload == "none" or where == HOST:
        family.pipeline.to(where)
        return
    for transformer in transformers(family):
        if offload == "block":
            bring_in_blocks(transformer, where)
        else:
            transformer.to(where)
    lend(family, where, aside=offload == "model")


def transformers(family: Family) -> list[Any]:
    """The family's transformer, and its fellow experts where there are some."""
    return [part for name, part in family.pipeline.components.items() if name.startswith("transformer") and part is not None]


def guests(family: Family) -> tuple[list[nn.Module], list[nn.Module]]:
    """The text encoders, and all other parts that are not transformers: the autoencoder."""
    parts = {name: part for name, part in family.pipeline.components.items() if isinstance(part, nn.Module)}
    others = {name: part for name, part in parts.items() if not name.startswith("transformer")}
    encoders = [part for name, part in others.items() if name.startswith("text_encoder")]
    return encoders, [part for name, part in others.items() if not name.startswith("text_encoder")]


def blocks(transformer: nn.Module) -> list[str]:
    """Names of the modules that hold an attention, in the order of their work; each is one block of the network."""
    attentions = [name for name, module in transformer.named_modules() if hasattr(module, "set_processor")]  # diffusers' mark
    return list(dict.fromkeys(name.rpartition(".")[0] for name in attentions))


def lend(family: Family, where: torch.device, aside: bool, home: torch.device = HOST) -> None:
    """Let text encoders and autoencoder be at home, and the autoencoder come to `where` until the transformer works.

    With `aside` the encoders come as well, the transformer making room while they answer; else they answer at home.
    """
    encoders, others = guests(family)
    here: list[nn.Module] = []

    def leave(*unused: Any) -> None:
        while here:
            here.pop().to(home)

    def visiting(method: str) -> Callable[[Tensor], Tensor]:
        own = getattr(family, method)

        def call(given: Tensor) -> Tensor:
            if not here:
                here.extend(part.to(where) for part in others)
            result: Tensor = own(given)
            return result

        return call

    def encode_prompts(prompts: Sequence[str]) -> Condition:
        leave()
        if aside:
            _move(transformers(family), home)
            _move(encoders, where)
        condition = asked(prompts)
        if aside:
            _move(encoders, home)
            _move(transformers(family), where)
        return {name: tensor.to(where) for name, tensor in condition.items()}

    asked = family.encode_prompts
    for name, replacement in (("encode_prompts", encode_prompts), ("encode", visiting("encode")), ("decode", visiting("decode"))):
        setattr(family, name, replacement)
    for transformer in transformers(family):
        transformer.register_forward_pre_hook(leave)


def _move(parts: Sequence[nn.Module], where: torch.device) -> None:
    for part in parts:
        part.to(where)


def bring_in_blocks(transformer: nn.Module, where: torch.device) -> None:
    """Keep the blocks' weights in the host's memory, and bring each layer's in when it works; the rest moves to `where`."""
    from diffusers.hooks import apply_group_offloading

    inner = [transformer.get_submodule(name) for name in blocks(transformer)]
    away = {id(tensor) for block in inner for tensor in (*block.parameters(), *block.buffers())}
    for tensor in (*transformer.parameters(), *transformer.buffers()):
        if id(tensor) not in away:
            tensor.data = tensor.data.to(where)
    streams = where.type == "cuda"  # the next layer's weights travel while this one works
    for block in inner:
        apply_group_offloading(block, where, HOST, offload_type="leaf_level", use_stream=streams, record_stream=streams)
        for part in block.modules():
            _keep_here(part, where)
    # a stock loader of LoRAs would afterwards offload the whole transformer as it finds one block offloaded
    transformer._optionally_disable_offloading = lambda _pipeline: (False, False, False)  # type: ignore[assignment]


def _keep_here(part: nn.Module, where: torch.device) -> None:
    """Leave the few weights that are no layer's own (of norms, of a block) on the device: a backward pass reads them there."""
    hooks: Any = getattr(part, "_diffusers_hook", None)
    if hook := hooks and hooks.get_hook("group_offloading"):
        for tensor in (*hook.group.parameters, *hook.group.buffers):
            tensor.data = tensor.data.to(where)
        hook.group.parameters, hook.group.buffers = [], []


def tile(family: Family, height: int, width: int) -> None:
    """Let the autoencoder work in tiles, and clip by clip, where frames are large; else as the family made it."""
    vae, large = family.pipeline.vae, height * width > LARGE_FRAME
    made = vars(vae).setdefault("made_with", {way: getattr(vae, f"use_{way}", False) for way in ("tiling", "slicing")})
    for way, always in made.items():
        getattr(vae, f"{'enable' if large or always else 'disable'}_{way}", lambda: None)()


def _attend(transformer: Any, backend: str) -> None:
    """Compute attention by a backend of diffusers (`diffusers.models.attention_dispatch.AttentionBackendName`)."""
    try:
        transformer.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError) as error:
        said = " ".join(str(error).split())[:300]
        raise UsageError(f"attention {backend!r}: {said}; set --attention native, or none for diffusers' choice.") from error


def _quantise(transformer: nn.Module) -> None:
    """int8 weights of the blocks' linear layers, one scale a row."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    inner = tuple(f"{name}." for name in blocks(transformer))
    quantize_(transformer, Int8WeightOnlyConfig(), lambda module, name: isinstance(module, nn.Linear) and name.startswith(inner))
