"""The command line: a subcommand a stage, and those of `COMMANDS`.

The table of commands is printed without importing any of them; an error is one line, and its class is the exit code.
"""

import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated, TypeVar

from magicid.core import tables
from magicid.core.arguments import parsed
from magicid.core.errors import DataError, Interrupted, MagicIDError, ResourceError, UsageError, out_of_memory
from magicid.core.files import disk_full, no_room, writable
from magicid.core.pulse import listening, pulse, watched

T = TypeVar("T")


def run(arguments: Sequence[str]) -> None:
    """All stages: photos to a customised model, videos and a report."""
    _run(arguments, "run")


def prepare(arguments: Sequence[str]) -> None:
    """Look at photos: which will do, and what they lack; with --out RUN, the first stage of a run."""
    if any(word.split("=")[0] == "--out" for word in arguments):
        return _run(arguments, "prepare")
    from magicid.preview import Preview

    return parsed(Preview, arguments, "magicid prepare").run()


def generate(arguments: Sequence[str]) -> None:
    """A new video of a finished run's person."""
    import tyro

    from magicid.pipeline import generate_clip

    @dataclass(frozen=True)
    class Arguments:
        folder: tyro.conf.Positional[Path]  # a finished run
        prompt: tyro.conf.Positional[str]
        out: Path | None = None  # default: generated.mp4 in the run's folder, numbered
        seed: int = 0
        steps: int | None = None  # of sampling; default: as many as the run's own clips had
        adapter: Path | None = None  # a LoRA file that magicid exported, in place of the run's own

    asked = parsed(Arguments, arguments, "magicid generate")
    if asked.steps is not None and asked.steps < 1:
        raise UsageError(f"steps {asked.steps}: a clip is drawn in at least 1. Choose another --steps.")
    if asked.out and not writable(asked.out):
        raise UsageError(f"{asked.out}: a clip is one file in a folder that can be written. Choose another --out.")
    if asked.out and asked.out.suffix.lower() != ".mp4":
        raise UsageError(f"{asked.out}: clips are written as .mp4. Choose another --out.")
    out = asked.out or _free_name(asked.folder / "generated.mp4")
    print(generate_clip(asked.folder, asked.prompt, out, asked.seed, asked.steps, asked.adapter))


def export(arguments: Sequence[str]) -> None:
    """A run's adapter as a LoRA file, with a diffusers script and a ComfyUI workflow: magicid export RUN."""
    from magicid.exchange import Export

    print("\n".join(map(str, parsed(Export, arguments, "magicid export").run())))


def import_(arguments: Sequence[str]) -> None:
    """A LoRA of another trainer (musubi, kohya, diffusers) in our layout, verified: magicid import FILE --out FILE."""
    from magicid.exchange import Import

    print("\n".join(map(str, parsed(Import, arguments, "magicid import").run(_tell))))


def avatar(arguments: Sequence[str]) -> None:
    """Draw the photos of a new person: magicid avatar new --seed 7 --out photos/."""
    if not arguments or arguments[0] not in ("new", "--help", "-h"):
        raise UsageError(f"avatar {' '.join(arguments[:1]) or '(nothing)'}: unknown; use: magicid avatar new --seed 7 --out DIR.")
    from magicid.avatar.photos import new_photos

    drawn = parsed(new_photos, arguments[1:] if arguments[0] == "new" else arguments, "magicid avatar new")
    print(f"{len(drawn)} photos in {drawn[0].parent}")


def experiment(arguments: Sequence[str]) -> None:
    """Measure something and print a table or, with --json, one JSON object."""
    words, as_json = [a for a in arguments if a != "--json"], "--json" in arguments
    if not words or words[0].startswith("-"):
        print("experiments: " + ", ".join(tables.EXPERIMENTS))
        return
    name, *rest = words
    kind = tables.load(tables.EXPERIMENTS, "experiment", name)
    chosen = parsed(kind, rest, f"magicid experiment {name}")
    result = chosen.run(quiet=as_json)  # type: ignore[attr-defined]
    if as_json:
        import json

        from magicid.core.finite import finite

        print(json.dumps(finite(result), allow_nan=False))


def doctor(arguments: Sequence[str]) -> None:
    """Will it run here: the machine, each stage's memory, hours and disk, and one real step."""
    from magicid.doctor import Asked, report
    from magicid.pipeline import PRESETS

    rest, preset = _preset(arguments)
    about = f"--preset {' or '.join(PRESETS)}; shown: {preset}."
    report(parsed(Asked, rest, "magicid doctor", about, Asked(stages=PRESETS[preset])))


def runs(arguments: Sequence[str]) -> None:
    """The runs of a folder and their states: magicid runs [FOLDER]."""
    import tyro

    from magicid.runs import states

    @dataclass(frozen=True)
    class Arguments:
        folder: tyro.conf.Positional[Path] = Path("runs")

    found = states(parsed(Arguments, arguments, "magicid runs").folder)
    width = max((len(state.folder.name) for state in found), default=0)
    for state in found:
        print(f"{state.folder.name:<{width}}  {state.finished} of {len(tables.STAGES)} stages  {state}")


def resume(arguments: Sequence[str]) -> None:
    """Go on with a run by its own settings: magicid resume RUN."""
    import tyro

    from magicid import runs
    from magicid.pipeline import print_result

    @dataclass(frozen=True)
    class Arguments:
        folder: tyro.conf.Positional[Path]  # a run that was begun

    print_result(runs.resume(parsed(Arguments, arguments, "magicid resume").folder))


