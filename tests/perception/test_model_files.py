"""A network counts by its sha256, wherever it lies; what is not the pinned file is refused."""

import hashlib
from pathlib import Path

import huggingface_hub
import pytest

from magicid.core.errors import DataError, UsageError
from magicid.perception import model_files
from magicid.perception.model_files import MODELS, ModelFile, choose_model, find_model, local_model, model_name

CONTENT = {"sface": b"tells people apart", "rfb": b"finds them"}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files stand for the networks, and nothing is on this machine."""
    for name, content in CONTENT.items():
        pinned = ModelFile(f"{name}.onnx", hashlib.sha256(content).hexdigest(), "MIT", hub=f"nobody/{name}", limits="for tests")
        monkeypatch.setitem(MODELS, name, (pinned,))
    monkeypatch.delenv("MAGICID_MODELS", raising=False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    model_files._say_limits.cache_clear()


def unreachable(*_: object, **__: object) -> str:
    raise OSError("no route to the hub.\nand more")


def lay(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("folder", ["models", "weights", "a/models", "a/b/weights"])
def test_a_file_around_the_photos_is_known_whatever_its_name(tmp_path: Path, folder: str) -> None:
    photos = tmp_path / "a" / "b"
    photos.mkdir(parents=True)
    lay(tmp_path / folder, "other.bin", b"something else")
    lay(tmp_path / folder, "holiday.onnx", CONTENT["sface"])
    assert find_model("sface", photos) == tmp_path / folder / "holiday.onnx"
    assert local_model("rfb", photos) is None


def test_the_folders_of_the_environment_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path / "models", "net.onnx", CONTENT["sface"])
    mine = lay(tmp_path / "mine", "net.onnx", CONTENT["sface"])
    monkeypatch.setenv("MAGICID_MODELS", f"{tmp_path / 'nowhere'}:{tmp_path / 'mine'}")
    assert find_model("sface", tmp_path) == mine


def test_a_file_that_changes_is_looked_at_anew(tmp_path: Path) -> None:
    path = lay(tmp_path / "models", "net.onnx", CONTENT["sface"])
    assert local_model("sface", tmp_path) == path
    path.write_bytes(b"overwritten")
    assert local_model("sface", tmp_path) is None


def test_a_folder_that_cannot_be_read_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path / "models", "net.onnx", CONTENT["sface"])

    def forbidden(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)  # chmod does not keep root out
    assert local_model("sface", tmp_path) is None


def test_what_the_user_names_is_taken(tmp_path: Path) -> None:
    own, copy = lay(tmp_path, "own.onnx", b"trained at home"), lay(tmp_path, "copy.onnx", CONTENT["rfb"])
    assert find_model(f"sface:{own}") == own and model_name(f"sface:{own}") == "sface"
    assert model_name(str(copy)) == "rfb"
    with pytest.raises(UsageError, match=r"own\.onnx: no file that is known here; say which network it is, NAME:"):
        model_name(str(own))
    with pytest.raises(DataError, match=r"gone\.onnx: no such file"):
        find_model(f"sface:{tmp_path / 'gone.onnx'}")
    with pytest.raises(UsageError, match="model 'sfase' is unknown; did you mean 'sface'"):
        find_model("sfase")


def test_what_the_hub_sends_must_be_the_pinned_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(hub: str, file: str) -> str:
        asked.append((hub, file))
        return str(lay(tmp_path, "download", CONTENT["sface"] if hub == "nobody/sface" else b"tampered with"))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert find_model("sface").read_bytes() == CONTENT["sface"] and asked == [("nobody/sface", "sface.onnx")]
    with pytest.raises(DataError, match=r"download: sha256 \w{12}, rfb has \w{12}; it must be the pinned file\. Put"):
        find_model("rfb")


def test_without_network_one_line_says_where_was_looked_and_how_to_get_it(tmp_path: Path) -> None:
    lay(tmp_path / "models", "net.onnx", b"?")
    with pytest.raises(DataError) as e:
        find_model("sface", tmp_path)
    assert str(e.value) == (
        f"sface: not in {tmp_path / 'models'}, and nobody/sface cannot be read (no route to the hub). "
        "Put sface.onnx into a folder that MAGICID_MODELS names, or give sface:PATH."
    )
    with pytest.raises(DataError, match="mobileface: not on this machine, and on no hub"):
        find_model("mobileface")


def test_what_is_here_is_chosen_before_what_must_be_fetched(tmp_path: Path) -> None:
    assert choose_model(["sface", "rfb"], tmp_path) == "sface"
    lay(tmp_path / "models", "net.onnx", CONTENT["rfb"])
    assert choose_model(["sface", "rfb"], tmp_path) == "rfb"


def test_a_limiting_licence_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path / "models", "net.onnx", CONTENT["sface"])
    for _ in range(2):
        find_model("sface", tmp_path)
    assert capsys.readouterr().err == "sface: for tests (nobody/sface, licence: MIT).\n"


def test_every_pinned_file_is_a_sha256_with_a_licence_and_one_of_each_kind_is_fetched_first() -> None:
    files = [file for found in MODELS.values() for file in found]
    assert all(len(file.sha256) == 64 and int(file.sha256, 16) and file.licence for file in files)
    assert len({file.sha256 for file in files}) == len(files)
    assert all(found[0].hub or not any(file.hub for file in found) for found in MODELS.values())
