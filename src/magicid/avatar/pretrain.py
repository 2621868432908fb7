"""Train the embedded world's models from nothing: `python -m magicid.avatar.pretrain [part ...]`.

Parts, in order: autoencoder, transformer (with its text encoder), judges. Each is resumable: the same command goes on
from its newest checkpoint under `--work`, and the finished models are saved under `--out` in the layout that the
package ships. `feedback` comes after all: the transformer of `--start` hears what the rewards' judges say of its clips.
Two more measure and show: `figures` prints how good the judges and the autoencoder are, `curves` draws the logs.
"""

import json
import sys
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from diffusers import AutoencoderKLWan
from transformers import PreTrainedTokenizerFast

from magicid.avatar.dataset import ClipStore, clip_store
from magicid.avatar.feedback import RewardModels
from magicid.avatar.guided import Guided, Teacher
from magicid.avatar.pretrain_feedback import FeedbackLoss, FeedbackSettings
from magicid.avatar.pretrain_folder import hold, train_with_bar
from magicid.avatar.pretrain_judges import JudgeSettings, train_judges
from magicid.avatar.pretrain_transformer import (
    GEOMETRY,
    MUON,
    Curriculum,
    TextToLatents,
    TransformerLoss,
    encode_store,
    frame_tokens,
    latents_shape,
    new_tokenizer,
    save_pipeline,
)
from magicid.avatar.truth import ACTIONS
from magicid.core import tables
from magicid.core.errors import MagicIDError, UsageError
from magicid.core.files import digest
from magicid.core.model_folder import read_geometry
from magicid.training.loop import LoopSettings

PARTS = ("autoencoder", "transformer", "judges")


@dataclass(frozen=True)
class Pretrain:
    """Which parts to train, where, and for how long."""

    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = PARTS
    work: Path = Path("work/pretrain")  # clips, latents and checkpoints
    out: Path = Path(__file__).parent / "weights"
    clips: int = 32_000  # rendered for training
    clips_from: int = 0  # the transformer's first: higher, and it trains on with clips and people that it has not seen
    autoencoder: LoopSettings = field(
        default=LoopSettings(steps=5000, learning_rate=4e-4, warmup_steps=100, cosine=True, betas=(0.9, 0.99))
    )
    transformer: LoopSettings = field(
        default=LoopSettings(
            steps=4000,
            learning_rate=1e-3,
            weight_decay=1e-2,
            warmup_steps=100,
            cosine=True,
            betas=(0.9, 0.99),
            ema_decay=0.998,
            muon=MUON,
        )
    )
    seed: int = 0  # of the transformer's draws of clips, sentences, noise and times: a training that goes on takes another
    start: Path | None = None  # a saved pipeline whose transformer and text encoder are trained on; None: from nothing
    curriculum: Curriculum = field(default=Curriculum())
    compile: bool = False  # the transformer's blocks, by torch.compile: a sixth faster, needs a C++ compiler
    judges: JudgeSettings = field(default=JudgeSettings())
    feedback: FeedbackSettings = field(default=FeedbackSettings())


def main(settings: Pretrain) -> None:
    """Train the parts that are asked for."""
    makers = {"autoencoder": autoencoder, "transformer": transformer, "judges": judges}
    makers |= {"feedback": feedback, "figures": figures, "curves": curves}
    for part in settings.parts:
        tables.check(makers, "part", part)
    for part in settings.parts:
        makers[part](settings)


def autoencoder(settings: Pretrain) -> None:
    """Train, measure and save the autoencoder."""
    from magicid.avatar import pretrain_autoencoder as part

    clips = min(settings.clips, 4000)
    hold(settings.work / "autoencoder", asdict(settings.autoencoder) | {"clips": clips}, None)
    store = clip_store(settings.work, seed=1, count=clips)
    vae = part.new_autoencoder()
    part.start_as_principal_components(vae, store.frames[:200, 8])
    loss = part.AutoencoderLoss(vae, store)
    train_with_bar("autoencoder", dict(vae.named_parameters()), loss, settings.autoencoder, settings.work)
    part.measure_latents(vae, store)
    part.save_autoencoder(vae, settings.out / "base" / "vae")


def transformer(settings: Pretrain) -> None:
    """Train the transformer and its text encoder on cached latents, and save the whole pipeline with the averaged weights."""
    if settings.curriculum.guided and (not settings.start or settings.curriculum.whole_from):
        rule = "a teacher needs weights to start from and whole clips"
        raise UsageError(f"curriculum.guided {settings.curriculum.guided}: {rule}; give --start and --curriculum.whole-from 0.")
    asked = asdict(settings.transformer) | {"curriculum": asdict(settings.curriculum)}
    model, tokenizer, vae, store = _begun(settings, "transformer", asked)
    cache = f"latents-{settings.clips_from}-{settings.clips}-{digest(settings.out / 'base' / 'vae')[:12]}.npy"
    latents = encode_store(vae, store, settings.work / cache)
    teacher = None
    if settings.curriculum.guided:
        teacher = _teacher(model, settings.curriculum.guided, vae, settings.compile)
    model.prepare(settings.compile)
    loss = TransformerLoss(model, tokenizer, store, latents, settings.curriculum, teacher, settings.seed)
    average = train_with_bar("transformer", dict(model.named_parameters()), loss, settings.transformer, settings.work)
    model.load_state_dict(average, strict=False)
    save_pipeline(model, tokenizer, vae, settings.out / "base")


