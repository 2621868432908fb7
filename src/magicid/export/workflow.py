"""The ready ComfyUI workflow beside an export: its API format, of ComfyUI's own nodes, with the recipe's numbers.

Read in ComfyUI's source, and not run here: the nodes' names and inputs; that `simple` over `ModelSamplingSD3` gives the
times of `core/diffusion.FlowMatching` where the steps divide 1,000; that noise is drawn as ours is, by the seed on the CPU.
A note cannot stand between the nodes, since every entry must have a class_type: it stands in the first one's `_meta`.
"""

from pathlib import Path
from typing import Any

from magicid.core.diffusion import FlowMatching
from magicid.export.programs import PROGRAMS
from magicid.export.recipe import Recipe

Node = dict[str, Any]
NOTE = (
    "Written by magicid, made by reading ComfyUI's source and not run in it. Put the LoRA into models/loras; choose your "
    "own files in the loaders. A browser rounds long seeds, which gives another clip than the run's."
)


def workflow(recipe: Recipe) -> dict[str, Node] | None:
    """Nodes by their numbers, or None for a model of two experts or a family that ComfyUI is not known to sample with."""
    program = PROGRAMS.get(recipe.family)
    if program is None or program.comfy is None or recipe.shift is None or recipe.terminal or recipe.adapter_low:
        return None
    comfy, nodes = program.comfy, dict[str, Node]()

    def add(kind: str, title: str, **inputs: Any) -> list[Any]:
        """A node; what is returned is a link to its first output."""
        nodes[str(len(nodes) + 1)] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
        return [str(len(nodes)), 0]

    name = Path(recipe.adapter).name
    model = add("UNETLoader", "base model", unet_name=comfy.model, weight_dtype="default")
    nodes["1"]["_meta"]["note"] = NOTE
    model = add("LoraLoaderModelOnly", "the person", model=model, lora_name=name, strength_model=recipe.strength)
    model = add("ModelSamplingSD3", "shift", model=model, shift=recipe.shift)
    loader, files = comfy.text
    clip = add(loader, "text encoder", **files)
    positive = add("CLIPTextEncode", f"prompt ({recipe.trigger} is the person)", text=recipe.prompt, clip=clip)
    if comfy.embedded:
        guidance = recipe.arguments[comfy.embedded]
        positive = add("FluxGuidance", "embedded guidance", conditioning=positive, guidance=guidance)
    negative = add("CLIPTextEncode", "negative prompt", text="", clip=clip)
    size = {"width": recipe.width, "height": recipe.height, "length": recipe.frames}
    latent = add("EmptyHunyuanLatentVideo", "size", **size, batch_size=1)
    for first, last, scale in _legs(recipe):
        latent = add(
            "KSamplerAdvanced",
            f"steps {first + 1} to {last}",
            model=model,
            add_noise="enable" if first == 0 else "disable",
            noise_seed=recipe.noise_seed,
            steps=recipe.steps,
            cfg=scale,
            sampler_name="euler",
            scheduler="simple",
            positive=positive,
            negative=negative,
            latent_image=latent,
            start_at_step=first,
            end_at_step=last,
            return_with_leftover_noise="enable" if last < recipe.steps else "disable",
        )
    images = add("VAEDecode", "decode", samples=latent, vae=add("VAELoader", "autoencoder", vae_name=comfy.vae))
    look = {"lossless": False, "quality": 90, "method": "default"}
    add("SaveAnimatedWEBP", "clip", images=images, filename_prefix="magicid", fps=recipe.fps, **look)
    return nodes


def _legs(recipe: Recipe) -> list[tuple[int, int, float]]:
    """(first step, the step after the last, guidance): one, or two where guidance changes on the way."""
    times = FlowMatching(recipe.shift or 1.0).times(recipe.steps)[:-1]
    guided = int((times >= recipe.guidance_until).sum()) if recipe.guidance != recipe.guidance_after else recipe.steps
    legs = [(0, guided, recipe.guidance), (guided, recipe.steps, recipe.guidance_after)]
    return [leg for leg in legs if leg[0] < leg[1]]
