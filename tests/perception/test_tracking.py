"""The person meant is followed: by place where that tells, else by likeness, and through absences."""

import numpy as np
import pytest
from numpy.typing import NDArray

from magicid.core.interfaces import Face, Frames, Observation
from magicid.perception.tracking import Appearance, observe, track
from tests.doubles import BLUE, GREEN, RED, FakeDetector, FakeEncoder, picture

Colour = tuple[int, int, int]
Place = tuple[int, int, Colour]


def filmed(*frames: list[Place], of: Colour | None = RED) -> Observation:
    """What is followed in pictures of people, given a photo of one of them."""
    references = None
    if of:
        references = FakeEncoder().embed(np.full((1, 16, 16, 3), of, np.uint8))
    return observe(np.stack([picture(*people) for people in frames]), "p", 8.0, FakeDetector(), FakeEncoder(), references)


def places(video: Observation) -> list[int | None]:
    return [None if face is None else round(face.box[0]) for face in video.faces]


def test_of_several_people_the_one_of_the_photos_is_followed() -> None:
    frames = [[(10, 30, GREEN), (100, 30, RED)]] * 3
    assert places(filmed(*frames)) == [100] * 3
    assert places(filmed(*frames, of=GREEN)) == [10] * 3


def test_two_who_change_places_between_frames_are_not_mistaken() -> None:
    assert places(filmed([(10, 30, RED), (100, 30, GREEN)], [(10, 30, GREEN), (100, 30, RED)])) == [10, 100]


def test_who_leaves_and_comes_back_elsewhere_is_found_again() -> None:
    frames = [[(10, 30, RED), (60, 30, GREEN)], [(60, 30, GREEN)], [(60, 30, GREEN)], [(110, 30, RED), (60, 30, GREEN)]]
    assert places(filmed(*frames)) == [10, None, None, 110]


def test_a_lone_person_who_jumps_is_found_and_a_stranger_elsewhere_is_not() -> None:
    assert places(filmed([(10, 30, RED)], [(100, 30, RED)])) == [10, 100]
    assert places(filmed([(10, 30, RED)], [(100, 30, BLUE)])) == [10, None]
    assert places(filmed([(10, 30, RED)], [(100, 30, RED)], of=None)) == [None, 100]  # place alone: from the last best one


def test_after_a_cut_nobody_is_followed_for_being_in_the_place() -> None:
    assert places(filmed([(10, 30, RED), (60, 30, GREEN)], [(10, 30, BLUE), (60, 30, GREEN)])) == [10, None]


def test_a_face_that_turns_into_another_stays_the_person_for_the_judges_to_see() -> None:
    assert places(filmed([(10, 30, RED)], [(14, 30, BLUE)], [(18, 30, BLUE)])) == [10, 14, 18]


class Watched(FakeEncoder):
    """Counts the faces that it is shown."""

    seen = 0

    def embed(self, crops: Frames) -> NDArray[np.float32]:
        self.seen += len(crops)
        return super().embed(crops)


def test_where_place_tells_nobody_is_embedded() -> None:
    encoder, frames = Watched(), np.stack([picture((10 + 4 * t, 30, RED)) for t in range(5)])
    track(FakeDetector().detect(frames), Appearance(frames, encoder, np.ones((1, 3), np.float32)))
    assert encoder.seen == 0


@pytest.mark.parametrize("count", [0, 3])
def test_nobody_is_nobody(count: int) -> None:
    frames = np.zeros((count, 40, 40, 3), np.uint8)
    none: list[Face | None] = [None] * count
    assert track([[] for _ in range(count)], Appearance(frames, FakeEncoder(), np.ones((1, 3), np.float32))) == none
