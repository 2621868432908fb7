"""`scripts/drill`: a small run, killed at random moments in all stages, against one left alone.

Its base is a random Wan model of the tests, so that a run takes seconds; with `--embedded`, the base model and judges of the
package.

Each attempt is killed after a random time (log-uniform, so that some die while they start and some late), and the same
command is given again, until the run is finished; then all its bytes are compared and another run begins. Every eighth run
is killed at a random point of the code instead: inside a save, between a file and its journal.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from magicid.core.tables import STAGES
from magicid.runs import state_of
from tests.families.tiny import tiny_materials
from tests.faults.attempts import SMALL, Attempt, contents

ROOT = Path(__file__).parent.parent.parent
POINTS = ("written", "published", "journal", "entered", "step", "micro", "checkpoint", "saved", "prune", "log", "denoise", "item")
MOST_ATTEMPTS = 60  # at one run, before it counts as unrecoverable


def materials(work: Path, embedded: bool) -> list[str]:
    """Photos and models, as the command line names them."""
    if embedded:
        return [str(ROOT / "examples" / "ava")]
    photos, base = tiny_materials(work)
    return [str(photos), "--preset", "quick", "--base", str(base), "--judges", "centred"]


def main() -> int:
    """Print what happened; the exit code is 0 where nothing was lost."""
    parser = argparse.ArgumentParser(prog="scripts/drill")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--embedded", action="store_true", help="the base model and judges of the package: minutes a run")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    asked = parser.parse_args()
    chance, work = random.Random(asked.seed), Path(tempfile.mkdtemp(prefix="drill-"))
    alone, words = work / "alone", ["run", *materials(work, asked.embedded), *SMALL.split(), "--out"]
    os.environ["TEST_THREADS"] = "2"  # clips are drawn side by side, as on users' machines
    Attempt(["--version"], work / "said.txt").wait()  # the process that attempts are forked from is there
    start = time.monotonic()
    first = Attempt([*words, str(alone)], work / "said.txt", report=False)
    if first.wait(600) != 0:
        print(first.said, file=sys.stderr)
        return 1
    whole, seconds = contents(alone), time.monotonic() - start
    counts, where = Counter[str](), Counter[str]()
    while counts["kills"] < asked.kills:
        drill([*words, str(work / f"run-{counts['runs']}")], asked.kills, seconds, chance, whole, counts, where)
        if not asked.json:
            print(f"\r{counts['kills']} kills, {counts['differences']} differences", end="", flush=True)
    result = {key: counts[key] for key in ("kills", "resumes", "differences", "unrecoverable", "runs")}
    shutil.rmtree(work) if not counts["differences"] + counts["unrecoverable"] else print(f"kept: {work}")
    print(f"\nkilled in: {dict(where)}; one run alone takes {seconds:.0f} s")
    print(json.dumps(result) if asked.json else result)
    return int(counts["differences"] + counts["unrecoverable"] > 0)


def drill(
    words: list[str],
    most: int,
    seconds: float,
    chance: random.Random,
    whole: dict[str, str],
    counts: Counter[str],
    where: Counter[str],
) -> None:
    """One run to its end, killed as often as chance has it."""
    run = Path(words[-1])
    counts["runs"] += 1
    at_points = counts["runs"] % 8 == 0
    for number in range(MOST_ATTEMPTS):
        fault = f"{chance.choice(list(STAGES))}:*:{chance.choice(POINTS)}:kill" if at_points and number < 6 else ""
        tried = Attempt(words, run.with_suffix(".txt"), {"MAGICID_FAULT": fault} if fault else {}, report=False)
        counts["resumes"] += number > 0
        if not fault and counts["kills"] < most and number < MOST_ATTEMPTS - 1:
            tried.process.join(0.2 * (5 * seconds) ** chance.random())
            tried.process.kill()
        code = tried.wait(600)
        if code == 0:
            found = contents(run)
            different = sorted(name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name))
            if different:
                counts["differences"] += len(different)
                print(f"{run}: {', '.join(different)} differ", file=sys.stderr)
            else:
                shutil.rmtree(run)
            return
        if code != -9:
            counts["unrecoverable"] += 1
            print(f"{run}: exit code {code}\n{tried.said}", file=sys.stderr)
            return
        counts["kills"] += 1
        where[state_of(run).stopped_in or "finished"] += 1
    counts["unrecoverable"] += 1


if __name__ == "__main__":
    sys.exit(main())
