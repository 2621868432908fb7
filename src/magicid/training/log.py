"""A step's numbers as JSON lines; TensorBoard's event file is written from them at the end, so a resumed run has one history."""

import json
from pathlib import Path
from typing import Any

from magicid.core.files import publish_text


class Log:
    """Appends `{"step": 3, "loss": 0.1}` lines to a file; a torn last line is dropped when it is opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """All whole lines."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().split("\n")[:-1]  # what stands after the last newline was torn off
        return [json.loads(line) for line in lines]

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Append one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step} | numbers) + "\n")

    def truncate(self, step: int) -> None:
        """Forget the steps from `step` on: they are about to be done again."""
        kept = [json.dumps(line) + "\n" for line in self.read() if line["step"] < step]
        publish_text(self.path, "".join(kept))

    def to_tensorboard(self, folder: Path) -> None:
        """Write every number as a TensorBoard scalar under `folder`."""
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]
        for line in self.read():
            for name, number in line.items():
                if name != "step":
                    writer.add_scalar(name, number, line["step"])  # type: ignore[no-untyped-call]
        writer.close()  # type: ignore[no-untyped-call]