def fork(arguments: Sequence[str]) -> None:
    """A run of its own from another, with other settings from some stage on: magicid fork RUN --out NEW --optimize.beta 250."""
    import tyro

    from magicid import runs
    from magicid.pipeline import Pipeline, print_result, stored

    words = [word for before, word in pairwise(["", *arguments]) if before != "--out"]
    source = next((Path(word) for word in words if (Path(word) / "settings.yaml").is_file()), None)
    here = stored(source)[1] if source else Pipeline()

    @dataclass(frozen=True)
    class Arguments:
        folder: tyro.conf.Positional[Path]  # the run to start from; nothing of it is changed
        out: Path  # the new run's folder
        stages: Annotated[Pipeline, tyro.conf.arg(name="")] = field(default=here)  # shown: the old run's

    asked = parsed(Arguments, arguments, "magicid fork")
    first = runs.fork(asked.folder, asked.out, asked.stages)
    print(f"{asked.out}: {asked.folder} with other settings from {first!r} on" if first else f"{asked.out}: as {asked.folder}")
    print_result(runs.resume(asked.out))


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "run": run,
    "prepare": prepare,
    "generate": generate,
    "export": export,
    "import": import_,
    "avatar": avatar,
    "runs": runs,
    "resume": resume,
    "fork": fork,
    "experiment": experiment,
    "doctor": doctor,
}


def _run(arguments: Sequence[str], command: str) -> None:
    """`run`, or one stage of it: the same settings, stopping after the stage."""
    import tyro

    from magicid.core.run import EMBEDDED, Common
    from magicid.pipeline import PRESETS, Pipeline, print_result, run_pipeline

    rest, preset = _preset(arguments)
    named = len(rest) < len(arguments)

    @dataclass(frozen=True, kw_only=True)
    class Arguments(Common):
        photos: tyro.conf.Positional[Path]  # a folder with photos of one person
        out: Path  # the run's folder; the same command again goes on where it stopped
        stages: Annotated[Pipeline, tyro.conf.arg(name="")] = field(default=PRESETS[preset])

    about = f"Stages up to {command!r}." if command != "run" else "All stages."
    asked = parsed(Arguments, rest, f"magicid {command}", f"{about} --preset {' or '.join(PRESETS)}; shown: {preset}.")
    if asked.base != EMBEDDED and not named:
        rule = f"its rates are for another size of model than the preset {preset!r} is for"
        raise UsageError(f"base {asked.base}: {rule}; choose --preset paper, or say --preset {preset} if it is meant.")
    common = Common(**{setting.name: getattr(asked, setting.name) for setting in fields(Common)})
    until = None if command == "run" else command
    folder = run_pipeline(common, asked.stages, asked.out, until=until)
    print_result(folder)


def _preset(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The arguments without `--preset NAME` (or `--preset=NAME`), and the name."""
    from magicid.pipeline import PRESETS

    rest = [word for one in arguments for word in (one.split("=", 1) if one.startswith("--preset=") else [one])]
    preset = "quick"
    if "--preset" in rest:
        at = rest.index("--preset")
        preset = rest[at + 1] if at + 1 < len(rest) else ""
        del rest[at : at + 2]
        tables.check(PRESETS, "preset", preset)
    return rest, preset


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


def overview() -> str:
    """The help of `magicid` itself."""
    lines = ["usage: magicid COMMAND [options]    (magicid COMMAND --help)", ""]
    lines += [f"  {name:<12}{(function.__doc__ or '').splitlines()[0]}" for name, function in COMMANDS.items()]
    lines += ["", "  up to one stage: " + " ".join(stage for stage in tables.STAGES if stage not in COMMANDS)]
    lines += ["  experiments:     " + " ".join(tables.EXPERIMENTS)]
    lines += ["", "  --debug, with any command, shows where an error comes from"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold bytes that are no text
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        from magicid._version import __version__

        print(__version__)
        return 0
    debug = "--debug" in words
    name, *rest = [word for word in words if word != "--debug"] or [""]
    try:
        with listening(), watched(_watchdog_s()):
            if name in tables.STAGES and name not in COMMANDS:
                _run(rest, name)
            elif name in COMMANDS:
                COMMANDS[name](rest)
            else:
                tables.check((*COMMANDS, *tables.STAGES), "command", name)
            pulse("end")
    except KeyboardInterrupt:
        _tell("interrupted; run the same command again to go on.")
        os._exit(130)  # here, where threads that are still drawing are not waited for
    except BrokenPipeError:  # whoever read it has gone (`| head`); a run goes on with the same command
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Interrupted.exit_code
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        if debug:
            traceback.print_exc()
        _tell(" ".join(str(known).split()))
        return known.exit_code
    return 0


def _tell(line: str) -> None:
    """Print a line on stderr, if somebody is there to read it."""
    with suppress(OSError):
        sys.stdout.flush()
        print(f"magicid: {line}", file=sys.stderr, flush=True)


def _watchdog_s() -> float:
    """Seconds without a pulse after which a run is taken to hang; 0: never."""
    said = os.environ.get("MAGICID_WATCHDOG_SECONDS", "1800")
    try:
        return max(0.0, float(said))
    except ValueError:
        raise UsageError(f"MAGICID_WATCHDOG_SECONDS {said!r}: a number of seconds, or 0 for no watchdog. Set it so.") from None


def _known(error: Exception) -> MagicIDError | None:
    """The error as one that a user can act on, or None; classes of torch and safetensors are known by name."""
    if isinstance(error, MagicIDError):
        return error
    kind, said = type(error).__name__, " ".join(str(error).split())
    if no_room(error):
        return disk_full(Path(getattr(error, "filename", None) or "."))
    if out_of_memory(error):
        return ResourceError("out of memory; models and batches must fit. Close other programs, or use smaller batches.")
    if kind == "SafetensorError":
        return DataError(f"a .safetensors file cannot be read ({said}); it must be whole. Fetch or make it again.")
    return None
