"""How fast optical flow says that the person of a clip moves, with gradients to the pixels.

DIS has no gradient. But whatever found a flow f from a to b, in each neighbourhood it nearly solves
sum g (b(x + f) - a(x)) = 0, g the gradient of grey (Lucas and Kanade, 1981), and the implicit function theorem says how the
solution follows the pixels. So the value is DIS's and the slope is that of the equation that it solved. Masks and the
camera's motion are found and held fixed. It is the report's own measure of motion but for the size of its cells: a network
that is trained by it has seen what `base_quality` says of motion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from magicid.avatar.dataset import ClipStore
from magicid.avatar.truth import ACTIONS
from magicid.core.lanes import side_by_side
from magicid.media.video import to_frames
from magicid.perception.motion import UPPER
from magicid.perception.optical_flow import against_background, working_frame, working_scale
from magicid.perception.subject import LEAST_BACKGROUND, subject_masks

CELL = 4  # pixels of a frame that flow works on (`optical_flow.SHORT_SIDE`)
WINDOW = 5  # pixels of a clip's frame that share one flow
FLAT = 0.02  # gradient of grey, of 2, below which nothing says where a neighbourhood went
GREY = (0.299, 0.587, 0.114)
MEASURED = 400  # real clips that say how fast actions usually are
LEAST_USUAL = 0.002  # heads a frame: no action is taken to be slower


@dataclass(frozen=True)
class SubjectFlow:
    """What flow finds in the P pairs of neighbouring frames of a clip, in pixels that it works on."""

    flow_P2hw: Tensor  # x, y of all that moves, mean over a cell
    motion_P2hw: Tensor  # the person's, less the camera's, 0 where it cannot be trusted, mean over a cell
    valid_Phw: Tensor  # share of a cell's pixels that are the person's and whose flow can be trusted
    valid: float  # share of the person's pixels whose flow can be trusted, mean over pairs
    height: float  # of the head


def subject_flow(frames: NDArray[np.uint8], boxes: NDArray[np.floating]) -> SubjectFlow | None:
    """Of frames (F, H, W, 3), one head box (4,) in pixels a frame; None where the camera's motion cannot be told."""
    scale = working_scale(*frames.shape[1:3])
    pictures = np.stack([working_frame(frame) for frame in frames])
    x0, y0, x1, y1 = (boxes * scale).T
    subject, background = subject_masks(pictures, list(zip(x0, y0, x1, y1, strict=True)))
    if background.mean() < LEAST_BACKGROUND:
        return None
    cells, shares = [], []
    for (a, b), person, world in zip(pairwise(pictures), subject[:-1], background[:-1], strict=True):
        found = against_background(a, b, world)
        if found is None:
            return None
        forward, trusted, residual = found
        valid = trusted & person
        shares.append(valid.sum() / max(1, person.sum()))
        cells.append((_cells(forward), _cells(residual * valid[..., None]), _cells(valid)[0]))
    flow, motion, valid_Phw = (torch.from_numpy(np.stack(part)) for part in zip(*cells, strict=True))
    return SubjectFlow(flow, motion, valid_Phw, float(np.mean(shares)), float(np.median(y1 - y0)))


def _cells(field: NDArray[np.generic]) -> NDArray[np.float32]:
    """Means (C, h, w) of a field (H, W, C), or (1, h, w) of one (H, W), over cells."""
    height, width = field.shape[0] // CELL, field.shape[1] // CELL
    cells = cv2.resize(field.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return cast(NDArray[np.float32], cells.reshape(height, width, -1).transpose(2, 0, 1))


def speed(motion_P2hw: Tensor, valid_Phw: Tensor) -> Tensor:
    """Pixels a frame, a scalar: what `perception.motion` measures, on cells smoothed over three.

    Motion times its agreement with the pair before or after, of the person's fastest tenth, mean over pairs that show any.
    """
    known = F.avg_pool2d(valid_Phw[:, None], 3, 1, 1)
    counted = valid_Phw > 0.5
    smooth = F.avg_pool2d(motion_P2hw, 3, 1, 1) / (known + 1e-6) * counted[:, None]
    size = (smooth.square().sum(1) + 1e-6).sqrt()
    cosine = (smooth[:-1] * smooth[1:]).sum(1) / (size[:-1] * size[1:] + 1e-6)
    apart = torch.zeros_like(cosine[:1])
    coherent = size * torch.maximum(torch.cat((apart, cosine)), torch.cat((cosine, apart))).relu()
    fastest = coherent.flatten(1).masked_fill(~counted.flatten(1), 0).sort(dim=1, descending=True).values
    count = (UPPER * counted.sum((1, 2))).round().clamp(min=1)
    among = torch.arange(fastest.shape[1], device=count.device) < count[:, None]
    told = counted.any(2).any(1)
    return ((fastest * among).sum(1) / count * told).sum() / told.sum().clamp(min=1)


def flow_gradient(a_NCHW: Tensor, b_NCHW: Tensor, flow_N2HW: Tensor) -> Tensor:
    """(N, 2, H, W), all 0, whose gradient is that of the flow from pictures a to b, in their own pixels."""
    weights = torch.tensor(GREY, device=a_NCHW.device).reshape(1, 3, 1, 1)
    a, b = (a_NCHW * weights).sum(1, keepdim=True), (b_NCHW * weights).sum(1, keepdim=True)
    height, width = a.shape[-2:]
    y, x = torch.meshgrid(*(torch.arange(n, device=a.device).float() for n in (height, width)), indexing="ij")
    led = torch.stack((x + flow_N2HW[:, 0], y + flow_N2HW[:, 1]), -1) + 0.5
    places = led * 2 / torch.tensor([width, height], device=a.device) - 1
    warped = F.grid_sample(b, places, align_corners=False, padding_mode="border")
    with torch.no_grad():
        grey = F.pad((warped + a) / 2, (1, 1, 1, 1), mode="replicate")
        gx = (grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]) / 2
        gy = (grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]) / 2
        xx, xy, yy = _near(gx * gx) + FLAT**2, _near(gx * gy), _near(gy * gy) + FLAT**2
        determinant = xx * yy - xy * xy
    across, down = _near(gx * (warped - a)), _near(gy * (warped - a))
    step = torch.cat(((xy * down - yy * across) / determinant, (xy * across - xx * down) / determinant), 1)
    return step - step.detach()


