"""Photos of every kind and fault: what is read, what is refused, and what is said (rows 35 and 37 to 45)."""

import io
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from rich.console import Console

from magicid.core import tables
from magicid.core.errors import DataError
from magicid.core.interfaces import Geometry, Judges
from magicid.core.records import Photo
from magicid.media.photo import FORMATS, read_photo, write_png
from magicid.perception.face import reference_faces
from magicid.stages.prepare import Prepare
from tests.doubles import BLUE, RED, UNDO, fake_run, peak_of, picture, png, turned
from tests.faults.conftest import Bench
from tests.faults.guards import Guard

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
PREPARE, PHOTO, LOOK = "stages/prepare.py", "media/photo.py", "perception/look.py"
GUARDS = {
    35: Guard(LOOK, "if len(faces) != 1:", "if len(faces) > 1:"),
    37: Guard(LOOK, "if len(faces) != 1:", "if not faces:"),
    38: Guard("perception/intake.py", "if medians[worst] >= need:", "if True:"),
    39: Guard(LOOK, "if self.sharpness < BLURRED:", "if False:"),
    40: Guard(PHOTO, "ImageOps.exif_transpose(file)", "file"),
    41: Guard(PHOTO, "    register_heif_opener()\n", "    pass\n"),
    42: Guard(PHOTO, "if image.has_transparency_data:", "if False:"),
    43: Guard(PHOTO, 'if image.mode[0] in "IF":', "if False:"),
    44: Guard(PHOTO, "_refuse_bomb(path, *file.size)", "pass"),
    45: Guard(PREPARE, "if not self.skip_unusable:", "if True:"),
}
GOOD = {"a": picture((10, 30, RED)), "b": picture((60, 9, RED))}


def prepare(
    tmp_path: Path, photos: dict[str, NDArray[np.uint8]], judges: Judges | None = None, skip: bool = False
) -> tuple[list[Photo], list[str]]:
    """What stage Prepare makes of photos, beside those that are there already, and what it says."""
    for name, image in photos.items():
        write_png(tmp_path / "photos" / f"{name}.png", image)
    run = fake_run(tmp_path / "run", tmp_path / "photos")
    run.console = Console(file=io.StringIO(), width=300)
    if judges:
        run.judges = judges
        run.family.geometry = Geometry(frames=5, height=64, width=64, fps=8.0, guidance=1.0)
    try:
        kept = Prepare(skip_unusable=skip).run(run)
        said = run.console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        return kept, [line for line in said if "0:00:00" not in line]
    except DataError as error:
        assert error.exit_code == 3 and "\n" not in str(error)
        assert not (tmp_path / "run" / "prepare").exists()
        raise
    finally:
        run.dir.close()


@pytest.fixture(scope="module")
def avatar() -> Judges:
    """The judges of the package."""
    judges: Judges = tables.load(tables.JUDGES, "judges", "avatar")()
    return judges


def test_row_35_a_photo_with_no_face_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^sea\.png: 0 faces; need exactly 1\. Choose one that shows the face"):
        prepare(tmp_path, GOOD | {"sea": picture()})


