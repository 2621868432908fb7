"""The clips that an experiment compares: a run's own, and those of more methods for the same prompts and seeds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from magicid.baselines.magic_me import load_rows, said_with_keywords
from magicid.core.files import text_digest
from magicid.core.interfaces import Frames
from magicid.core.records import Adapter, Video
from magicid.core.run import Run
from magicid.media.video import read_video
from magicid.training import keywords
from magicid.training.adapters import loaded, read_adapter
from magicid.training.clips import Wanted, make_clips

FOLDER = "comparison"  # of the run directory


@dataclass(frozen=True, eq=False)
class Shown:
    """One clip of one method."""

    method: str
    place: str  # "003-0": prompt and seed; every method has one clip at each
    prompt: str  # with the trigger words
    key: str  # names all that the frames depend on: they are measured once
    frames: Callable[[], Frames]


@dataclass(frozen=True)
class Method:
    """What draws clips: an adapter at a strength, or new words."""

    name: str
    run: Run  # where the adapter was made
    adapter: Adapter
    strength: float = 1.0
    words: bool = False  # the adapter holds rows of new words, which replace the trigger words


def places(run: Run) -> dict[str, Video]:
    """The base model's clips by place: they say which prompts and seeds every method gets."""
    return {_place(video): video for video in run.dir.read("generate", Video) if video.origin == "base"}


def generated(run: Run, methods: Mapping[str, str]) -> list[Shown]:
    """The clips of the run's own stages; `methods` names an origin's method."""
    return [
        _shown(run, methods[video.origin], _place(video), video.prompt, video)
        for video in run.dir.read("generate", Video)
        if video.origin in methods
    ]


def drawn(run: Run, method: Method, frames: int = 0) -> list[Shown]:
    """The method's clips at every place, of so many frames (0: as many as those of the stage `generate`, which draws alike).

    What is there already is not drawn again.
    """
    settings, wanted = run.dir.settings(), places(run)
    made = f"{method.adapter.sha256[:8]}-{method.strength:g}"  # two methods with one adapter share their clips
    made += f"-{frames}f" if frames else ""
    size = replace(run.drawn, frames=frames) if frames else run.drawn
    name = None if method.words else method.name
    with _loaded(run, method) as said:
        asked = [
            Wanted(f"{place}-{made}-{text_digest(v.prompt)}", method.name, said(v.prompt), v.seed, name, method.strength)
            for place, v in wanted.items()
        ]
        steps, batch, guidance = (settings[f"generate.{key}"] for key in ("steps", "batch", "guidance"))
        videos = make_clips(run, FOLDER, asked, steps, batch, guidance, size)
    return [
        _shown(run, method.name, place, like.prompt, video) for (place, like), video in zip(wanted.items(), videos, strict=True)
    ]


@contextmanager
def _loaded(run: Run, method: Method) -> Iterator[Callable[[str], str]]:
    """The method in the family's memory; gives what is to be said for a prompt."""
    method.run.family = run.family  # one base model in memory
    if method.words:
        rows = load_rows(run, read_adapter(method.run, method.adapter))
        count = len(next(iter(rows.values())))
        with keywords.using(run.family, rows):
            yield lambda prompt: said_with_keywords(prompt, run.common.trigger, count)
        return
    with loaded(method.run, {method.name: method.adapter}):
        yield lambda prompt: prompt


def _shown(run: Run, method: str, place: str, prompt: str, video: Video) -> Shown:
    return Shown(method, place, prompt, video.sha256, lambda: read_video(run.file(video.file))[0])


def _place(video: Video) -> str:
    return video.id.split("-", 1)[1]