def _near(field_NCHW: Tensor) -> Tensor:
    return F.avg_pool2d(field_NCHW, WINDOW, 1, WINDOW // 2, count_include_pad=False)


def speed_of(video_CFHW: Tensor, found: SubjectFlow) -> Tensor:
    """Heads a frame, a scalar: the speed that was `found` in a clip in -1..1, with its gradient."""
    pictures = video_CFHW.transpose(0, 1)
    flow, motion, valid = (field.to(pictures.device) for field in (found.flow_P2hw, found.motion_P2hw, found.valid_Phw))
    scale = working_scale(*pictures.shape[-2:])
    own = F.interpolate(flow, pictures.shape[-2:], mode="bilinear") / scale
    change = scale * F.interpolate(flow_gradient(pictures[:-1], pictures[1:], own), flow.shape[-2:], mode="area")
    return speed(motion + change * valid[:, None], valid) * (found.valid / found.height)


class FlowReward:
    """Sets the speed of clips against `aim` times that of the real clips of their sentences, which it measures once."""

    def __init__(self, store: ClipStore, aim: float) -> None:
        self.store, self.aim = store, aim
        self.speeds: dict[int, float | None] = {}  # of real clips, in heads a frame; None: not told
        clips = range(min(MEASURED, len(store)))
        self._measure(clips)
        known: list[list[float]] = [[] for _ in ACTIONS]
        for clip in clips:
            if (real := self.speeds[clip]) is not None:
                known[self._action(clip)].append(real)
        over_all = np.mean([max(LEAST_USUAL, float(np.mean(speeds))) for speeds in known if speeds] or [LEAST_USUAL])
        self.usual = [max(LEAST_USUAL, float(np.mean(speeds))) if speeds else float(over_all) for speeds in known]  # by action

    def __call__(self, video_BCFHW: Tensor, boxes_BF4: Tensor, clips: Sequence[int], followed_B: Tensor) -> Tensor:
        """(B,): how much faster clips are than they should be, in usual speeds of the action; 0 of those not followed or told.

        They are in -1..1 and of the store's `clips`, head boxes in pixels.
        """
        chosen = [i for i, followed in enumerate(followed_B.tolist()) if followed]
        frames, boxes = to_frames(video_BCFHW), boxes_BF4.cpu().numpy()
        self._measure([clips[i] for i in chosen])
        made = dict(zip(chosen, side_by_side(lambda i: subject_flow(frames[i], boxes[i]), chosen), strict=True))
        gaps = [torch.zeros((), device=video_BCFHW.device)] * len(clips)
        for i, found in made.items():
            real = self.speeds[clips[i]]
            if found is not None and real is not None:
                gaps[i] = (speed_of(video_BCFHW[i], found) - self.aim * real) / self.usual[self._action(clips[i])]
        return torch.stack(gaps)

    def _measure(self, clips: Sequence[int]) -> None:
        new = [clip for clip in dict.fromkeys(clips) if clip not in self.speeds]
        self.speeds |= zip(new, side_by_side(self._real, new), strict=True)

    def _real(self, clip: int) -> float | None:
        found = subject_flow(np.array(self.store.frames[clip]), np.array(self.store.boxes[clip]))
        return None if found is None else float(speed(found.motion_P2hw, found.valid_Phw)) * found.valid / found.height

    def _action(self, clip: int) -> int:
        return ACTIONS.index(self.store.item(clip).truth.action)
