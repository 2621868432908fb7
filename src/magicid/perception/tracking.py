"""Follow one person through a video: by place from frame to frame, by likeness where place does not tell.

Following begins at the face most like the references where several people show, else at the best-scoring one. In a frame
with several faces, or after a jump or an absence, faces like the track come first (by its cosine, not the largest face);
where there is none, the one that overlaps the last place most, unless it is clearly somebody else, as after a cut. A lone
face that stays in its place is still the person, like or unlike: that a face turns into another's is for the judges to see.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import Face, FaceDetector, FaceEncoder, Frames, Observation
from magicid.perception.face import align, overlap

LEAST_OVERLAP = 0.3  # intersection over union of a face with where the person was last seen
_STRANGER = 0.5  # of the cosine of one person's faces: under it a face is somebody else's


class Appearance:
    """Embeddings of detected faces, worked out where they are asked for."""

    def __init__(self, frames: Frames, encoder: FaceEncoder, references: NDArray[np.float32]) -> None:
        self.frames, self.encoder, self.references = frames, encoder, references

    def __call__(self, t: int, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of faces of frame `t`."""
        return self.encoder.embed(np.stack([align(self.frames[t], face.landmarks, self.encoder.crop_size) for face in faces]))


def track(detections: Sequence[Sequence[Face]], appearance: Appearance | None = None) -> list[Face | None]:
    """The person's face in each frame, or None; without `appearance` place alone tells.

    A frame without the person has None, and the search goes on from where the person was last seen.
    """
    path: list[Face | None] = [None] * len(detections)
    if not any(detections):
        return path
    if appearance and not _ambiguous(detections):
        appearance = None
    start, first = _first(detections, appearance)
    path[start] = first
    for order in (range(start + 1, len(detections)), range(start - 1, -1, -1)):
        last, like = first, [appearance(start, [first])[0]] if appearance else []
        for t in order:
            face, vector = _next(t, detections[t], last, like, appearance)
            if face is not None:
                path[t] = last = face
            if vector is not None:
                like.append(vector)
    return path


def observe(
    frames: Frames,
    prompt: str,
    fps: float,
    detector: FaceDetector,
    encoder: FaceEncoder | None = None,
    references: NDArray[np.float32] | None = None,
) -> Observation:
    """Find and follow the person of frames (T, H, W, 3) once, for every reward and metric.

    With an encoder and its embeddings (R, D) of the references, it is the person that they show.
    """
    appearance = None if encoder is None or references is None else Appearance(frames, encoder, references)
    return Observation(frames, prompt, fps, track(detector.detect(frames), appearance))


def _ambiguous(detections: Sequence[Sequence[Face]]) -> bool:
    """Whether place alone does not tell: several faces in a frame, or one that jumps."""
    seen = [faces[0] for faces in detections if faces]
    jumps = any(overlap(a.box, b.box) < LEAST_OVERLAP for a, b in pairwise(seen))
    return jumps or any(len(faces) > 1 for faces in detections)


def _first(detections: Sequence[Sequence[Face]], appearance: Appearance | None) -> tuple[int, Face]:
    """The frame and the face at which following begins."""
    faces = [(t, face) for t, frame in enumerate(detections) for face in frame]
    if appearance is None:
        return max(faces, key=lambda item: (item[1].score, item[0]))
    cosines = [(appearance(t, frame) @ appearance.references.T).max(1) for t, frame in enumerate(detections) if frame]
    return faces[int(np.concatenate(cosines).argmax())]


def _next(
    t: int, faces: Sequence[Face], last: Face, like: Sequence[NDArray[np.float32]], appearance: Appearance | None
) -> tuple[Face | None, NDArray[np.float32] | None]:
    """The person among the faces of frame `t`, and the embedding where it is by likeness that the person was found."""
    shared = [overlap(face.box, last.box) for face in faces]
    if appearance is not None and faces and (len(faces) > 1 or shared[0] < LEAST_OVERLAP):
        vectors = appearance(t, faces)
        mean = np.mean(like, 0)
        cosines = vectors @ mean / max(float(np.linalg.norm(mean)), 1e-12)
        same = appearance.encoder.same_person
        if cosines.max() >= same:
            best = int(cosines.argmax())
            return faces[best], vectors[best]
        shared = [share if cosine >= _STRANGER * same else 0.0 for share, cosine in zip(shared, cosines)]
    best = int(np.argmax(shared)) if faces else -1
    return (faces[best] if best >= 0 and shared[best] >= LEAST_OVERLAP else None), None
