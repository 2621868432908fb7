"""How a person moves: each action is a pure function of phase, progress and amplitude that gives a `Pose`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import cos, pi, sin

import numpy as np

from magicid.avatar.truth import AMPLITUDES, Truth

Arm = tuple[float, float]  # upper arm and forearm, degrees outward from hanging down (180 points up)


@dataclass(frozen=True)
class Pose:
    """One moment; x, y are offsets in frame sizes, angles are in degrees, gaze is -1..1, other fields are shares."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    yaw: float = 0.0  # towards the picture's right
    pitch: float = 0.0  # down
    roll: float = 0.0  # of the head, clockwise
    lean: float = 0.0  # of the whole body about the hips, clockwise
    mouth_open: float = 0.0
    smile: float = 0.25
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    blink: float = 0.0
    shrug: float = 0.0  # shoulders up, in half head heights
    left: Arm = (14.0, -6.0)  # the arm at the picture's left
    right: Arm = (14.0, -6.0)

    def mirrored(self) -> "Pose":
        """The same moment seen in a mirror."""
        return replace(
            self, x=-self.x, yaw=-self.yaw, roll=-self.roll, lean=-self.lean, gaze_x=-self.gaze_x,
            left=self.right, right=self.left,
        )  # fmt: skip


def _wave(phase: float) -> float:
    return sin(2 * pi * phase)


def turns(phase: float, progress: float, k: float) -> Pose:
    """Shakes the head from side to side."""
    return Pose(yaw=36 * k * _wave(phase), gaze_x=0.5 * _wave(phase))


def nods(phase: float, progress: float, k: float) -> Pose:
    """Nods."""
    return Pose(pitch=5 + 21 * k * _wave(phase), smile=0.5)


def walks(phase: float, progress: float, k: float) -> Pose:
    """Crosses the frame, bobbing, with swinging arms."""
    swing = 26 * k * _wave(phase)
    return Pose(
        x=0.19 * k * (2 * progress - 1), y=-0.028 * k * abs(sin(2 * pi * phase)), yaw=24, gaze_x=0.5,
        lean=2.5 * k * _wave(phase), left=(16 + swing, swing), right=(16 - swing, -swing),
    )  # fmt: skip


def leans(phase: float, progress: float, k: float) -> Pose:
    """Leans in and back."""
    near = 0.5 - 0.5 * cos(2 * pi * phase)
    return Pose(scale=0.96 + 0.34 * k * near, y=0.035 * k * near, pitch=6 * near, smile=0.1 + 0.4 * near)


def sways(phase: float, progress: float, k: float) -> Pose:
    """Sways the whole body."""
    return Pose(lean=11 * k * _wave(phase), roll=5 * k * _wave(phase), x=0.03 * k * _wave(phase))


def jumps(phase: float, progress: float, k: float) -> Pose:
    """Jumps up and down."""
    height = abs(sin(pi * phase))
    return Pose(
        y=0.05 - 0.15 * k * height, mouth_open=0.3 * height, smile=0.7,
        left=(14 + 45 * height, 55 * height), right=(14 + 45 * height, 55 * height),
    )  # fmt: skip


def waves(phase: float, progress: float, k: float) -> Pose:
    """Waves with one hand."""
    return Pose(right=(72, 174 + 25 * k * _wave(phase)), smile=0.8, mouth_open=0.15, roll=3 * k, x=-0.05)


def laughs(phase: float, progress: float, k: float) -> Pose:
    """Laughs out loud, shoulders shaking."""
    shake = _wave(phase)
    return Pose(
        mouth_open=0.6 + 0.25 * k + 0.12 * shake, smile=1, shrug=0.07 * k * (1 + shake), y=0.014 * k * shake,
        pitch=-9 * k + 4 * k * shake, roll=3.5 * k * _wave(phase / 3), blink=0.55,
    )  # fmt: skip


def looks(phase: float, progress: float, k: float) -> Pose:
    """Looks up to one side, then to the other; the eyes lead."""
    side, ahead = _wave(phase), _wave(phase + 0.12)
    lift = 0.35 + 0.65 * abs(side)
    return Pose(yaw=22 * k * side, pitch=-20 * k * lift, gaze_x=max(-1, min(1, 2 * ahead)), gaze_y=-0.9 * lift, smile=0)


def dances(phase: float, progress: float, k: float) -> Pose:
    """Dances with both arms up."""
    beat, side = abs(sin(2 * pi * phase)), _wave(phase)
    return Pose(
        y=0.02 - 0.045 * k * beat, lean=7 * k * side, roll=-9 * k * side, smile=0.9, mouth_open=0.25 * beat,
        left=(78 + 14 * side, 172 + 18 * k * side), right=(78 - 14 * side, 172 - 18 * k * side),
    )  # fmt: skip


_ACTIONS: dict[str, tuple[Callable[[float, float, float], Pose], float]] = {  # with cycles per second
    "turns": (turns, 0.75), "nods": (nods, 1.0), "walks": (walks, 1.0), "leans": (leans, 0.55),
    "sways": (sways, 0.65), "jumps": (jumps, 1.1), "waves": (waves, 1.5), "laughs": (laughs, 2.6),
    "looks": (looks, 0.5), "dances": (dances, 1.0),
}  # fmt: skip


def poses(truth: Truth, seed: int, frames: int, fps: float) -> list[Pose]:
    """The clip's poses, one per frame; the seed sets the start phase, speed, side, place, size and blinks."""
    rng = np.random.default_rng([seed, 0xAC])
    start, speed, side, dx, dy, size, blink = rng.random(7).tolist()
    act, rate = _ACTIONS[truth.action]
    blink_at, rate, k = int(blink * 2 * frames), rate * (0.9 + 0.2 * speed), AMPLITUDES[truth.amplitude]
    moments = []
    for index in range(frames):
        pose = act(0.25 * start + rate * index / fps, index / max(1, frames - 1), k)
        pose = pose.mirrored() if side < 0.5 else pose
        moments.append(
            replace(
                pose,
                x=pose.x + 0.09 * (dx - 0.5),
                y=pose.y + 0.07 * (dy - 0.5),
                scale=pose.scale * (0.94 + 0.12 * size),
                blink=1.0 if index == blink_at else pose.blink,
            )
        )
    return moments
