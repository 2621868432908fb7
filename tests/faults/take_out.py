"""`scripts/guards`: for each row, the guard taken out of a copy of the package, its tests run there, one of them failing."""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults.guards import Guard

ROOT = Path(__file__).parent.parent.parent


def all_guards() -> dict[int, tuple[str, Guard]]:
    """Row -> the module of its tests, and its guard."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.faults.{path.stem}")
        found |= {row: (path.name, guard) for row, guard in getattr(module, "GUARDS", {}).items()}
    return dict(sorted(found.items()))


def noticed(row: int, tests: str, guard: Guard) -> bool:
    """Whether the row's tests fail without the guard."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "src" / "magicid"
        shutil.copytree(ROOT / "src" / "magicid", package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
        (package / "avatar" / "weights").symlink_to(ROOT / "src" / "magicid" / "avatar" / "weights")
        source = package / guard.file
        text = source.read_text()
        assert text.count(guard.text) == 1, f"row {row}: {guard.text!r} stands {text.count(guard.text)} times in {guard.file}"
        source.write_text(text.replace(guard.text, guard.instead))
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            f"tests/faults/{tests}",
            "-k",
            f"row_{row:02d}_",
        ]
        done = subprocess.run(
            words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(package.parent)}, capture_output=True, text=True
        )
    assert done.returncode in (0, 1), f"row {row}: the tests did not run\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.returncode == 1


def main(rows: list[str]) -> int:
    """Try all rows, or those named; the number of guards that nothing misses."""
    silent = 0
    for row, (tests, guard) in all_guards().items():
        if not rows or str(row) in rows:
            seen = noticed(row, tests, guard)
            silent += not seen
            print(f"{row:3d} {'noticed' if seen else 'NOT MISSED'}: {guard.file}: {guard.text}", flush=True)
    return silent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
