"""A step's numbers as JSON lines; TensorBoard's event file is made from them at the end, anew, so that it has one history."""

import json
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magicid.core.faults import reach
from magicid.core.files import append_line, damaged, publish_text

RECENT = 50  # steps that are kept at hand


class Log:
    """Appends `{"step": 3, "loss": 0.1}` lines to a file; a torn last line is not read, and `truncate` drops it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT)  # the last steps, oldest first

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; `DataError` where one is not what was written."""
        if not self.path.exists():
            return []
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]  # what stands after the last newline was torn off
            return [{"step": int(found["step"])} | found for found in map(json.loads, lines)]
        except (LookupError, TypeError, ValueError) as error:
            raise damaged(self.path, error, "delete it, and run the same command again: checkpoints stay") from error

    def write(self, step: int, numbers: Mapping[str, float | Sequence[str]]) -> None:
        """Append one step: numbers, and names."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = {"step": step} | dict(numbers)
        reach("log", str(step))
        append_line(self.path, json.dumps(line))
        self.recent.append(line)

    def truncate(self, step: int) -> None:
        """Forget the steps from `step` on: they are about to be done again."""
        kept = [line for line in self.read() if line["step"] < step]
        publish_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self.recent.clear()
        self.recent.extend(kept[-RECENT:])

    def to_tensorboard(self, folder: Path) -> None:
        """Write every number as a TensorBoard scalar under `folder`, in place of what is there."""
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]
        for line in self.read():
            for name, number in line.items():
                if name != "step" and isinstance(number, (int, float)):
                    writer.add_scalar(name, number, line["step"])  # type: ignore[no-untyped-call]
        writer.close()  # type: ignore[no-untyped-call]
