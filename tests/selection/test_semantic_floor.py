"""The semantic floor asks of clips what clips can do: a photo, judged by the bare trigger, does not raise it."""

import pytest

from magicid.selection.choice import Choice
from magicid.selection.scored import Scored


@pytest.mark.parametrize("photo", [2.0, 9.0])
def test_where_no_clip_reaches_the_floor_the_best_clip_sets_it_whatever_photos_have(photo: float) -> None:
    videos = [
        Scored("photo", "static", "sks person", 9.0, 1.0, photo),
        Scored("best", "finetuned", "sks person nods", 8.0, 8.0, 5.0),
        Scored("worse", "finetuned", "sks person nods", 2.0, 2.0, 4.0),
    ]
    _, dynamic = Choice().choose(videos)
    assert [pair.ids for pair in dynamic] == [("best", "worse")]
