"""Recognisers see what they were trained on, are read at their first use, and never judge what they reward."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from magicid.core.errors import DataError, UsageError
from magicid.core.interfaces import Judges
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.perception import model_files, real, recognisers
from magicid.perception.model_files import MODELS
from magicid.perception.recognisers import RECOGNISERS, Recogniser
from magicid.perception.text_judges import DEFAULTS
from tests.doubles import FakeDetector, FakeVideoText


class Session:
    """Stands for onnxruntime's: the mean of each channel of what it was shown."""

    def __init__(self, path: str, providers: Sequence[str]) -> None:
        assert providers == ["CPUExecutionProvider"]

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="data")]

    def run(self, _: None, shown: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        assert shown["data"].shape == (1, 3, 112, 112) and shown["data"].dtype == np.float32
        return [shown["data"].mean((2, 3))]


@pytest.fixture
def onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    there = SimpleNamespace(get_available_providers=lambda: ["CPUExecutionProvider"], InferenceSession=Session)
    monkeypatch.setitem(sys.modules, "onnxruntime", there)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "net.onnx").touch()
    return tmp_path / "net.onnx"


@pytest.mark.parametrize(("name", "seen"), [("sface", (255, 51, 102)), ("auraface", (1, -0.6, -0.2))])
def test_a_network_sees_red_first_in_its_own_range(onnxruntime: None, net: Path, name: str, seen: tuple[float, ...]) -> None:
    crops = np.full((2, 112, 112, 3), (255, 51, 102), np.uint8)
    found = Recogniser(name, lambda: net).embed(crops)
    assert np.allclose(found, np.array([seen] * 2) / np.linalg.norm(seen), atol=1e-4)


def test_no_faces_have_no_embeddings_of_the_right_length(onnxruntime: None, net: Path) -> None:
    assert Recogniser("sface", lambda: net).embed(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 3)


def test_what_onnxruntime_cannot_read_is_one_line(onnxruntime: None, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise Exception("INVALID_PROTOBUF: its classes are no one else's")

    monkeypatch.setattr(Session, "__init__", broken)
    with pytest.raises(DataError, match=r"net\.onnx: not a network that can be read; a face recogniser is an onnx file"):
        Recogniser("sface", lambda: net).embed(np.zeros((1, 112, 112, 3), np.uint8))


def judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Sequence[str], **settings: str) -> Judges:
    """The judges of real people where files of those names are beside the photos, none of which is a network."""
    monkeypatch.delenv("MAGICID_MODELS", raising=False)
    monkeypatch.setattr(real, "real_faces", lambda *_: FakeDetector())
    for name in ("yunet", "rfb", *RECOGNISERS):
        file = tmp_path / "models" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
        monkeypatch.setitem(model_files.MODELS, name, (model_files.ModelFile(name, model_files.model_hash(file), "MIT"),))
        if name not in ("yunet", "rfb", *here):
            file.unlink()
    return real.real(Common(tmp_path, judges="real", **settings))  # type: ignore[arg-type]


def names(found: Judges) -> tuple[str, str]:
    assert isinstance(found.face_reward, Recogniser) and isinstance(found.face_report, Recogniser)
    return found.face_reward.name, found.face_report.name


def test_reward_and_report_differ_and_free_networks_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(judges(tmp_path, monkeypatch, list(RECOGNISERS))) == ("sface", "auraface")
    assert names(judges(tmp_path, monkeypatch, ["mobileface", "insightface"]))[0] == "mobileface"
    assert names(judges(tmp_path, monkeypatch, list(RECOGNISERS), face_report="sface")) == ("auraface", "sface")
    assert names(judges(tmp_path, monkeypatch, list(RECOGNISERS), face_reward="auraface")) == ("auraface", "sface")


