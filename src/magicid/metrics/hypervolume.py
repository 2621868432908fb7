"""What points of two figures dominate, both of which are better when higher; the strength front is judged by it."""

from collections.abc import Iterable

Point = tuple[float, float]


def hypervolume(points: Iterable[Point]) -> float:
    """The area between the origin and the points' upper right border (Zitzler and Thiele 1998, in the plane)."""
    area, height = 0.0, 0.0
    for x, y in sorted(points, reverse=True):
        if x > 0 and y > height:
            area += x * (y - height)
            height = y
    return area


def beyond(point: Point, front: Iterable[Point]) -> float:
    """The area that a point adds to a front's; 0 where the front dominates it."""
    points = list(front)
    return hypervolume([*points, point]) - hypervolume(points)
