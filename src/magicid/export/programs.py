"""What other programs call the parts of each family: one entry a family, data alone.

A family without an entry is exported all the same: its snippet gives the stock pipeline `guidance_scale` alone, and no
workflow is written. A family without `comfy` has no nodes of ComfyUI's own, or none that are known to take its LoRA.
"""

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from magicid.core.interfaces import Family

FLOW = """\
pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT, shift_terminal=TERMINAL)
evenly = [1 - i / STEPS for i in range(STEPS)]  # before the shift, as the clips of the run have them
pipe.scheduler.set_timesteps = partial(pipe.scheduler.set_timesteps, sigmas=evenly)"""

LOAD = """\
pipe.load_lora_weights(str(ADAPTER.parent), weight_name=ADAPTER.name, adapter_name="person")
pipe.set_adapters(["person"], [STRENGTH])"""
LOAD_TRANSFORMER = """\
pipe.transformer.load_lora_adapter(str(ADAPTER.parent), weight_name=ADAPTER.name, adapter_name="person")
pipe.transformer.set_adapters(["person"], [STRENGTH])"""
GUIDER = """
pipe.guider = ClassifierFreeGuidance(guidance_scale=CALL.pop("guidance_scale"))
for name in ("system_message", "prompt_template_encode_start_idx", "tokenizer_max_length"):
    setattr(pipe, name, CALL.pop(name))"""
DDIM = """\
same = {"timestep_spacing": "trailing", "set_alpha_to_one": True, "clip_sample": False}  # as the clips of the run have it
pipe.scheduler = CogVideoXDDIMScheduler.from_config(pipe.scheduler.config, **same)"""


@dataclass(frozen=True)
class Comfy:
    """ComfyUI's own nodes and files for a base model, as its documentation names them."""

    model: str  # in models/diffusion_models
    text: tuple[str, dict[str, str]]  # the loader of the text encoders, and its inputs
    vae: str  # in models/vae
    embedded: str = ""  # the pipeline's argument that is guidance as an input of the network; "": none


@dataclass(frozen=True)
class Program:
    """How a family is driven from elsewhere."""

    call: dict[str, str] = field(default_factory=lambda: {"guidance_scale": "guidance"})  # pipeline's argument -> the family's
    comfy: Comfy | None = None
    load: str = LOAD  # lines of the script that put the adapter into `pipe`
    parts: str = "FlowMatchEulerDiscreteScheduler"  # of diffusers, for `sampler`
    sampler: str = FLOW  # lines of the script that put `pipe` on the sampler of training/sampling
    noise: str = "noise"  # the pipeline's `latents`, from noise (1, C, F, H, W)
    vae: str = "float32"  # the autoencoder's dtype on a GPU
    interval: bool = False  # whether `pipe._guidance_scale` may change between steps, for an interval of guidance


PROGRAMS = {
    "wan": Program(
        call={"guidance_scale": "guidance", "max_sequence_length": "tokens"},
        comfy=Comfy(
            model="wan2.1_t2v_1.3B_fp16.safetensors",
            text=("CLIPLoader", {"clip_name": "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "type": "wan"}),
            vae="wan_2.1_vae.safetensors",
        ),
        interval=True,
    ),
    "hunyuan_video": Program(
        call={
            "guidance_scale": "embedded_guidance",
            "true_cfg_scale": "guidance",
            "max_sequence_length": "tokens",
            "prompt_template": "prompt_template",
        },
        comfy=Comfy(
            model="hunyuan_video_t2v_720p_bf16.safetensors",
            text=(
                "DualCLIPLoader",
                {
                    "clip_name1": "clip_l.safetensors",
                    "clip_name2": "llava_llama3_fp8_scaled.safetensors",
                    "type": "hunyuan_video",
                },
            ),
            vae="hunyuan_video_vae_bf16.safetensors",
            embedded="guidance_scale",
        ),
    ),
    "hunyuan_video15": Program(  # ComfyUI has no map from these names: export/hunyuan_video15.py
        call={
            "guidance_scale": "guidance",
            "system_message": "pipeline.system_message",
            "prompt_template_encode_start_idx": "pipeline.prompt_template_encode_start_idx",
            "tokenizer_max_length": "pipeline.tokenizer_max_length",
        },
        load=LOAD_TRANSFORMER,
        parts="ClassifierFreeGuidance, FlowMatchEulerDiscreteScheduler",
        sampler=FLOW + GUIDER,
    ),
    "cogvideox": Program(  # ComfyUI has no map from these names: export/cogvideox.py
        call={"guidance_scale": "guidance", "max_sequence_length": "tokens"},
        parts="CogVideoXDDIMScheduler",
        sampler=DDIM,
        noise="noise.transpose(1, 2).to(pipe.transformer.dtype)",  # which this pipeline leaves to its caller
        vae="bfloat16",  # it decodes latents as they are
    ),
    "ltx": Program(  # ComfyUI reads the LoRA; its schedule has nodes of its own (LTXVScheduler), which are not written yet
        call={"guidance_scale": "guidance", "max_sequence_length": "tokens", "frame_rate": "geometry.fps"},
        noise="pipe._pack_latents(noise)",
    ),
}


def arguments(family: Family, guidance: float) -> dict[str, Any]:
    """What the stock pipeline is called with, besides prompt, size, steps and noise."""
    call = PROGRAMS.get(family.name, Program()).call
    return {argument: guidance if ours == "guidance" else attrgetter(ours)(family) for argument, ours in call.items()}
