"""What points of two figures dominate, both of which are better when higher; the strength front is judged by it."""

import math
from collections.abc import Iterable
from itertools import pairwise

Point = tuple[float, float]


def hypervolume(points: Iterable[Point]) -> float:
    """The area between the axes and what the points and their mixtures dominate (Zitzler and Thiele 1998, of the hull).

    A mixture draws some clips by one point's method and the others by another's. Both figures are means over clips, so it
    lies on the line between them: whoever has both has that too.
    """
    border = _upper_right(points)
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise([(min(0.0, border[0][0]), border[0][1]), *border] if border else []):
        if x1 <= 0 or y0 <= 0:
            continue
        left, right = max(x0, 0.0), x1 if y1 >= 0 else x0 + (x1 - x0) * y0 / (y0 - y1)  # where it is above both axes
        slope = (y1 - y0) / (x1 - x0)
        area += (right - left) * (y0 + slope * ((left + right) / 2 - x0)) if right > left else 0.0
    return area


def beyond(point: Point, front: Iterable[Point]) -> float:
    """The area that a point adds to a front's; 0 where the front or a mixture of it dominates the point, nan of what is none."""
    points = list(front)
    if not all(math.isfinite(value) for one in (point, *points) for value in one):
        return math.nan
    return max(0.0, hypervolume([*points, point]) - hypervolume(points))


def _upper_right(points: Iterable[Point]) -> list[Point]:
    """Corners of the convex hull from the highest point to the rightmost one."""
    hull: list[Point] = []
    for x, y in sorted(set(points)):
        while len(hull) > 1 and _turns_left(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    highest = max(range(len(hull)), key=lambda i: hull[i][1], default=0)
    return hull[highest:]


def _turns_left(a: Point, b: Point, c: Point) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) >= (b[1] - a[1]) * (c[0] - a[0])
