"""`scripts/reliability`: runs tests/faults as a pytest plugin, and writes docs/reliability.md from what came out."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.faults.rows import ROWS
from tests.faults.take_out import all_guards

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
HEAD = """# Reliability

What can go wrong in a run, what must happen then, and the tests that show it. `scripts/reliability` writes this page from
the tests' results. `scripts/guards` takes the line that the row's guard stands for out of a copy of the package: one of its
tests must then fail. `scripts/drill --kills 200` kills a small run at random moments and compares every byte with one left
alone; `scripts/fuzz` feeds broken files. Exit codes as users see them: [pipeline.md](pipeline.md).

I3: killed anywhere and resumed is the uninterrupted run, to the byte, on the same hardware (adapter, optimizer state,
pairs, scores, log). Not here yet: the web page's rows (59 to 64), consent and content credentials (65, 66). Faults of a GPU (23,
25) are made by doubles.

| # | fault or input | expected | tests | guard | state |
|---|---|---|---|---|---|
"""

results: dict[int, dict[str, str]] = defaultdict(dict)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a test's outcome under its row."""
    found = re.search(r"row_(\d\d)_", report.nodeid)
    if found and (report.when == "call" or report.outcome != "passed"):
        known = results[int(found[1])]
        known[report.nodeid] = report.outcome if known.get(report.nodeid, "passed") == "passed" else known[report.nodeid]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, where all processes' results come together."""
    if hasattr(session.config, "workerinput"):
        return
    guards = all_guards()
    lines = []
    for row, (fault, expected) in ROWS.items():
        outcomes = list(results[row].values())
        files = sorted({name.split("::")[0] for name in results[row]})
        failed, skipped = outcomes.count("failed"), outcomes.count("skipped")
        state = "no test" if not outcomes else f"{failed} fail" if failed else "passes" if len(outcomes) > skipped else "skipped"
        state += f" ({skipped} skipped here)" if skipped and state == "passes" else ""
        tests = f"{len(outcomes)} in " + ", ".join(f"`{file}`" for file in files)
        guard = f"`{guards[row][1].file}`" if row in guards else "none"
        lines.append(f"| {row} | {_cell(fault)} | {_cell(expected)} | {tests} | {guard} | {state} |")
    PAGE.write_text(HEAD + "\n".join(lines) + "\n")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
