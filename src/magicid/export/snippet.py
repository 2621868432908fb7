"""The ready diffusers script beside an export: one clip, by the stock pipeline alone, with no word of magicid in it.

It draws the noise of the run's own clip and takes the same steps, so that on one machine the clip is that clip. Left out:
quantisation and offloading beyond diffusers' plain one; how to fit a GPU is the user's.
"""

from importlib.metadata import version
from pathlib import Path
from string import Template

from magicid.core import tables
from magicid.export.programs import PROGRAMS, Program
from magicid.export.recipe import Recipe

_SCRIPT = Template('''"""A clip of the person, by diffusers alone.

Written by magicid $version beside the adapter, whose layers and predictions were compared in diffusers $diffusers before it
got its name; on a GPU this script is not tried. The base model's digest: $digest.
"""

from functools import partial
from pathlib import Path

import torch
from diffusers import $parts, $pipeline
from diffusers.utils import export_to_video

BASE = $base  # a folder in the diffusers layout, or a hub id
ADAPTER = Path(__file__).with_name($adapter_name)
STRENGTH = $strength
PROMPT = $prompt  # $trigger stands for the person
SEED = $seed
STEPS = $steps
SHIFT = $shift
TERMINAL = $terminal
FPS = $fps
NOISE = $noise_shape  # batch, channels, frames, height, width of the latents
CALL = {
$call}

cuda = torch.cuda.is_available()
kinds = {"default": torch.bfloat16, "vae": torch.$vae} if cuda else torch.float32
pipe = $pipeline.from_pretrained(BASE, ${commit}dtype=kinds)
$low$load
$sampler
if cuda:
    pipe.vae.enable_tiling()
    pipe.enable_model_cpu_offload()
$interval
noise = torch.randn(NOISE, generator=torch.Generator().manual_seed(SEED))
frames = pipe(prompt=PROMPT, num_inference_steps=STEPS, latents=$noise, output_type="np", **CALL).frames[0]
print(export_to_video(list(frames), str(ADAPTER.with_name("clip.mp4")), fps=FPS))
''')
_LOW = """\
low = {"weight_name": $name, "load_into_transformer_2": True}  # the model's second expert
pipe.load_lora_weights(str(ADAPTER.parent), adapter_name="person", **low)
"""
_INTERVAL = '''

def end_guidance(pipe, step, time, tensors):
    """Guidance acts down to time $until alone, 1 noise to 0 clean; the steps after it go without."""
    if step + 1 < STEPS and pipe.scheduler.sigmas[step + 1] < $until:
        pipe._guidance_scale = 1.0
    return tensors


CALL["callback_on_step_end"] = end_guidance
'''


def snippet(recipe: Recipe) -> str:
    """The script, for the adapter's file that stands beside it."""
    program = PROGRAMS.get(recipe.family, Program())
    size = {"negative_prompt": "", "num_frames": recipe.frames, "height": recipe.height, "width": recipe.width}
    call = size | recipe.arguments
    name, low = Path(recipe.adapter).name, Path(recipe.adapter_low).name
    interval = ""
    if recipe.guidance_until and recipe.guidance != recipe.guidance_after:
        until, after = str(recipe.guidance_until), recipe.guidance_after
        if low:
            call["guidance_scale_2"] = after  # from the time on at which the pipeline's experts part
        elif program.interval and after == 1:
            interval = Template(_INTERVAL).substitute(until=until)
        else:
            interval = f"# not here: below time {until} the run's own clips have guidance {after}"
    return _SCRIPT.substitute(
        version=recipe.version,
        diffusers=version("diffusers"),
        digest=recipe.base_digest[:16],
        pipeline=tables.PIPELINES[recipe.family],
        base=_text(recipe.base),
        commit=f"revision={_text(recipe.base_commit)}, " if recipe.base_commit else "",
        adapter_name=_text(name),
        strength=recipe.strength,
        prompt=_text(recipe.prompt),
        trigger=_text(recipe.trigger),
        seed=recipe.noise_seed,
        steps=recipe.steps,
        shift=recipe.shift,
        terminal=recipe.terminal,
        fps=recipe.fps,
        noise_shape=recipe.noise_shape,
        call="".join(f"    {_text(argument)}: {value!r},\n" for argument, value in call.items()),
        parts=program.parts,
        low=Template(_LOW).substitute(name=_text(low)) if low else "",
        load=program.load,
        sampler=program.sampler,
        interval=interval,
        noise=program.noise,
        vae=program.vae,
    )


def _text(text: str) -> str:
    """A literal of one line in ASCII, whatever the text holds."""
    return ascii(text)
