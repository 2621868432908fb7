"""Photos of every kind come out upright, 8-bit and RGB, and what is no photo is refused with a reason."""

import errno
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicid.core.errors import DataError
from magicid.media.photo import COPY, all_photos, find_photos, fingerprint, fit, other_files, read_photo, shrunk, write_png
from tests.doubles import UNDO, png, turned

SCENE = np.zeros((48, 32, 3), np.uint8)
SCENE[:24, :16], SCENE[:24, 16:], SCENE[24:, :16], SCENE[24:, 16:] = (200, 40, 40), (40, 200, 40), (40, 40, 200), 90
IMAGE = Image.fromarray(SCENE)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("orientation", UNDO)
def test_all_eight_orientations_give_one_picture(tmp_path: Path, orientation: int) -> None:
    stored, exif = turned(IMAGE, orientation)
    assert np.array_equal(read_photo(save(tmp_path / "a.png", stored, exif=exif)), SCENE)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    photo = read_photo(save(tmp_path / "a.png", IMAGE.convert(mode)))
    assert photo.shape == SCENE.shape and photo.dtype == np.uint8
    assert np.array_equal(photo, np.asarray(IMAGE.convert(mode).convert("RGB")))


@pytest.mark.parametrize(("suffix", "mode"), [("jpg", "RGB"), ("jpg", "CMYK"), ("jpg", "L"), ("webp", "RGB")])
def test_lossy_files_are_read_as_nearly(tmp_path: Path, suffix: str, mode: str) -> None:
    photo = read_photo(save(tmp_path / f"a.{suffix}", IMAGE.convert(mode), quality=95))
    wanted = np.asarray(IMAGE.convert(mode).convert("RGB")).astype(int)
    assert np.abs(photo - wanted).mean() < 6


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    clear = IMAGE.copy()
    clear.putalpha(0)
    assert (read_photo(save(tmp_path / "a.png", clear)) == 255).all()
    key = tuple(SCENE[0, 0].tolist())
    keyed = read_photo(save(tmp_path / "b.png", IMAGE, transparency=key))
    assert (keyed[0, 0] == 255).all() and np.array_equal(keyed[-1, -1], SCENE[-1, -1])


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey.png", Image.fromarray(np.full((4, 4), 40000, np.uint16)))
    assert (read_photo(grey) == 156).all()
    colour = tmp_path / "colour.png"
    colour.write_bytes(png((2, 1), 16, 2, b"\0" + struct.pack(">6H", *(40000, 20000, 65535) * 2)))
    assert read_photo(colour)[0, 0].tolist() == [156, 78, 255]


def test_a_jpeg_with_a_second_picture_behind_it_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", IMAGE, format="MPO", save_all=True, append_images=[IMAGE.rotate(180)], quality=95)
    assert np.abs(read_photo(path).astype(int) - SCENE).mean() < 6


@pytest.mark.parametrize("name", ["zip.jpg", "svg.png", "gif.jpg", "empty.webp", "half.jpg", "half.png", "half.webp", "gone.png"])
def test_what_is_no_photo_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    stem, suffix = name.split(".")
    whole = io.BytesIO()
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    noisy.save(whole, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[suffix])
    path = tmp_path / name
    if stem == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("photo.jpg", whole.getvalue())
    elif stem == "gif":
        IMAGE.save(path, "GIF")
    elif stem != "gone":
        path.write_bytes({"svg": b"<svg/>", "empty": b""}.get(stem, whole.getvalue()[: len(whole.getvalue()) // 2]))
    with pytest.raises(DataError, match=rf"^{name}: .+; .+\. .+\.$"):
        read_photo(path)


@pytest.mark.parametrize(("width", "height"), [(12000, 10000), (20001, 8), (20000, 20000), (10**9, 10**9)])
def test_bombs_are_refused_unopened(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png((width, height), 8, 0, b""))
    with pytest.raises(DataError, match=r"^bomb.png: .*; need at most 60 megapixels"):
        read_photo(path)


@pytest.mark.parametrize(("width", "height"), [(1100, 1), (4, 401)])
def test_what_is_too_thin_to_show_anybody_is_refused(tmp_path: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height)).save(tmp_path / "line.png")
    with pytest.raises(DataError, match=rf"^line.png: {width} x {height} pixels; sides may differ 100 times at most"):
        read_photo(tmp_path / "line.png")


def test_a_jpeg_of_many_scans_is_refused_and_what_lies_behind_a_picture_is_not_counted(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", IMAGE, progressive=True).read_bytes()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(whole + 99 * last)
    assert read_photo(tmp_path / "a.jpg").shape == SCENE.shape
    (tmp_path / "a.jpg").write_bytes(whole[:-2] + 99 * last + whole[-2:])
    with pytest.raises(DataError, match=r"^a\.jpg: 109 scans; need at most 64\. Export it as a plain JPEG, or drop it\.$"):
        read_photo(tmp_path / "a.jpg")


def test_photos_are_found_by_suffix_and_sorted(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "notes.txt", ".hidden.jpg", "c.heic"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [p.name for p in find_photos(tmp_path)] == ["a.jpeg", "b.PNG", "c.heic"]
    assert [p.name for p in other_files(tmp_path)] == ["notes.txt"]


def test_no_folder_and_no_photos_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_photos(tmp_path / "none")
    with pytest.raises(DataError, match="0 photos"):
        find_photos(tmp_path)


def test_a_folder_that_may_not_be_read_is_an_error_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)  # root, as whom tests may run, may read everything
    with pytest.raises(DataError, match=rf"^{tmp_path}: Permission denied; photos are read from it\. .+\.$"):
        find_photos(tmp_path)
    assert other_files(tmp_path) == []


def test_held_out_photos_are_photos_too_and_an_empty_folder_of_them_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert all_photos(tmp_path) == [tmp_path / "a.jpg"]
    (tmp_path / "held_out").mkdir()
    assert all_photos(tmp_path) == [tmp_path / "a.jpg"]
    (tmp_path / "held_out" / "b.jpg").touch()
    assert all_photos(tmp_path) == [tmp_path / "a.jpg", tmp_path / "held_out" / "b.jpg"]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 32), (10, 40), (96, 64), (7, 5)])
