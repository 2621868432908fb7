"""Draw what pretraining logged: `python -m magicid.avatar.pretrain curves` writes docs/images/pretraining.png."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from magicid.core.errors import UsageError
from magicid.training.log import Log

SHOWN = {"autoencoder": "psnr"}  # of a part; of all others the loss


def draw_curves(work: Path, path: Path) -> None:
    """One small plot a part, each a running mean over a fiftieth of its steps."""
    logs = sorted(work.rglob("log.jsonl"))
    if not logs:
        raise UsageError(f"{work}: no log of a training; curves are drawn of these. Name the folder of one with --work.")
    folders = [(log.parent, SHOWN.get(log.parent.name, "loss")) for log in logs]
    figure, axes = plt.subplots(2, -(-len(folders) // 2), figsize=(12, 5), layout="constrained")
    for axis, (folder, name) in zip(axes.flat, folders, strict=False):
        lines = Log(folder / "log.jsonl").read()
        for frames in sorted({line.get("frames", 0) for line in lines}):
            chosen = [line for line in lines if line.get("frames", 0) == frames]
            width = max(1, len(chosen) // 50)
            kernel = np.ones(width) / width
            values = np.convolve([line[name] for line in chosen], kernel, "valid")
            label = f"{frames:.0f} frames" if frames else None
            axis.plot([line["step"] for line in chosen][width - 1 :], values, label=label)
        axis.set_title(f"{folder.name}: {name}", fontsize=9)
        axis.tick_params(labelsize=7)
        if any(line.get("frames") for line in lines):
            axis.legend(fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
