"""A folder is taken whole or refused with the reason; what is taken becomes static clips of the model's shape."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from safetensors.torch import load_file

from magicid.core.errors import DataError
from magicid.core.records import Photo
from magicid.media.photo import read_photo, write_png
from magicid.media.video import to_tensor
from magicid.stages.prepare import Prepare
from tests.doubles import BLUE, GREEN, RED, FakeFamily, fake_run, picture

Person = tuple[int, int, tuple[int, int, int]]


def prepare(tmp_path: Path, photos: dict[str, NDArray[np.uint8]]) -> list[Photo]:
    folder = tmp_path / "photos"
    for name, image in photos.items():
        write_png(folder / f"{name}.png", image)
    run = fake_run(tmp_path / "run", folder)
    try:
        return Prepare().run(run)
    except DataError:
        assert not (tmp_path / "run" / "prepare").exists(), "something was written though a photo is bad"
        raise
    finally:
        run.dir.close()


def test_each_photo_becomes_a_static_clip(tmp_path: Path) -> None:
    photos = prepare(tmp_path, {"a": picture((10, 30, RED)), "b": picture((100, 60, RED), height=300)})
    assert [(p.id, p.source, p.held_out) for p in photos] == [
        ("photo-000", "a.png", False),
        ("photo-001", "b.png", False),
    ]
    for photo in photos:
        image = read_photo(tmp_path / "run" / photo.image)
        latents = load_file(tmp_path / "run" / photo.latents)["latents"]
        assert image.shape == (16, 16, 3) and latents.shape == (3, 5, 4, 4) and latents.dtype == torch.float32
        assert torch.equal(latents, FakeFamily().encode(to_tensor(np.stack([image] * 5)[None]))[0])
        assert (image[..., 0] > 180).any(), "the face was cropped away"
        assert read_photo(tmp_path / "run" / photo.crop).shape == (16, 16, 3)
        assert photo.intake.startswith("1 face, 50 px high, ") and "similarity 1.00; kept" in photo.intake


@pytest.mark.parametrize("people", [(), ((10, 10, RED), (100, 40, RED))])
def test_exactly_one_face_is_required(tmp_path: Path, people: tuple[Person, ...]) -> None:
    with pytest.raises(
        DataError,
        match=rf"^beach.png: {len(people)} faces; need exactly 1\. .+ drop it\..* Or .+: --prepare\.skip-unusable\.$",
    ):
        prepare(tmp_path, {"a": picture((10, 30, RED)), "b": picture((60, 9, RED)), "beach": picture(*people)})


def test_files_that_are_not_looked_at_are_said_before_anything_is_refused(tmp_path: Path) -> None:
    run, said = fake_run(tmp_path / "run", tmp_path / "photos"), StringIO()
    run.console = Console(file=said)
    write_png(tmp_path / "photos" / "a.png", picture((10, 30, RED)))
    (tmp_path / "photos" / "b.tif").touch()
    with pytest.raises(DataError, match=r"photos: 1 photo; need at least 2\."):
        Prepare().run(run)
    run.dir.close()
    assert said.getvalue().startswith("not looked at: b.tif; photos end in .jpg, ") and said.getvalue().count("\n") == 1


def test_too_few_photos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"photos: 1 photo; need at least 2\."):
        prepare(tmp_path, {"a": picture((10, 30, RED))})


def test_the_outlier_is_named(tmp_path: Path) -> None:
    photos = {"a": picture((10, 30, RED)), "b": picture((60, 9, RED)), "x": picture((10, 30, GREEN))}
    what = r"^x\.png: looks like another person \(median similarity \.\d\d; need \.40\)"
    with pytest.raises(DataError, match=what) as e:
        prepare(tmp_path, photos)
    assert "more photo" not in str(e.value)


@pytest.mark.parametrize("colours", [(RED, BLUE), (RED, BLUE, GREEN)])
def test_of_photos_of_as_many_people_none_is_kept(tmp_path: Path, colours: Sequence[tuple[int, int, int]]) -> None:
    what = rf"^a\.png: looks like another person \(median similarity .+; need \.40\)\. .+ \(and {len(colours) - 1} more .+\)"
    with pytest.raises(DataError, match=what):
        prepare(tmp_path, {name: picture((10, 30, colour)) for name, colour in zip("abc", colours, strict=False)})


def test_all_problems_are_counted_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"^broken\.jpg: .* \(and 2 more photos with problems\) Or leave out .+\.$") as e:
        same = {name: picture((10 + i, 30, RED)) for i, name in enumerate("abc")}
        prepare(tmp_path, same | {"empty": picture(), "x": picture((10, 30, BLUE))})
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("b", "held_out/a"), ("held_out/a", "held_out/b")])
def test_two_photos_that_are_one_file_are_both_named(tmp_path: Path, one: str, other: str) -> None:
    places = {"a": (10, 30), "b": (60, 9), "held_out/a": (110, 60), "held_out/b": (5, 65)}  # no two are nearly one picture
    photos = {name: picture((*place, RED)) for name, place in places.items()}
    remedy = r"Drop one\." if other == "b" else r"Drop one\. Or leave out .+\."  # without b, one photo is left
    with pytest.raises(DataError, match=rf"^{other}\.png: the same file as {one}\.png; .+ must be different\. {remedy}$"):
        prepare(tmp_path, photos | {other: photos[one]})


def test_a_held_out_photo_of_another_person_is_named(tmp_path: Path) -> None:
    photos = {"a": picture((10, 30, RED)), "b": picture((60, 9, RED)), "held_out/a": picture((20, 20, RED))}
    assert [p.id for p in prepare(tmp_path / "good", photos) if p.held_out] == ["held-out-000"]
    what = r"^held_out/x\.png: looks like another person \(similarity \.\d\d .*; need \.40\)\. Drop it\. Or .+\.$"
    with pytest.raises(DataError, match=what):
        prepare(tmp_path, photos | {"held_out/x": picture((10, 30, GREEN))})


def test_held_out_photos_are_looked_at_even_where_no_photo_will_do(tmp_path: Path) -> None:
    photos = {"a": picture(), "b": picture(width=170), "held_out/a": picture((20, 20, RED))}
    with pytest.raises(DataError, match=r"^a\.png: 0 faces; .* \(and 1 more photo with problems\)$"):
        prepare(tmp_path, photos)
