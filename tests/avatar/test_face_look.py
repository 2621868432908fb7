"""How unlike a drawn face a crop looks: real ones hardly, painted ones much, and the way back is told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from magicid.avatar.dataset import HELD_OUT, clip_store, render
from magicid.avatar.face_look import FaceLook
from magicid.perception.face import align
from magicid.perception.networks import CROP, to_input


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> FaceLook:
    return FaceLook(clip_store(tmp_path_factory.mktemp("store"), seed=2, count=200))


@pytest.fixture(scope="module")
def faces() -> Tensor:
    clips = [render(HELD_OUT, i) for i in range(12)]
    return to_input(np.stack([align(clip.frames[i], clip.landmarks[i], CROP) for i, clip in enumerate(clips)]))


def test_faces_of_people_that_it_has_not_seen_look_usual(look: FaceLook, faces: Tensor) -> None:
    assert look(faces).shape == (12,) and float(look(faces).mean()) < 0.25


@pytest.mark.parametrize("paint", [(0.4, -0.6, -0.8), (0.3, -0.9, 0.3), (-0.5, 0.5, -0.5)])  # orange, magenta, green
def test_painted_faces_do_not(look: FaceLook, faces: Tensor, paint: tuple[float, ...]) -> None:
    painted = (faces + torch.tensor(paint).reshape(3, 1, 1)).clamp(-1, 1)
    assert float(look(painted).mean()) > float(look(faces).mean()) + 0.3


def test_its_gradient_takes_paint_away(look: FaceLook, faces: Tensor) -> None:
    painted = (faces + torch.tensor((0.3, -0.5, -0.5)).reshape(3, 1, 1)).clamp(-1, 1).requires_grad_(True)
    (slope,) = torch.autograd.grad(look(painted).sum(), painted)
    assert bool(slope.isfinite().all())
    assert float(slope[:, 0].mean()) > 0 > float(slope[:, 1:].mean())
    with torch.no_grad():
        assert (look(painted - 100 * slope) <= look(painted)).all()


def test_a_store_of_few_clips_will_do(tmp_path: Path, faces: Tensor) -> None:
    few = FaceLook(clip_store(tmp_path, seed=2, count=3))
    painted = (faces + torch.tensor((0.4, -0.6, -0.8)).reshape(3, 1, 1)).clamp(-1, 1)
    assert few.usual > 0 and float(few(painted).mean()) > float(few(faces).mean())