def feedback(settings: Pretrain) -> None:
    """Train the transformer of `--start` by what reward models say of its own clips, and save the whole pipeline."""
    asked, judges = settings.feedback, settings.out / "judges"
    if not settings.start or "transformer" in settings.parts:
        raise UsageError(
            "feedback: it goes on with a network that draws clips; give its pipeline as --start, and no transformer."
        )
    if not 1 <= asked.batch <= asked.pool:
        raise UsageError(
            f"feedback.batch {asked.batch}: a step looks at 1 to {asked.pool} clips (feedback.pool); choose another."
        )
    if settings.clips < 2:
        raise UsageError(f"clips {settings.clips}: how faces look is learnt of 2 or more; raise --clips.")
    for action in asked.often:
        tables.check(ACTIONS, "action", action)
    rewards = RewardModels(judges)
    model, tokenizer, vae, store = _begun(settings, "feedback", asdict(asked) | {"judges": digest(judges)})
    geometry, _ = read_geometry(settings.work / "feedback" / "start", GEOMETRY)
    model.text_encoder.requires_grad_(False)
    vae.requires_grad_(False)
    before = _teacher(model, Guided(swing=asked.weights.swing), vae, settings.compile)
    model.prepare(settings.compile)
    loss = FeedbackLoss(model, before, vae, tokenizer, store, geometry, rewards, asked, settings.seed)
    weights = dict(model.transformer.named_parameters())
    average = train_with_bar("feedback", weights | loss.trajectories.state, loss, asked.loop, settings.work)
    model.transformer.load_state_dict({name: average[name] for name in weights if name in average}, strict=False)
    save_pipeline(model, tokenizer, vae, settings.out / "base", geometry)


def _begun(
    settings: Pretrain, name: str, asked: dict[str, Any]
) -> tuple[TextToLatents, PreTrainedTokenizerFast, AutoencoderKLWan, ClipStore]:
    """The networks as a training begins with them, and its clips; its folder holds what was `asked`."""
    folder = settings.out / "base" / "vae"
    if not (folder / "config.json").exists():
        raise UsageError(f"{folder}: no autoencoder, and latents are its own; train it first, or copy one there.")
    latents_of, kept = digest(folder), settings.work / name / "start"
    if settings.start and digest((kept if kept.exists() else settings.start) / "vae") != latents_of:
        raise UsageError(f"start {settings.start}: its autoencoder is not {folder}; weights go on with their own, copy it there.")
    asked = asked | {"vae": latents_of, "clips": settings.clips, "clips_from": settings.clips_from, "seed": settings.seed}
    start = hold(settings.work / name, asked, settings.start)
    store = clip_store(settings.work, seed=2, count=settings.clips, first=settings.clips_from)
    vae = AutoencoderKLWan.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = new_tokenizer()
    model = TextToLatents(vae.config.z_dim, len(tokenizer))
    if start:
        model.load(start)
    return model, tokenizer, vae, store


def _teacher(model: TextToLatents, guided: Guided, vae: AutoencoderKLWan, compile: bool) -> Teacher:
    """`model` as it is now, for good, under guidance."""
    frozen = deepcopy(model).requires_grad_(False).eval()
    frozen.prepare(compile)
    return Teacher(frozen, guided, frame_tokens(latents_shape(vae)))


def judges(settings: Pretrain) -> None:
    """Train and save the judges that are asked for."""
    train_judges(settings.judges, settings.work, settings.out)


def figures(settings: Pretrain) -> None:
    """Print how good the judges and the autoencoder are, as JSON."""
    from magicid.avatar.judge_data import reconstructor
    from magicid.avatar.judge_figures import judge_figures
    from magicid.avatar.pretrain_autoencoder import autoencoder_figures

    folder = settings.out / "base" / "vae"
    found = judge_figures(settings.work, settings.out / "judges", reconstruct=reconstructor(folder))
    print(json.dumps(found | autoencoder_figures(folder), indent=1))


def curves(settings: Pretrain) -> None:
    """Draw the logs as docs/images/pretraining.png."""
    from magicid.avatar.pretrain_curves import draw_curves

    draw_curves(settings.work, Path("docs/images/pretraining.png"))


if __name__ == "__main__":
    try:
        main(tyro.cli(Pretrain))
    except MagicIDError as error:
        print(f"pretrain: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