@pytest.mark.parametrize("centre", [(0, 0), (31, 47), (16, 24), (-9, 99)])
def test_fit_fills_any_shape_around_any_point(height: int, width: int, centre: tuple[float, float]) -> None:
    assert fit(SCENE, height, width, centre).shape == (height, width, 3)


def test_fit_keeps_as_much_as_the_aspect_allows_and_stays_inside() -> None:
    assert np.array_equal(fit(SCENE, 48, 32, (3, 3)), SCENE)
    assert np.array_equal(fit(SCENE, 32, 32, (0, 0)), SCENE[:32])
    assert np.array_equal(fit(SCENE, 32, 32, (0, 99)), SCENE[16:])
    assert np.array_equal(fit(SCENE, 24, 16, (9, 9)), SCENE[::2, ::2])


def test_a_part_that_would_be_too_low_is_heightened_and_its_sides_filled_in_with_its_own_colours() -> None:
    wide = fit(SCENE, 24, 48, (16, 24), least=48)  # 48 of 48 rows: 16 columns of 48 are the picture
    assert wide.shape == (24, 48, 3) and np.array_equal(wide[:, 16:32], SCENE[::2, ::2])
    assert (
        np.abs(wide[4, 12:16].astype(int) - SCENE[0, 0]).max() < 60
        and np.abs(wide[4, 32:36].astype(int) - SCENE[0, 31]).max() < 60
    )
    assert np.array_equal(fit(SCENE, 32, 32, (0, 0), least=32), fit(SCENE, 32, 32, (0, 0)))
    assert np.array_equal(fit(SCENE, 48, 32, (3, 3), least=500), SCENE), "a picture is as high as it is"


@pytest.mark.parametrize("least", [0.0, 11.3, 30.0, 47.9])
@pytest.mark.parametrize(("height", "width"), [(9, 16), (17, 90), (16, 9), (3, 100)])
def test_every_least_height_gives_the_shape_asked_for(height: int, width: int, least: float) -> None:
    assert fit(SCENE, height, width, (5, 40), least).shape == (height, width, 3)


def test_copies_have_nearly_one_fingerprint_and_other_pictures_have_not(tmp_path: Path) -> None:
    image = np.array(Image.effect_noise((8, 8), 90).resize((240, 200), Image.Resampling.BICUBIC).convert("RGB"))
    other = np.array(Image.effect_noise((8, 8), 90).resize((240, 200), Image.Resampling.BICUBIC).convert("RGB"))
    mark = fingerprint(image)
    save(tmp_path / "a.jpg", Image.fromarray(image).resize((80, 67)), quality=60)
    assert mark.shape == (63,) and (mark != fingerprint(read_photo(tmp_path / "a.jpg"))).sum() <= COPY
    assert (mark != fingerprint(other)).sum() > 2 * COPY


def test_png_is_published_whole(tmp_path: Path) -> None:
    write_png(tmp_path / "new" / "a.png", SCENE)
    assert np.array_equal(read_photo(tmp_path / "new" / "a.png"), SCENE)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_a_large_picture_is_shrunk_and_a_small_one_is_not_enlarged() -> None:
    grey = np.full((40, 80, 3), 9, np.uint8)
    assert shrunk(grey, 20).shape == (10, 20, 3) and (shrunk(grey, 20) == 9).all()
    assert shrunk(grey, 80) is grey and shrunk(grey, 200) is grey
