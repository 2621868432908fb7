"""The autoencoder starts as the principal components of patches, and is measured on clips that it has not seen."""

from pathlib import Path

import numpy as np

from magicid.avatar.dataset import render
from magicid.avatar.pretrain_autoencoder import (
    autoencoder_figures,
    new_autoencoder,
    save_autoencoder,
    start_as_principal_components,
)


def test_figures_are_those_of_the_saved_autoencoder(tmp_path: Path) -> None:
    assert autoencoder_figures(tmp_path) == {}
    vae = new_autoencoder()
    start_as_principal_components(vae, np.concatenate([render(1, index).frames[::4] for index in range(4)]))
    save_autoencoder(vae, tmp_path)
    figures = autoencoder_figures(tmp_path, clips=2)
    assert list(figures) == ["autoencoder_psnr", "autoencoder_psnr_head"]
    assert all(12 < value < 40 for value in figures.values())
