"""RAFT through a double of torchvision: the same motion code runs on it, and what is missing is one line."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from magicid.core.errors import DataError, UsageError
from magicid.core.files import sha256
from magicid.core.weights import write_weights
from magicid.perception.motion import subject_motion
from magicid.perception.optical_flow import dis, estimator, estimator_of, flow
from magicid.perception.raft import Raft
from magicid.stages.score import Score

SHAPES: list[tuple[int, ...]] = []
HEAD = (52.0, 30.0, 76.0, 58.0)


class Network(nn.Module):
    """Says that the lower half goes right by `speed` pixels as pictures grow brighter, and back as they grow darker."""

    def __init__(self) -> None:
        super().__init__()
        self.speed = nn.Parameter(torch.zeros(1))

    def forward(self, image1: Tensor, image2: Tensor, num_flow_updates: int) -> list[Tensor]:
        assert image1.min() >= -1 and image1.max() <= 1 and num_flow_updates > 0
        SHAPES.append(tuple(image1.shape))
        found = torch.zeros(1, 2, *image1.shape[2:])
        found[:, 0, 60:] = self.speed * torch.sign(image2.mean() - image1.mean())
        return [torch.zeros_like(found), found]


class Own:
    """Torchvision's weights, which come from its server."""

    @staticmethod
    def get_state_dict(**asked: Any) -> dict[str, Tensor]:
        assert asked == {"progress": False, "check_hash": True, "weights_only": True}
        return {"speed": torch.tensor([4.0])}


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    names = ("torchvision", "torchvision.models", "torchvision.models.optical_flow")
    made = [ModuleType(name) for name in names]
    for name, module in zip(names, made, strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    made[0].models, made[1].optical_flow = made[1], made[2]  # type: ignore[attr-defined]
    made[2].raft_large = lambda weights, progress: Network()  # type: ignore[attr-defined]
    made[2].Raft_Large_Weights = type("Weights", (), {"DEFAULT": Own})  # type: ignore[attr-defined]
    SHAPES.clear()
    yield made[2]


def pictures(height: int = 130, width: int = 203) -> list[Any]:
    return list(brighter(2, height, width))


def brighter(frames: int, height: int, width: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 200, (1, height, width, 3), np.uint8)
    return noise + (10 * np.arange(frames, dtype=np.uint8))[:, None, None, None]


@pytest.mark.usefixtures("torchvision")
def test_its_flow_is_in_the_pictures_own_pixels() -> None:
    found = Raft()(*pictures())
    assert found.shape == (130, 203, 2) and found.dtype == np.float32 and SHAPES == [(1, 3, 136, 208)]
    assert (found[60:, :, 0] == 4).all() and not found[:60].any()
    small = flow(*pictures(64, 64), estimate=Raft())
    assert SHAPES[1] == (1, 3, 128, 128) and small.shape == (64, 64, 2) and small[40:, :, 0].max() == pytest.approx(2)


@pytest.mark.usefixtures("torchvision")
def test_the_motion_measure_runs_on_it() -> None:
    frames = brighter(4, 128, 128)
    speed = subject_motion(frames, [HEAD] * 4, 8.0, Raft()).value
    resting = subject_motion(np.repeat(frames[:1], 4, 0), [HEAD] * 4, 8.0, Raft()).value
    assert speed > 0 and resting == 0


@pytest.mark.usefixtures("torchvision")
def test_its_weights_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "raft.safetensors"
    write_weights(file, {"speed": torch.tensor([6.0])})
    assert Raft(str(file))(*pictures())[..., 0].max() == 6
    Score(flow="raft", flow_weights=str(file)).check()
    assert Score(flow="raft", flow_weights=str(file)).weights_digest() == {"score.flow_weights_sha256": sha256(file)}
    assert not Score(flow="raft").weights_digest() and not Score(flow_weights=str(file)).weights_digest()
    write_weights(file, {"pace": torch.tensor([6.0])})
    with pytest.raises(DataError, match=r"^score\.flow_weights '.*': not of torchvision's raft_large; name"):
        Raft(str(file))
    (tmp_path / "raft.pth").write_bytes(b"\x80\x02")
    with pytest.raises(DataError, match=r"raft\.pth: a pickle, not safetensors"):
        Score(flow="raft", flow_weights=str(tmp_path / "raft.pth")).check()


def test_weights_that_do_not_come_are_one_line(torchvision: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(Own, "get_state_dict", offline)
    with pytest.raises(
        DataError, match=r"^score\.flow 'raft': torchvision's weights did not come \(.*no route.*\); go online once"
    ):
        Raft()


def test_without_torchvision_it_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    said = r"^score\.flow 'raft': torchvision is not installed; pip install 'magicid\[gpu\]', or choose --score\.flow dis\.$"
    with pytest.raises(UsageError, match=said):
        Score(flow="raft").check()
    Score().check()


@pytest.mark.usefixtures("torchvision")
def test_a_run_has_one_flow() -> None:
    assert estimator_of({}) is estimator_of({"score.flow": "dis"}) is estimator("dis") is dis
    assert isinstance(estimator_of({"score.flow": "raft"}), Raft)
