"""`scripts/fuzz`: broken files, made from whole ones, are read for some time; only a `MagicIDError` may come out.

One process a target. Another exception is kept once for each place that raised it, and the search goes on; a crash, a hang or
too much memory ends it. The last line says: target, runs, seconds, failures.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults.fuzz_targets import TARGETS

MOST_MEMORY = 2048  # MB, with what the libraries take
LONGEST = 25  # seconds for one file
LARGEST = 65536  # bytes of one file


def search(name: str, seconds: int, folder: Path) -> None:
    """Search for faults of one target in this process; it never returns, since libFuzzer ends the process."""
    import atheris

    target = TARGETS[name]
    module, function = target.reader.split(":")
    with atheris.instrument_imports(include=["magicid", "PIL"]):
        read = getattr(__import__(module, fromlist=[function]), function)
    from magicid.core.errors import MagicIDError

    path, seen = folder / target.name, set[str]()

    def once(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read(path)
        except MagicIDError:
            pass
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
            if place not in seen:
                seen.add(place)
                kept = folder / "found" / f"exception-{len(seen)}"
                kept.write_bytes(data)
                print(f"FOUND {place}: {error} ({kept})", flush=True)

    limits = [f"-max_total_time={seconds}", f"-timeout={LONGEST}", f"-rss_limit_mb={MOST_MEMORY}", f"-max_len={LARGEST}"]
    places = [f"-artifact_prefix={folder / 'found'}/", str(folder / "seeds")]
    atheris.Setup([name, *limits, *places], once)
    atheris.Fuzz()


def fuzz(name: str, seconds: int) -> int:
    """Search in a process of its own and print its figures; how many faults were found."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for part in ("seeds", "found"):
        (folder / part).mkdir()
    TARGETS[name].seeds(folder / "seeds")
    begun = time.monotonic()
    words = [sys.executable, "-m", "tests.faults.fuzz", "--search", str(folder), "--seconds", str(seconds), name]
    with (folder / "log.txt").open("w+", errors="replace") as log:
        code = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT).returncode
        log.seek(0)
        said = log.read()
    found = re.findall(r"^FOUND .+", said, re.MULTILINE)
    if code or "DONE" not in said:
        found.append(f"the process ended with {code}; its last words:\n{said[-2000:]}")
    print(*found, sep="\n", end="\n" if found else "")
    if found:
        print(f"the files are in {folder}/found")
    else:
        shutil.rmtree(folder)
    runs = re.findall(r"^#(\d+)\s", said, re.MULTILINE)
    print(f"{name}: {runs[-1] if runs else 0} runs, {time.monotonic() - begun:.0f} seconds, {len(found)} failures", flush=True)
    return len(found)


def main(words: list[str]) -> int:
    """Fuzz all targets, or those named; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Feed broken files to what reads them.")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if unknown := [name for name in asked.targets if name not in TARGETS]:
        parser.error(f"{unknown[0]!r} is no target; there are {', '.join(TARGETS)}")
    if asked.search:
        search(asked.targets[0], asked.seconds, asked.search)
    return min(1, sum(fuzz(name, asked.seconds) for name in asked.targets or TARGETS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