def test_row_37_of_two_faces_none_is_chosen(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^pair\.png: 2 faces; need exactly 1\. Crop it to the one meant, or drop it\."):
        prepare(tmp_path, GOOD | {"pair": picture((10, 10, RED), (100, 40, RED))})


def test_row_38_the_outlier_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^guest\.png: looks like another person \(median similarity \.\d+; need \.40\)"):
        prepare(tmp_path, GOOD | {"guest": picture((10, 30, BLUE))})


def test_row_38_where_as_many_show_somebody_else_nobody_is_chosen(tmp_path: Path) -> None:
    others = {f"other{i}": picture((10, 30 + i, BLUE)) for i in range(len(GOOD))}
    with pytest.raises(DataError, match=r"(one of \d photos of one person beside \d of others|looks like another person)") as e:
        prepare(tmp_path, GOOD | others)
    assert f"and {len(GOOD) * 2 - 1} more photos with problems" in str(e.value) and "skip-unusable" not in str(e.value)


def test_row_39_a_small_face_is_warned_of(tmp_path: Path) -> None:
    far = picture()
    far[30:62, 20:46] = RED
    photos, said = prepare(tmp_path, GOOD | {"far": far})
    assert len(photos) == 3
    warned = [line for line in said if " px high" in line]
    assert len(warned) == 1 and "far.png" in warned[0] and "kept; the face is 32 px high; from 40 it is known better" in warned[0]


def test_row_39_a_blurred_face_is_warned_of_and_no_photo_of_the_examples_is(tmp_path: Path, avatar: Judges) -> None:
    for person in ("ava", "ben", "cleo"):
        photos = {str(p.relative_to(EXAMPLES / person))[:-4]: read_photo(p) for p in (EXAMPLES / person).rglob("*.png")}
        kept, said = prepare(tmp_path / person, photos, avatar)
        assert len(kept) == len(photos) == 11 and sum("kept" in line for line in said) == 12
        assert not [line for line in said if "blurred" in line or "kept;" in line]
        sharp = Image.fromarray(photos["photo-1"])
        blurred = {"photo-1": np.array(sharp.filter(ImageFilter.GaussianBlur(14)), np.uint8)}  # over 0.1 of faces of 93 to 128 px
        kept, said = prepare(tmp_path / f"{person} blurred", photos | blurred, avatar)
        warned = [line for line in said if "kept; the face is blurred (sharpness " in line]
        assert len(kept) == 11 and len(warned) == 1 and "photo-1.png" in warned[0]


def test_row_40_all_eight_orientations_give_one_picture_and_one_embedding(tmp_path: Path, avatar: Judges) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    image = Image.open(EXAMPLES / "ava" / "photo-1.png").convert("RGB").crop((0, 0, 256, 240))
    for orientation in UNDO:
        stored, exif = turned(image, orientation)
        stored.save(photos / f"{orientation}.png", exif=exif)
    embeddings = reference_faces([read_photo(path) for path in sorted(photos.iterdir())], avatar.detector, avatar.face_reward)
    assert np.abs(embeddings - embeddings[0]).max() < 1e-5
    kept, _ = prepare(tmp_path, {}, avatar)
    assert len(kept) == 8 and len({photo.intake.partition("; nearly the same")[0] for photo in kept}) == 1
    for paths in zip(*((photo.image, photo.crop) for photo in kept), strict=True):
        assert len({(tmp_path / "run" / path).read_bytes() for path in paths}) == 1


def test_row_41_heic_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif", reason="HEIC needs pillow-heif")
    (tmp_path / "photos").mkdir()
    Image.fromarray(GOOD["a"]).save(tmp_path / "photos" / "phone.HEIC", format="HEIF", quality=95)
    assert np.abs(read_photo(tmp_path / "photos" / "phone.HEIC").astype(int) - GOOD["a"]).mean() < 6
    kept, _ = prepare(tmp_path, {"b": GOOD["b"]})
    assert [photo.source for photo in kept] == ["b.png", "phone.HEIC"]


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "jpg"), ("P", "png"), ("L", "png"), ("LA", "png"), ("RGBA", "webp")])
def test_row_42_every_mode_becomes_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    image = Image.fromarray(GOOD["a"]).convert(mode)
    image.save(tmp_path / f"a.{suffix}", quality=95)
    photo = read_photo(tmp_path / f"a.{suffix}")
    assert photo.shape == GOOD["a"].shape and photo.dtype == np.uint8
    assert np.abs(photo - np.asarray(image.convert("RGB")).astype(int)).mean() < 6


def test_row_42_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    clear = Image.fromarray(GOOD["a"])
    clear.putalpha(0)
    for suffix in ("png", "webp"):
        clear.save(tmp_path / f"a.{suffix}")
        assert (read_photo(tmp_path / f"a.{suffix}") == 255).all()


