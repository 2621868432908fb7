"""How fast optical flow says that the person of a clip moves, with gradients to the pixels.

DIS has no gradient. But whatever found a flow f from a to b, in each neighbourhood it nearly solves
sum g (b(x + f) - a(x)) = 0, g the slope of grey (Lucas and Kanade, 1981), and the implicit function theorem says how the
solution follows the pixels. So the value is DIS's and the slope is that of the equation that it solved. Lengths are in
pixels of the frames that flow works on (`optical_flow.SHORT_SIDE`); cells are `CELL` of those pixels wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from magicid.perception.optical_flow import camera_motion, consistent, dis, residual_flow, working_frame, working_scale
from magicid.perception.subject import LEAST_BACKGROUND, subject_masks

CELL = 4
WINDOW = 5  # pixels of a clip's frame that share one flow
FLAT = 0.02  # slope of grey, of 2, below which nothing says where a neighbourhood went
STILL = 0.05  # pixels a frame that nobody is usually slower than
UPPER = 0.1  # share of the subject's cells, the fastest, that count: as in perception.motion
GREY = (0.299, 0.587, 0.114)
MEASURED = 400  # real clips that say how fast actions usually are


@dataclass(frozen=True)
class SubjectFlow:
    """What flow finds in the P pairs of neighbouring frames of a clip."""

    flow_P2hw: Tensor  # x, y
    camera_P2hw: Tensor  # what of it is the camera's
    valid_Phw: Tensor  # share of a cell's pixels that are the person's and whose flow can be trusted
    valid: float  # share of the person's pixels whose flow can be trusted


def subject_flow(frames: NDArray[np.uint8], boxes: NDArray[np.floating]) -> SubjectFlow | None:
    """Of frames (F, H, W, 3), one head box (4,) in pixels a frame; None where the camera's motion cannot be told."""
    scale = working_scale(*frames.shape[1:3])
    pictures = np.stack([working_frame(frame) for frame in frames])
    x0, y0, x1, y1 = (boxes * scale).T
    subject, background = subject_masks(pictures, list(zip(x0, y0, x1, y1, strict=True)))
    if background.mean() < LEAST_BACKGROUND:
        return None
    found = []
    for a, b, person, world in zip(pictures, pictures[1:], subject, background, strict=False):
        forward = dis(a, b)
        trusted = consistent(forward, dis(b, a))
        affine = camera_motion(a, forward, trusted, world)
        if affine is None:
            return None
        camera = forward - residual_flow(forward, affine)
        found.append((_cells(forward), _cells(camera), _cells(trusted & person)[0], _cells(person)[0]))
    flow_P2hw, camera_P2hw, valid_Phw, whole = (torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))
    return SubjectFlow(flow_P2hw, camera_P2hw, valid_Phw, float(valid_Phw.sum() / whole.sum().clamp(min=1e-6)))


