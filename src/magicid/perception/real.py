"""The judges of real people: faces found by two networks, told apart by one for the rewards and another for the report.

By default YuNet and RFB find faces, SFace rewards and AuraFace reports (the licences of all four allow any use), or
whichever of them and MobileFace are on this machine already; insightface's packs, for non-commercial use, only where they are
asked for. A vision-language model rewards text, CLIP reports it (perception/text_judges.py). Files are looked for when
they are needed: `prepare` works with a detector and one recogniser.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magicid.core.errors import UsageError
from magicid.core.interfaces import FaceDetector, Frames, Judges
from magicid.core.late import Late
from magicid.core.run import CHOSEN, Common
from magicid.perception.model_files import choose_model, find_model, known_hash, model_hash, model_name
from magicid.perception.recognisers import RECOGNISERS, Recogniser
from magicid.perception.text_judges import text_encoder, text_judge, whole_name
from magicid.perception.yunet import real_faces

DETECTORS = ("yunet", "rfb")  # one that gives landmarks, and one that must agree
CHOICE = ("sface", "auraface", "mobileface")  # of recognisers, in this order
TEXT_REWARD, TEXT_REPORT = "vlm", "clip"


def real(common: Common) -> Judges:
    """All of them, each in its role, as the settings say; what is found now is named in `Judges.models`.

    `UsageError` where a network would be both reward and report; `DataError` where a file that `prepare` needs is missing.
    """
    near = common.photos
    detector, detector_files = _detector(common.detector, near)
    reward_name = common.face_reward or _choice(common.face_report, near)
    report_name = common.face_report or _choice(reward_name, near)
    text = (whole_name(common.text_reward or TEXT_REWARD), whole_name(common.text_report or TEXT_REPORT))
    _refuse_leak("face", reward_name, report_name, model_name(reward_name) == model_name(report_name))
    _refuse_leak("text", *text, text[0] == text[1])
    reward, report = _recogniser(reward_name, near), _recogniser(report_name, near)
    used = {"face_reward": model_name(reward_name), "face_report": model_name(report_name)}
    used |= {"text_reward": text[0], "text_report": text[1]}
    frozen = {f"{CHOSEN[name]}.{name}": model for name, model in used.items()}
    frozen |= {"face_reward_file": _named(reward.path()), "detector_files": detector_files}
    judges = TextJudge(text_judge, text[0]), TextJudge(text_encoder, text[1])

    def models() -> dict[str, str]:
        return frozen | {"evaluate.face_report_file": f"sha256:{known_hash(report_name, near)}"}

    def ready() -> None:
        _refuse_leak("face", reward_name, report_name, model_hash(report.path()) == model_hash(reward.path()))
        report.embed(np.empty((0, report.crop_size, report.crop_size, 3), np.uint8))  # so that its file has been read
        for judge in judges:
            judge.judge()

    return Judges(detector, reward, report, *judges, models=models, ready=ready)


class TextJudge:
    """A text judge that is made at its first use; `embed_video` is asked of the report's alone, which has it."""

    def __init__(self, make: Callable[[str], Any], name: str) -> None:
        self.judge = Late[Any](partial(make, name))

    def similarity(self, clips: Sequence[Frames], sentences: Sequence[str]) -> NDArray[np.float32]:
        """Of each clip with its own sentence (N,); nan where a clip could not be judged."""
        return np.asarray(self.judge().similarity(clips, sentences))

    def embed_video(self, clips: Sequence[Frames]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of clips."""
        return np.asarray(self.judge().embed_video(clips))


def _detector(asked: str, near: Path) -> tuple[FaceDetector, str]:
    """The detector of "", "yunet" or "yunet,rfb", each also as NAME:PATH, and its files."""
    names = asked.split(",") if asked else list(DETECTORS)
    if tuple(map(model_name, names)) not in (DETECTORS[:1], DETECTORS):
        raise UsageError(f"detector {asked!r}: faces are found by yunet, or by yunet,rfb, which must agree. Choose one.")
    paths = [find_model(name, near) for name in names]
    return real_faces(paths[0], paths[1] if paths[1:] else None), ", ".join(map(_named, paths))


def _recogniser(asked: str, near: Path) -> Recogniser:
    name = model_name(asked)
    if name not in RECOGNISERS:
        raise UsageError(f"{asked}: {name} does not tell people apart; choose one of {', '.join(RECOGNISERS)}.")
    return Recogniser(name, partial(find_model, asked, near))


def _choice(other: str, near: Path) -> str:
    """A recogniser beside another."""
    return choose_model([name for name in CHOICE if not other or name != model_name(other)], near)


def _refuse_leak(kind: str, reward: str, report: str, same: bool) -> None:
    if same:
        raise UsageError(
            f"{kind}_reward {reward!r} and {kind}_report {report!r} are one network: what is rewarded is no measure any more. "
            f"Choose another --{kind}-report."
        )


def _named(path: Path) -> str:
    """A file in the settings: its sha256, by which it is known wherever it lies."""
    return f"sha256:{model_hash(path)}"