def test_row_43_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "a.png")
    assert (read_photo(tmp_path / "a.png") == 156).all()  # 40000 / 257


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "HEIF"])
def test_row_44_a_bomb_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    if kind not in FORMATS:
        pytest.skip("HEIC needs pillow-heif")
    path = tmp_path / "bomb"
    side = 11_000
    if kind == "PNG":
        path.write_bytes(png((side, side), 1, 0, bytes((side // 8 + 1) * side)))
    elif kind == "JPEG":
        Image.new("L", (side, side)).save(path, kind, quality=1)
    elif kind == "WEBP":
        Image.new("RGB", (side, side)).save(path, kind, lossless=True, method=0, quality=0)
    else:  # encoding takes half a minute; the box that says the size is changed
        Image.new("RGB", (64, 64)).save(path, kind)
        small, large = (b"ispe" + bytes(4) + struct.pack(">II", n, n) for n in (64, side))
        assert small in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(small, large))
    assert path.stat().st_size < 2 * 2**20
    growth = peak_of("magicid.media.photo", "read_photo", path, f"{side} x {side} pixels; need at most 60 megapixels")
    assert growth < 30, f"{growth} MB more at the peak; the decoded picture has at least {side * side / 1e6:.0f}"


def test_row_44_a_heic_whose_stream_hides_a_larger_picture_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif", reason="HEIC needs pillow-heif")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.heic", "HEIF")
    content = bytearray((tmp_path / "a.heic").read_bytes())
    content[content.index(b"hvcC") + 81] = 0  # of the coded stream's own size: 5,722 high, where the header says 64
    (tmp_path / "a.heic").write_bytes(content)
    with pytest.raises(DataError, match=r"^a\.heic: damaged \(Memory allocation error: Security limit exceeded"):
        read_photo(tmp_path / "a.heic")


@pytest.mark.parametrize(("width", "height"), [(100_000, 1), (1, 100_000), (12_000, 10_000)])
def test_row_44_long_sides_and_many_pixels_are_refused(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "a.png").write_bytes(png((width, height), 8, 0, b""))
    with pytest.raises(DataError, match=rf"^a\.png: {width} x {height} pixels; .* sides of 20,000\. Make it smaller\.$"):
        read_photo(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM", "ICO"])
def test_row_44_other_formats_are_refused_whatever_their_name(tmp_path: Path, kind: str) -> None:
    Image.fromarray(GOOD["a"]).save(tmp_path / "a.jpg", kind)
    with pytest.raises(DataError, match=r"^a\.jpg: not a readable picture; photos are JPEG, PNG, WebP or HEIC by content\."):
        read_photo(tmp_path / "a.jpg")


def no_photos(folder: Path) -> list[str]:
    """Files that are no photos though they are named so, written into a folder; their names."""
    folder.mkdir()
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(whole, "JPEG")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (folder / "drawn.png").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    with zipfile.ZipFile(folder / "zipped.jpg", "w") as archive:
        archive.writestr("photo.jpg", whole.getvalue())
    return ["cut.jpg", "drawn.png", "zipped.jpg"]


def test_row_45_a_file_that_is_no_photo_stops_the_run_and_the_error_names_the_setting(tmp_path: Path) -> None:
    no_photos(tmp_path / "photos")
    with pytest.raises(DataError, match=r"^cut\.jpg: damaged .* \(and 2 more photos .*--prepare\.skip-unusable\.$"):
        prepare(tmp_path, GOOD)


def test_row_45_with_the_setting_the_others_are_kept_and_each_is_said(tmp_path: Path) -> None:
    names = no_photos(tmp_path / "photos")
    more = {"c": picture((30, 40, RED)), "copy": GOOD["a"], "guest": picture((10, 30, BLUE)), "sea": picture()}
    more |= {"pair": picture((10, 10, RED), (100, 40, RED)), "held_out/h": picture((20, 20, RED)), "held_out/x": picture()}
    kept, said = prepare(tmp_path, GOOD | more, skip=True)
    assert [photo.source for photo in kept] == ["a.png", "b.png", "c.png", "h.png"]
    lines = [line for line in said if "dropped: " in line]
    assert len(lines) == 8
    for name in [*names, "copy.png", "guest.png", "sea.png", "pair.png", "x.png"]:
        assert any(name in line for line in lines), name


def test_row_45_a_run_that_left_photos_out_goes_on_until_they_change(bench: Bench) -> None:
    photos = bench.folder / "photos"
    shutil.copytree(bench.photos, photos)
    (photos / "bad.png").write_text("no photo")
    mine, skip = replace(bench, photos=photos), ["--prepare.skip-unusable"]
    for command in ("prepare", "prompts"):
        code, said = mine.attempt(*skip, command=command)
        assert code == 0, said
    (photos / "bad.png").write_text("another")
    code, said = mine.attempt(*skip, command="prompts")
    assert code == 2 and "bad.png added, gone or changed since" in said


@pytest.mark.parametrize("other", [picture((10, 30, BLUE)), picture()])
def test_row_45_with_too_few_left_nothing_is_written(tmp_path: Path, other: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match=r"photos: [01] of 2 photos can be used; need at least 2\. Add photos"):
        prepare(tmp_path, {"a": GOOD["a"], "b": other}, skip=True)


def test_a_held_out_photo_that_is_all_but_a_photo_that_is_learnt_is_refused(tmp_path: Path, avatar: Judges) -> None:
    photos = {name: read_photo(EXAMPLES / "ava" / f"{name}.png") for name in ("photo-1", "photo-2", "photo-3")}
    again = np.clip(photos["photo-2"].astype(np.int16) + 2, 0, 255).astype(np.uint8)
    with pytest.raises(DataError, match=r"held_out/again\.png: nearly the same picture as photo-2\.png.*Choose another"):
        prepare(tmp_path, photos | {"held_out/again": again}, avatar)
    kept, said = prepare(tmp_path / "others", photos | {"more": again}, avatar)
    assert len(kept) == 4 and sum("one of them is enough" in line for line in said) == 1
