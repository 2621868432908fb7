"""A base of the hub: only what is needed is fetched, after everything was checked; a local folder stands for the hub."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from magicid.core import hub
from magicid.core.errors import DataError, ResourceError, UsageError
from magicid.core.files import digest
from magicid.core.run import Common, Run, find_base, kept_commit
from magicid.core.run_dir import RunDir
from magicid.media.photo import write_png
from magicid.pipeline import Pipeline, flatten, run_pipeline
from tests.doubles import RED, picture
from tests.families.tiny import tiny_family

NAME = "owner/model"


class Hub:
    """What the client would do, from one folder to another."""

    def __init__(self, there: Path, cache: Path) -> None:
        self.there, self.cache, self.fetched, self.error = there, cache / "1", list[str](), None
        self.commits = {"1": there}  # the last is the newest
        self.sizes: dict[str, int] = {}

    def model_info(self, name: str, revision: str | None, files_metadata: bool) -> Any:
        if self.error:
            raise self.error
        there = self.commits[commit := self._commit(revision)]
        files = [path for path in sorted(there.rglob("*")) if path.is_file()]
        names = {path.relative_to(there).as_posix(): path.stat().st_size for path in files} | self.sizes
        siblings = [SimpleNamespace(rfilename=file, size=size) for file, size in names.items()]
        return SimpleNamespace(sha=commit, siblings=siblings, card_data={"license": "apache-2.0"})

    def hf_hub_download(self, name: str, file: str, revision: str | None, local_files_only: bool = False) -> str:
        cached = self._cached(revision) / file
        if not local_files_only:
            self._copy(file, revision)
        if not cached.exists():
            raise FileNotFoundError(file)
        return str(cached)

    def try_to_load_from_cache(self, name: str, file: str, revision: str) -> str | None:
        return str(self._cached(revision) / file) if (self._cached(revision) / file).exists() else None

    def snapshot_download(self, name: str, revision: str, allow_patterns: list[str]) -> str:
        for file in allow_patterns:
            self._copy(file, revision)
        return str(self._cached(revision))

    def _commit(self, revision: str | None) -> str:
        return revision or list(self.commits)[-1]

    def _cached(self, revision: str | None) -> Path:
        return self.cache.with_name(self._commit(revision))

    def _copy(self, file: str, revision: str | None) -> None:
        cached = self._cached(revision) / file
        if not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.commits[self._commit(revision)] / file, cached)
            self.fetched.append(file)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub(tmp_path / "hub", tmp_path / "cache")
    tiny_family("wan", made.there)
    for extra in ("preview.png", "README.md", "transformer/model.fp16.safetensors", "flax/model.msgpack"):
        (made.there / extra).parent.mkdir(exist_ok=True)
        (made.there / extra).write_text("not wanted")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    for name in ("hf_hub_download", "try_to_load_from_cache", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, name, getattr(made, name))
    hub.fetch.cache_clear()
    yield made
    hub.fetch.cache_clear()


def test_only_what_the_pipeline_reads_is_fetched_and_the_licence_is_said_once(
    world: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = find_base(Common(Path(), base=NAME))
    assert folder == world.cache
    assert {Path(file).suffix for file in world.fetched} <= {".json", ".safetensors"}
    assert "transformer/diffusion_pytorch_model.safetensors" in world.fetched and "geometry.json" in world.fetched
    assert not [file for file in world.fetched if "fp16" in file or "flax" in file]
    assert "Licence: apache-2.0 (https://huggingface.co/owner/model)." in capsys.readouterr().err
    hub.fetch.cache_clear()
    count = len(world.fetched)
    find_base(Common(Path(), base=NAME))
    assert len(world.fetched) == count and not capsys.readouterr().err, "what is there is not fetched again"


def test_configurations_are_fetched_without_weights(world: Hub) -> None:
    hub.fetch(NAME, weights=False)
    assert world.fetched and not [file for file in world.fetched if file.endswith(".safetensors")]


def test_without_room_nothing_is_downloaded(world: Hub) -> None:
    world.sizes = {"transformer/diffusion_pytorch_model.safetensors": 10**18}
    with pytest.raises(ResourceError, match=r"^owner/model: 1000000000\.0 GB to download, the disk of .* set HF_HOME"):
        hub.fetch(NAME)
    assert world.fetched == ["model_index.json"]


def test_pickles_are_refused_before_anything_is_downloaded(world: Hub) -> None:
    (world.there / "text_encoder" / "model.safetensors").rename(world.there / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"^owner/model: text_encoder: its weights are pickles"):
        hub.fetch(NAME)
    assert world.fetched == ["model_index.json"]


def test_offline_what_was_fetched_is_used_and_what_was_not_is_said(world: Hub) -> None:
    world.error = huggingface_hub.errors.OfflineModeIsEnabled("offline")
    with pytest.raises(DataError, match=r"^owner/model: it is not on this machine, and HF_HUB_OFFLINE is set"):
        hub.fetch(NAME)
    world.error = None
    hub.fetch(NAME)
    hub.fetch.cache_clear()
    world.error = OSError("no route")
    assert hub.fetch(NAME) == world.cache
    shutil.rmtree(world.cache / "vae")
    hub.fetch.cache_clear()
    with pytest.raises(DataError, match=r"^owner/model: only a part of it is in .*; go online once"):
        hub.fetch(NAME)


def test_a_hub_that_does_not_answer_is_one_line(world: Hub) -> None:
    world.error = OSError("no\nroute")
    with pytest.raises(
        DataError, match=r"^owner/model: the hub does not answer \(OSError: no route\); go online, or name a folder\.$"
    ):
        hub.fetch(NAME)


def test_a_run_that_cannot_be_downloads_nothing(world: Hub, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run_pipeline(Common(tmp_path / "nowhere", base=NAME), Pipeline(), tmp_path / "run")
    write_png(tmp_path / "photos" / "a.png", picture((60, 30, RED)))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file cannot be written; choose another --out"):
        run_pipeline(Common(tmp_path / "photos", base=NAME), Pipeline(), tmp_path / "file" / "run")
    assert not world.fetched


def test_a_run_keeps_the_commit_it_was_begun_on(world: Hub, tmp_path: Path) -> None:
    common = Common(tmp_path / "photos", base=NAME)
    run = Run(RunDir(tmp_path / "run"), common)
    run.dir.freeze(flatten(common, Pipeline()) | run.models)
    assert run.dir.settings()["base_commit"] == "1"
    world.commits["2"] = tmp_path / "moved"
    shutil.copytree(world.there, world.commits["2"])
    hub.fetch.cache_clear()
    assert find_base(common).name == "2"
    assert Run(run.dir, common).base_path == world.cache
    assert Run(run.dir, common).models == run.models
    assert find_base(common, kept_commit(run.dir.root, NAME)) == world.cache
    assert kept_commit(run.dir.root, "owner/other") == "" == kept_commit(tmp_path, NAME)
    run.dir.close()
    shutil.rmtree(world.cache.with_name("2"))
    hub.fetch.cache_clear()
    for name in ("a.png", "b.png"):
        write_png(tmp_path / "photos" / name, picture((60, 30, RED)))
    with pytest.raises(DataError, match=r"a\.png: 0 faces"):
        run_pipeline(common, Pipeline(), tmp_path / "run")
    assert not world.cache.with_name("2").exists(), "nothing of what is newer is fetched"
    world.error = OSError("no route")
    hub.fetch.cache_clear()
    assert find_base(common, kept_commit(tmp_path / "run", NAME)) == world.cache


def test_a_commit_that_is_gone_is_named(world: Hub) -> None:
    world.error = type("RevisionNotFoundError", (Exception,), {})("404")
    with pytest.raises(DataError, match=r"^owner/model: commit 7f, on which the run was begun, is gone; make the run again"):
        hub.fetch(NAME, commit="7f")


def test_a_folder_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not hub.is_id("a/b") and hub.is_id("a/c") and not hub.is_id("./a/c/d") and not hub.is_id("avatar")


def test_what_other_programs_put_beside_a_fetched_model_is_not_part_of_it(world: Hub, tmp_path: Path) -> None:
    folder = hub.fetch(NAME)
    before = digest(folder, hub.read_of(folder))
    (folder / "README.md").write_text("a card")
    (folder / "transformer" / "model.fp16.safetensors").write_text("a variant")
    assert digest(folder, hub.read_of(folder)) == before != digest(folder)
    (folder / "transformer" / "config.json").write_text("{}")
    assert digest(folder, hub.read_of(folder)) != before


def test_templates_of_tokenizers_are_fetched_too() -> None:
    assert hub.needed(["tokenizer/chat_template.jinja"], ["tokenizer"]) == ["tokenizer/chat_template.jinja"]
