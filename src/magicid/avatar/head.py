"""The head in two and a half dimensions: features lie on an ellipsoid that yaw and pitch turn.

Head frame: origin at the head's centre, unit half a head height, x right, y down, z towards the viewer.
"""

import numpy as np
from numpy.typing import NDArray

from magicid.avatar.actions import Pose
from magicid.avatar.canvas import Canvas, Colour, mix, shade
from magicid.avatar.identity import Identity

_ARC = np.linspace(-1, 1, 9)
_BOW = 1 - _ARC**2
_CREST = np.array([-0.2, -0.34 - 0.5j, -0.22 - 0.34j, -0.12 - 0.66j, -0.4j, 0.12 - 0.66j, 0.22 - 0.34j, 0.34 - 0.5j, 0.2])
_SIDE_PART = (0.16j + 0.05) * np.sin(np.linspace(0, np.pi, 20)) * np.linspace(0.2, 1.2, 20)
_WHITE: Colour = (252, 250, 246)
_GRIN: Colour = (92, 22, 30)


class Head:
    """One person's head over a clip's poses: projects every feature once, then draws frame by frame."""

    def __init__(self, who: Identity, moments: list[Pose]) -> None:
        self.who = who
        self.w = who.face_width
        self.skin = who.skin
        self.dark = shade(mix(self.skin, (150, 40, 40), 0.15), 0.8)
        yaw, pitch = np.radians([[p.yaw for p in moments], [p.pitch for p in moments]])
        solid, self.parts = self._features()
        sin, cos = np.sin(yaw)[:, None], np.cos(yaw)[:, None]
        x, depth = solid[:, 0] * cos + solid[:, 2] * sin, solid[:, 2] * cos - solid[:, 0] * sin
        sin, cos = np.sin(pitch)[:, None], np.cos(pitch)[:, None]
        self.points = x + 1j * (solid[:, 1] * cos + depth * sin)  # (T, N)
        self.side, self.down = np.sin(yaw).tolist(), np.sin(pitch).tolist()
        outline, side, down = self._outline(), np.sin(yaw)[:, None], np.sin(pitch)[:, None]
        jaw = np.maximum(outline.imag, 0) * (0.16 * side + 0.14j * down)  # follows the turn
        self.contours = outline + 0.14 * side + jaw  # (T, 40)

    def _outline(self) -> NDArray[np.complex128]:
        """The face's contour (40,): skull above, jaw below, from the right side clockwise."""
        who, turn = self.who, np.linspace(0, 2 * np.pi, 40, endpoint=False)
        x, y = np.cos(turn), np.sin(turn)
        power = np.where(y > 0, 1.25 - 0.62 * who.jaw_width, 0.9)
        x = np.sign(x) * np.abs(x) ** power * self.w
        return np.asarray(x + 1j * np.where(y > 0, y * (1 + who.chin_length), y * 0.95), np.complex128)

    def _features(self) -> tuple[NDArray[np.float64], dict[str, slice]]:
        """Feature points on the ellipsoid (N, 3) and where each part's points stand among them."""
        who, w = self.who, self.w
        tilt, brow = np.tan(np.radians([who.eye_tilt, who.brow_angle])).tolist()
        size, eye = who.eye_size, who.eye_height
        groups: dict[str, list[tuple[float, float]]] = {}
        for name, s in (("left", -1.0), ("right", 1.0)):
            inner, outer = s * (who.eye_spacing - size), s * (who.eye_spacing + size)
            groups[name] = [(inner, eye + size * tilt), (outer, eye - size * tilt)]
            top, reach = eye - size * who.eye_roundness - 0.12 - who.brow_thickness / 2, size * 1.1
            arch = [(q * reach, top - q * reach * brow - 0.04 * (1 - q * q)) for q in (-1.0, 0.0, 1.0)]
            groups[name + "_brow"] = [(s * (who.eye_spacing + x), y) for x, y in arch]
            groups[name + "_cheek"] = [(s * 0.62 * w, 0.4)]
            groups[name + "_freckles"] = [(s * x * w, y) for x, y in ((0.38, 0.3), (0.58, 0.35), (0.46, 0.43))]
        tip = eye + who.nose_length
        groups["nose"] = [(0, eye), (0, tip)]
        groups["mouth"] = [(x * who.mouth_width, who.mouth_height) for x in (-1.0, 1.0, 0.0)]
        groups["hairline"] = self._hairline()
        flat = np.array([point for group in groups.values() for point in group])
        z = np.sqrt(np.maximum(0, 1 - (flat[:, 0] / w) ** 2 - (flat[:, 1] / 1.08) ** 2)) * 0.75
        solid = np.column_stack([flat, z])
        ends = np.cumsum([len(group) for group in groups.values()]).tolist()
        parts = {name: slice(end - len(group), end) for (name, group), end in zip(groups.items(), ends, strict=True)}
        solid[parts["nose"].stop - 1, 2] += 0.16  # the tip stands out
        ears = [(-w, 0.08, -0.1), (w, 0.08, -0.1)]
        parts["ears"] = slice(len(solid), len(solid) + 2)
        return np.vstack([solid, ears]), parts

    def _hairline(self) -> list[tuple[float, float]]:
        """The hair's lower edge over the forehead, from the right temple to the left one."""
        style, top, w = self.who.hair_style, -self.who.hairline, self.w
        edge = np.linspace(1, -1, 9)
        dip = {
            "side-part": 0.25 * np.abs(edge - 0.45) ** 1.4 - 0.12,
            "bob": 0.14 + 0.05 * edge**2,
            "long": 0.5 * np.abs(edge) ** 1.3 - 0.16,
            "curly": 0.05 * np.cos(edge * 14),
            "bun": 0.2 * edge**2 - 0.12,
        }.get(style, 0.04 * edge**2)
        return [(-w, 0.02), *zip((-edge * 0.86 * w).tolist(), (top + dip).tolist(), strict=True), (w, 0.02)]

    def landmarks(self, t: int, pose: Pose) -> NDArray[np.complex128]:
        """Left eye, right eye, nose tip, left and right mouth corners (5,) in the head frame."""
        p, parts = self.points[t], self.parts
        corners = p[parts["mouth"]][:2] - 0.07j * pose.smile
        return np.array([p[parts["left"]].mean(), p[parts["right"]].mean(), p[parts["nose"]][1], *corners])

    def draw_back(self, c: Canvas, t: int) -> None:
        """The hair behind the neck and shoulders."""
        who, w, back = self.who, self.w, -0.12 * self.side[t]
        colour, volume = shade(who.hair_colour, 0.82), 0.1 + 0.16 * who.hair_volume
        if who.hair_style in ("bob", "long"):
            end, flare = (1.75, 0.16) if who.hair_style == "long" else (0.8, 0.2)
            half = w + volume * 0.8
            x = [half * 0.4, half * 0.78, half, half + flare * 0.6, half + flare, half - 0.08]
            right = np.array(x) + 1j * np.array([-0.98, -0.72, -0.25, 0.3, end - 0.18, end])
            c.poly(np.concatenate([right, -right.conj()[::-1]]) + back, colour)
        elif who.hair_style == "curly":
            half, ring = w + volume, np.exp(2j * np.pi * np.arange(56) / 56)
            lumps = 1 + 0.05 * np.cos(np.arange(56) * np.pi * 2 / 5.6)
            cloud = ring.real * (half + 0.16) + 1j * ring.imag * (0.82 + volume)
            c.poly(cloud * lumps + complex(back, -0.32), colour)
        elif who.hair_style == "bun":
            c.disc(complex(back * 1.5, -1.12 - volume * 0.6), 0.3 + volume * 0.7, colour)

    def draw(self, c: Canvas, t: int, pose: Pose) -> None:
        """The face with its hair in front."""
        p, side = self.points[t], self.side[t]
        ears = p[self.parts["ears"]].tolist()
        near = 0 if side > 0 else 1
        self._ear(c, ears[1 - near])
        if abs(side) < 0.3:
            self._ear(c, ears[near])
        contour = self.contours[t]
        c.poly(contour, self.skin)
        if abs(side) >= 0.3:
            self._ear(c, ears[near])
        self._skin_marks(c, p)
        self._beard(c, t, contour)
        for name, s in (("left", -1), ("right", 1)):
            self._eye(c, p, name, s, pose)
        self._mouth(c, p, pose)
        nose = p[self.parts["nose"]].tolist()
        self._nose(c, nose[0], nose[1])
        self._hair(c, t, contour)

    def _ear(self, c: Canvas, at: complex) -> None:
        size = self.who.ear_size
        c.blob(at, size * 0.75, size, self.skin)
        c.blob(at, size * 0.4, size * 0.6, self.dark)

    def _skin_marks(self, c: Canvas, p: NDArray[np.complex128]) -> None:
        who = self.who
        for name in ("left", "right"):
            if who.blush > 0.15:
                cheek = complex(p[self.parts[name + "_cheek"]][0])
                c.blob(cheek, 0.17, 0.12, mix(self.skin, (240, 80, 90), 0.42 * who.blush))
            if who.freckles:
                for spot in p[self.parts[name + "_freckles"]].tolist():
                    c.disc(spot, 0.035, mix(self.skin, (110, 50, 20), 0.55))

    def _beard(self, c: Canvas, t: int, contour: NDArray[np.complex128]) -> None:
        who = self.who
        left, right, middle = self.points[t][self.parts["mouth"]].tolist()
        colour = shade(who.hair_colour, 0.9)
        reach = (right - left) / 2
        if who.beard in ("stubble", "full"):
            tone = mix(self.skin, colour, 0.3) if who.beard == "stubble" else colour
            jaw, lip = contour[:21], middle - 0.2j
            inner = [left - 0.06 - 0.05j, lip - 0.3 * reach, lip, lip + 0.3 * reach, right + 0.06 - 0.05j]
            c.poly([*jaw * 0.995, *inner], tone)
        elif who.beard == "goatee":
            chin = complex(contour[10])
            c.poly([left - 0.06, right + 0.06, chin + 0.24 - 0.02j, chin + 0.08j, chin - 0.24 - 0.02j], colour)
        if who.beard in ("moustache", "goatee"):
            top, end = middle - 0.15j, 0.95 * reach - 0.02j
            c.line([top + 0.11j - end, top - reach * 0.4, top + reach * 0.4, top + 0.11j + end.conjugate()], 0.11, colour)

    def _eye(self, c: Canvas, p: NDArray[np.complex128], name: str, s: int, pose: Pose) -> None:
        who = self.who
        inner, outer = p[self.parts[name]].tolist()
        centre, half = (inner + outer) / 2, abs(outer - inner) / 2
        tilt = (outer - inner) * s / (2 * half)
        tall = who.eye_size * who.eye_roundness * (1 - pose.blink)
        brow = p[self.parts[name + "_brow"]] - 0.06j * max(0.0, pose.mouth_open - 0.2)
        lid = shade(mix(self.skin, (40, 20, 24), 0.8), 0.9)
        if tall < 0.03:
            c.line([centre - half * tilt, centre + 0.04j, centre + half * tilt], 0.05, lid)
        else:
            c.blob(centre - 0.045j, half * 1.06, tall + 0.02, lid, tilt)
            c.blob(centre, half, tall, _WHITE, tilt)
            iris = min(0.78 * who.eye_size, 0.95 * tall)
            look = centre + complex(pose.gaze_x * half * 0.42, pose.gaze_y * max(0.0, tall - iris * 0.6))
            c.disc(look, iris, who.eye_colour)
            c.disc(look, iris * 0.5, (16, 12, 16))
            if abs(c.turn) > 60:  # finer than a small picture can show
                c.disc(look + complex(0.3, -0.35) * iris, iris * 0.22, _WHITE)
        c.line(brow, who.brow_thickness, mix(shade(who.hair_colour, 0.7), (50, 30, 24), 0.25))

    def _mouth(self, c: Canvas, p: NDArray[np.complex128], pose: Pose) -> None:
        who = self.who
        left, right, middle = p[self.parts["mouth"]].tolist()
        reach = (right - left) / 2 * (1 + 0.16 * pose.smile - 0.1 * pose.mouth_open)
        spine = middle + reach * _ARC - 0.14j * pose.smile * (_ARC**2 - 0.5)
        gap, lip = 0.34 * pose.mouth_open, who.lip_fullness
        upper, lower = spine - 1j * _BOW * lip, (spine + 1j * _BOW * (lip * 1.25 + gap))[::-1]
        c.poly(np.concatenate([upper, lower]), who.lip_colour)
        if gap > 0.06:
            inside = np.concatenate([spine, (spine + 1j * _BOW * gap)[::-1]])
            c.poly(inside, _GRIN)
            c.poly(np.concatenate([spine[1:-1], (spine + 0.33j * _BOW * gap)[-2:0:-1]]), _WHITE)
        else:
            c.line(spine, 0.035, shade(mix(who.lip_colour, _GRIN, 0.6), 0.85))

    def _nose(self, c: Canvas, bridge: complex, tip: complex) -> None:
        wide = self.who.nose_width
        top = bridge * 0.4 + tip * 0.6
        left = [top - wide * 0.3, tip - wide * 1.05 - 0.02j, tip - wide * 0.7 + 0.06j]
        right = [tip + wide * 0.7 + 0.06j, tip + wide * 1.05 - 0.02j, top + wide * 0.3]
        c.poly(left + right, self.dark)
        c.blob(tip - 0.04j, wide * 0.72, 0.06, shade(self.skin, 1.04))

    def _hair(self, c: Canvas, t: int, contour: NDArray[np.complex128]) -> None:
        who, style, side = self.who, self.who.hair_style, self.side[t]
        if style == "bald":
            return
        line = self.points[t][self.parts["hairline"]]
        puff = {"buzz": 0.03, "bun": 0.05, "mohawk": 0.02}.get(style, 0.07 + 0.13 * who.hair_volume)
        skull = contour[20:40]  # left side over the top to the right
        outer = skull * (1 + puff) - 1j * puff * 0.5
        colour = mix(who.hair_colour, self.skin, 0.35) if style == "buzz" else who.hair_colour
        if style == "mohawk":
            c.poly(np.concatenate([outer, line[::-1]]), mix(who.hair_colour, self.skin, 0.72))
            c.frame(0.7 + 0.5 * who.hair_volume, complex(0.1 * side, -0.72)).poly(_CREST, colour)
            return
        if style == "side-part":
            outer = outer - _SIDE_PART * (0.4 + who.hair_volume)
        elif style == "curly":
            outer = outer * (1 + 0.05 * np.cos(np.arange(20) * 2 * np.pi / 4))
        c.poly(np.concatenate([outer, line[::-1]]), colour)
        if style not in ("buzz", "curly"):
            c.line(outer[6:11] * 0.9 + 0.03j, 0.07, mix(colour, (255, 255, 255), 0.2))