def test_what_rewards_does_not_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"face_reward 'sface' and face_report 'sface' are one network: .* --face-report"):
        judges(tmp_path, monkeypatch, ["sface"], face_reward="sface", face_report="sface")
    (tmp_path / "X").mkdir()
    monkeypatch.chdir(tmp_path)
    for same in (("clip", ""), ("clip:openai/clip-vit-large-patch14", "clip"), ("clip:X", "clip:./X")):
        with pytest.raises(UsageError, match=r"text_reward 'clip:(.*)' and text_report 'clip:\1' are one network"):
            judges(tmp_path, monkeypatch, ["sface"], text_reward=same[0], text_report=same[1])
    own = tmp_path / "own.onnx"
    own.write_text("a network")
    renamed = judges(tmp_path, monkeypatch, [], face_reward=f"sface:{own}", face_report=f"auraface:{own}")
    with pytest.raises(UsageError, match="are one network"):
        renamed.ready()


def test_prepare_needs_no_report_and_a_run_says_at_once_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = judges(tmp_path, monkeypatch, ["sface"])
    assert found.models()["evaluate.face_report_file"] == f"sha256:{MODELS['auraface'][0].sha256}"  # known, though not here
    with pytest.raises(DataError, match=r"auraface: not in .*models, and on no hub"):
        found.ready()
    assert judges(tmp_path, monkeypatch, ["sface", "auraface"]).models() == found.models()


def test_what_a_run_chose_it_keeps_whatever_comes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = judges(tmp_path, monkeypatch, ["mobileface"])
    assert names(first) == ("mobileface", "sface")
    folder = RunDir(tmp_path / "run")
    folder.freeze(first.models())
    (tmp_path / "models" / "sface").write_text("sface")  # fetched, for the report
    (tmp_path / "models" / "auraface").write_text("auraface")
    common = Common(tmp_path, judges="real")
    assert names(Run(folder, common).judges) == ("sface", "auraface")  # nothing has begun
    for stage in ("prepare", "score", "evaluate"):
        folder.stage(stage)
    monkeypatch.setitem(DEFAULTS, "vlm", "owner/newer")
    kept = Run(folder, common).judges
    assert names(kept) == ("mobileface", "sface") and kept.models() == first.models()
    folder.freeze(kept.models())
    other = Run(folder, replace(common, text_reward="vlm:owner/other")).judges
    with pytest.raises(UsageError, match=r"score\.text_reward: vlm:Qwen/\S+ there, vlm:owner/other asked"):
        folder.freeze(other.models())
    folder.close()


def test_networks_are_read_at_their_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made: list[str] = []

    def text_judge(name: str) -> FakeVideoText:
        made.append(name)
        return FakeVideoText()

    monkeypatch.setattr(real, "text_judge", text_judge)
    monkeypatch.setattr(real, "text_encoder", text_judge)
    found = judges(tmp_path, monkeypatch, ["sface", "auraface"])
    with pytest.raises(DataError, match="auraface: not a network that can be read; a face recogniser is an onnx file"):
        found.ready()
    assert not made
    with monkeypatch.context() as patch:
        patch.setattr(recognisers, "network", lambda path: lambda blob: np.ones((1, 4), np.float32))
        found.ready()
    assert found.text_reward.similarity([np.zeros((1, 4, 4, 3), np.uint8)], ["p"]).tolist() == [1] and len(made) == 2
    with pytest.raises(DataError, match="sface: not a network that can be read; a face recogniser is an onnx file"):
        found.face_reward.embed(np.zeros((1, 112, 112, 3), np.uint8))


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"detector": "rfb"}, "faces are found by yunet, or by yunet,rfb"),
        ({"detector": "yunet,sface"}, "faces are found by yunet"),
        ({"face_reward": "rfb"}, "rfb does not tell people apart; choose one of sface"),
    ],
)
def test_each_network_has_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], rule: str) -> None:
    with pytest.raises(UsageError, match=rule):
        judges(tmp_path, monkeypatch, ["sface", "auraface"], **settings)
    assert judges(tmp_path, monkeypatch, ["sface", "auraface"], detector="yunet").models()["detector_files"].count("sha256:") == 1


def test_the_embedded_judges_bring_their_own() -> None:
    with pytest.raises(UsageError, match=r"face_reward 'sface': the judges 'avatar' bring their own. Set --judges real"):
        Common(Path("photos"), face_reward="sface").check()
    Common(Path("photos"), judges="real", face_reward="sface").check()