def _cells(field: NDArray[np.generic]) -> NDArray[np.float32]:
    """Means (C, h, w) of a field (H, W, C), or (1, h, w) of one (H, W), over cells."""
    height, width = field.shape[0] // CELL, field.shape[1] // CELL
    cells = cv2.resize(field.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return cast(NDArray[np.float32], cells.reshape(height, width, -1).transpose(2, 0, 1))


def speed(flow_BP2hw: Tensor, camera_BP2hw: Tensor, valid_BPhw: Tensor) -> Tensor:
    """(B,), pixels a frame: `perception.motion.subject_motion` on cells, before it is divided by the person's height.

    Motion less the camera's, smoothed, times its agreement with the pair before or after, of the person's fastest tenth.
    """
    valid = valid_BPhw[:, :, None]
    motion, weight = ((field.flatten(0, 1), field.shape) for field in ((flow_BP2hw - camera_BP2hw) * valid, valid))
    around, known = (F.avg_pool2d(field, 3, 1, 1).reshape(shape) for field, shape in (motion, weight))
    moved = around / (known + 1e-6) * (valid > 0.5)
    size = (moved.square().sum(2) + 1e-6).sqrt()
    cosine = (moved[:, :-1] * moved[:, 1:]).sum(2) / (size[:, :-1] * size[:, 1:] + 1e-6)
    apart = torch.zeros_like(cosine[:, :1])
    coherent = size * torch.maximum(torch.cat((apart, cosine), 1), torch.cat((cosine, apart), 1)).relu()
    counted = (valid_BPhw > 0.5).flatten(2)
    fastest = coherent.flatten(2).masked_fill(~counted, -1).sort(dim=2, descending=True).values
    count = (UPPER * counted.sum(2, keepdim=True)).round().clamp(min=1)
    among = (torch.arange(fastest.shape[2], device=count.device) < count) & (fastest >= 0)
    return ((fastest * among).sum(2) / count[..., 0]).mean(1)


def slope(a_NCHW: Tensor, b_NCHW: Tensor, flow_N2HW: Tensor) -> Tensor:
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


class FlowReward:
    """Sets the speed of clips against that of the real clips of their sentences, which it measures once."""

    def __init__(self, store: ClipStore) -> None:
        self.store, self.kept = store, dict[int, SubjectFlow | None]()
        clips = range(min(MEASURED, len(store)))
        self._measure(clips)
        found: list[list[float]] = [[] for _ in ACTIONS]
        for clip in clips:
            if (real := self._real(clip)) is not None:
                found[ACTIONS.index(store.item(clip).truth.action)].append(real)
        self.usual = [max(STILL, float(np.mean(speeds))) if speeds else 1.0 for speeds in found]  # by action

    def __call__(
        self, video_BCFHW: Tensor, boxes_BF4: Tensor, clips: Sequence[int], actions: Sequence[int], followed_B: Tensor, aim: float
    ) -> Tensor:
        """(B,): speed less `aim` times the real one's, in usual speeds of the action; 0 of clips not `followed` or not told.

        Clips are in -1..1 and of the store's `clips`, head boxes in pixels.
        """
        chosen = [i for i, followed in enumerate(followed_B.tolist()) if followed]
        frames = ((video_BCFHW.detach().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 4, 1).cpu().numpy()
        boxes = boxes_BF4.cpu().numpy()
        self._measure([clips[i] for i in chosen])
        made = dict(zip(chosen, side_by_side(lambda i: subject_flow(frames[i], boxes[i]), chosen), strict=True))
        gaps = [torch.zeros((), device=video_BCFHW.device)] * len(clips)
        for i, found in made.items():
            real = self._real(clips[i])
            if found is not None and real is not None:
                gaps[i] = (speed_of(video_BCFHW[i], found) - aim * real) / self.usual[actions[i]]
        return torch.stack(gaps)

    def _measure(self, clips: Sequence[int]) -> None:
        new = [clip for clip in dict.fromkeys(clips) if clip not in self.kept]
        frames, boxes = self.store.frames, self.store.boxes
        self.kept |= zip(new, side_by_side(lambda c: subject_flow(np.array(frames[c]), np.array(boxes[c])), new), strict=True)

    def _real(self, clip: int) -> float | None:
        found = self.kept[clip]
        return None if found is None else float(_speed(found.flow_P2hw, found))


def speed_of(video_CFHW: Tensor, found: SubjectFlow) -> Tensor:
    """The speed that was `found` in a clip in -1..1, with its gradient."""
    pictures = video_CFHW.transpose(0, 1)
    flow = found.flow_P2hw.to(pictures.device)
    scale = working_scale(*pictures.shape[-2:])
    own = F.interpolate(flow, pictures.shape[-2:], mode="bilinear") / scale
    moved = scale * slope(pictures[:-1], pictures[1:], own)
    return _speed(flow + F.interpolate(moved, flow.shape[-2:], mode="area"), found)


def _speed(flow_P2hw: Tensor, seen: SubjectFlow) -> Tensor:
    camera, valid = (field.to(flow_P2hw.device)[None] for field in (seen.camera_P2hw, seen.valid_Phw))
    return speed(flow_P2hw[None], camera, valid)[0] * seen.valid
