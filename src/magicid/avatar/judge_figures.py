"""How good the judges are, measured on people and clips that nothing was trained on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magicid.avatar.dataset import HELD_OUT, ClipStore, clip_store
from magicid.avatar.judge_data import Reconstruct, face_store
from magicid.avatar.judge_losses import same
from magicid.avatar.judges import WEIGHTS, AvatarDetector, AvatarFaceEncoder, Classifier, VideoText
from magicid.avatar.truth import VOCABULARIES
from magicid.core.interfaces import FaceDetector, FaceEncoder
from magicid.perception.face import align, overlap

GROUP = 64  # sentences that a clip chooses from
SHOTS = 4  # frames of each person, two of each of two clips


def judge_figures(
    work: Path, weights: Path = WEIGHTS, clips: int = 512, people: int = 250, reconstruct: Reconstruct | None = None
) -> dict[str, float]:
    """Shares in 0..1 and pixels; with `reconstruct`, the face encoders are also measured through the autoencoder."""
    store = clip_store(work, HELD_OUT, clips)
    detector = AvatarDetector(weights)
    figures = detector_figures(detector, store)
    faces = face_store(work, HELD_OUT, people, reconstruct)
    for name in ("face_reward", "face_report"):
        encoder = AvatarFaceEncoder(name, weights)
        for version, frames in zip(("", "_reconstructed"), faces.frames, strict=False):
            embeddings, labels, coverage = shots(frames, detector, encoder)
            figures |= {f"{name}_equal_error{version}": equal_error_rate(*pair_cosines(embeddings, labels))}
            figures |= {f"coverage{version}": coverage}
    for name in ("video_text_reward", "video_text_report"):
        figures[f"{name}_retrieval"] = retrieval(VideoText(name, weights), store)
    predicted = [truth.labels for truth in Classifier(weights).predict(store.frames)]
    right = np.array(predicted) == [store.item(i).truth.labels for i in range(len(store))]
    shares = zip(VOCABULARIES, right.mean(0), strict=True)
    return figures | {f"classifier_{name}": float(share) for name, share in shares}


def detector_figures(detector: FaceDetector, store: ClipStore) -> dict[str, float]:
    """Recall at half overlap, false alarms a frame, and the mean landmark error in pixels of the found heads."""
    found, extra, errors = 0, 0, []
    for i in range(len(store)):
        for faces, box, spots in zip(detector.detect(store.frames[i]), store.boxes[i], store.landmarks[i], strict=True):
            hits = [face for face in faces if overlap(face.box, box.tolist()) > 0.5]
            found, extra = found + bool(hits), extra + len(faces) - bool(hits)
            errors += [float(np.linalg.norm(face.landmarks - spots, axis=1).mean()) for face in hits[:1]]
    count = len(store) * store.frames.shape[1]
    error = float(np.mean(errors or [np.nan]))
    return {"recall": found / count, "false_alarms": extra / count, "landmark_pixels": error}


def shots(
    frames: NDArray[np.uint8], detector: FaceDetector, encoder: FaceEncoder
) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
    """Embeddings (K, D) of the best detected face in `SHOTS` frames of each person (P, 12, H, W, 3), whose they are,
    and the share of frames with a face."""
    chosen = frames[:, np.linspace(0, frames.shape[1] - 1, SHOTS).round().astype(int)]
    flat = chosen.reshape(-1, *chosen.shape[2:])
    faces = detector.detect(flat)
    seen = np.array([i for i, found in enumerate(faces) if found], np.int64)
    crops = [align(flat[i], faces[i][0].landmarks, encoder.crop_size) for i in seen]
    side = encoder.crop_size
    embeddings = encoder.embed(np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8))
    return embeddings, seen // SHOTS, len(seen) / len(flat)


def pair_cosines(embeddings: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines of all pairs of one person, and of all pairs of two."""
    rows, columns = np.triu_indices(len(labels), 1)
    cosines, mine = (embeddings @ embeddings.T)[rows, columns], labels[rows] == labels[columns]
    return cosines[mine], cosines[~mine]


def equal_error_rate(same_person: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Errors at the threshold where the share of parted pairs of one person equals that of joined pairs of two."""
    if not len(same_person) or not len(others):
        return float("nan")
    thresholds = np.sort(same_person)
    missed = np.arange(len(thresholds)) / len(thresholds)
    taken = 1 - np.searchsorted(np.sort(others), thresholds) / len(others)
    at = int(np.abs(missed - taken).argmin())
    return float(missed[at] + taken[at]) / 2


def retrieval(judge: VideoText, store: ClipStore) -> float:
    """How often a clip is closest to its own sentence among those of `GROUP` clips, without its equals."""
    items = [store.item(i) for i in range(len(store))]
    right: list[bool] = []
    for start in range(0, len(store), GROUP):
        group = items[start : start + GROUP]
        videos, texts = judge.embed_video(store.frames[start : start + GROUP]), [one.sentence for one in group]
        cosines, truths = videos @ judge.embed_text(texts).T, [one.truth for one in group]
        alike = same(truths, truths).numpy() & ~np.eye(len(group), dtype=bool)
        right += (np.where(alike, -1, cosines).argmax(1) == np.arange(len(group))).tolist()
    return float(np.mean(right))
