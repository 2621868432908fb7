"""LoRA files from elsewhere: cast or refused, on their own base only, whole, and never another person without a word."""

import json
import pickle
import shutil
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from magicid import pipeline
from magicid.cli import main
from magicid.core import tables
from magicid.core.errors import DataError
from magicid.core.files import digest
from magicid.core.interfaces import Family
from magicid.core.records import Photo
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.export.lora_file import export_adapter, subject
from magicid.export.read_lora import bring_in, read_lora
from magicid.pipeline import Pipeline, flatten
from magicid.training import lora
from magicid.training.adapters import save_adapter
from magicid.training.lora import LoraSettings
from tests.families.tiny import adapter, tiny_family
from tests.faults.guards import Guard

GUARDS = {
    54: Guard("export/read_lora.py", "if not tensor.is_floating_point():", "if False:"),
    55: Guard("export/read_lora.py", 'if story.get("base_digest", own) != own:', "if False:"),
    56: Guard("export/read_lora.py", "if own != slot:", "if False:"),
}
RANK, ALPHA = 3, 6.0
SETTINGS = {"finetune.rank": RANK, "finetune.alpha": ALPHA, "finetune.targets": [], "base_digest": "0123456789abcdef"}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    return {name: tiny_family(name, tmp_path_factory.mktemp(name)) for name in tables.IMPORTS}


@pytest.fixture(scope="module")
def run(families: dict[str, Family], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the tiny Wan whose person has two photos."""
    return begun(families["wan"], tmp_path_factory.mktemp("lora"))


def begun(family: Family, root: Path) -> Run:
    run = Run(RunDir(root / "run"), Common(root, base="somewhere", trigger="sks person"))
    run.family = family
    run.dir.freeze(SETTINGS)
    run.dir.stage("prepare")
    run.dir.publish("prepare", [Photo(f"photo-{i}", f"{i}.png", "", "", f"{i:064x}", held_out=False) for i in range(2)])
    return run


@pytest.fixture
def file(run: Run, tmp_path: Path) -> Path:
    """What the run exports."""
    with adapter(run.family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        record = save_adapter(run, "optimize", weights)
    export_adapter(run, record, tmp_path / "ava.safetensors")
    return tmp_path / "ava.safetensors"


def changed(path: Path, tensors: dict[str, Tensor] | None = None, **story: object) -> Path:
    """The same file with other tensors, or other fields of its story; `None` takes a field out."""
    with safe_open(path, "pt") as opened:
        told = json.loads(opened.metadata()["magicid"])
    told = {key: value for key, value in (told | story).items() if value is not None}
    save_file(load_file(path) if tensors is None else tensors, path, {"magicid": json.dumps(told)})
    return path


def brought(run: Run, path: Path) -> tuple[list[str], str, dict[str, Tensor]]:
    """What is said, the trigger and the adapter's weights; no adapter stays behind, also where it is refused."""
    said = list[str]()
    try:
        trigger = bring_in(run, "elsewhere", path, said.append)
        weights = lora.weights(run.family, "elsewhere")
        lora.remove_adapter(run.family, "elsewhere")
    finally:
        assert "elsewhere" not in getattr(run.family.transformer, "peft_config", {})
    return said, trigger, weights


def products(tensors: dict[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
    """What each layer's update is."""
    layers = {key.removesuffix(".lora_A.weight") for key in tensors if ".lora_A." in key}
    return {n: scale * tensors[f"{n}.lora_B.weight"] @ tensors[f"{n}.lora_A.weight"] for n in layers}


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("wan", ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")),
        ("hunyuan_video", ()),
        ("hunyuan_video", ("transformer_blocks.1.attn.to_k", "single_transformer_blocks.0.proj_mlp")),
        ("hunyuan_video", ("transformer_blocks.0.ff.net.0.proj", "single_transformer_blocks.1.proj_out")),
        ("cogvideox", ()),
        ("ltx", ("to_q", "ff.net.2")),
        ("hunyuan_video15", ()),
    ],
)
def test_what_was_exported_is_read_as_it_was(
    families: dict[str, Family], tmp_path: Path, name: str, targets: tuple[str, ...]
) -> None:
    path = tmp_path / "lora.safetensors"
    with adapter(families[name], "ava", LoraSettings(RANK, ALPHA, targets)) as weights:
        save_file(tables.load(tables.EXPORTS, "export of", name)(weights, ALPHA / RANK), path)
    found, trained = read_lora(path, families[name]), products(weights, ALPHA / RANK)
    assert found.story == {} and {t.dtype for t in found.tensors.values()} == {torch.float32}
    there = {layer: update for layer, update in products(found.tensors).items() if update.any()}
    assert there.keys() == trained.keys()
    assert all(torch.allclose(there[layer], trained[layer], atol=1e-6) for layer in trained)
    assert {t.shape[0] for key, t in found.tensors.items() if ".lora_A." in key} == {RANK}


def test_a_runs_own_export_comes_back_without_a_word(run: Run, file: Path) -> None:
    said, trigger, weights = brought(run, file)
    assert said == [] and trigger == "sks person"
    own = products(load_file(run.file("optimize/adapter.safetensors")), ALPHA / RANK)
    assert all(torch.allclose(update, own[layer], atol=1e-6) for layer, update in products(weights).items())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_row_54_another_floating_dtype_is_cast_and_said(run: Run, file: Path, kind: torch.dtype) -> None:
    tensors = {key: tensor.to(kind) for key, tensor in load_file(file).items()}
    said, _, weights = brought(run, changed(file, tensors))
    assert said == [f"{file}: {str(kind).removeprefix('torch.')} is cast to float32."]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_row_54_numbers_that_are_not_floating_are_refused(run: Run, file: Path, kind: torch.dtype) -> None:
    tensors = load_file(file)
    first = min(tensors)
    with pytest.raises(DataError, match=rf"{first} is {str(kind).removeprefix('torch.')}; a LoRA's tensors are floating"):
        brought(run, changed(file, tensors | {first: tensors[first].to(kind)}))


def test_row_54_numbers_that_are_not_finite_are_refused(run: Run, file: Path) -> None:
    tensors = {key: tensor.to(torch.float64) for key, tensor in load_file(file).items()}
    tensors[min(tensors)][0, 0] = 1e300  # finite until it is cast
    with pytest.raises(DataError, match="is not a matrix of finite numbers"):
        brought(run, changed(file, tensors))


def test_row_55_a_lora_of_another_base_is_refused(run: Run, file: Path) -> None:
    said = r"another base model \(digest fedcba98, this run's 01234567\); a LoRA fits its own only\. Use a run on that base\.$"
    with pytest.raises(DataError, match=said):
        brought(run, changed(file, base_digest="fedcba9876543210"))


@pytest.mark.parametrize("story", ["told", "not told"])
def test_row_55_keys_are_matched_both_ways(run: Run, file: Path, story: str) -> None:
    tensors, targets = load_file(file), [] if story == "told" else None
    first = "diffusion_model.blocks.0.cross_attn.k"
    pair = {key: tensors[key] for key in tensors if key.startswith(f"{first}.")}
    ours = r"blocks\.0\.attn2\.to_k\.lora_A\.weight, blocks\.0\.attn2\.to_k\.lora_B\.weight"
    rest = {key: tensor for key, tensor in tensors.items() if key not in pair}
    with pytest.raises(DataError, match=rf"ava\.safetensors: .*2 tensors do not match \(missing: {ours}\)"):
        brought(run, changed(file, rest, targets=targets))
    more = {key.replace("blocks.0.", "blocks.9."): tensor.clone() for key, tensor in pair.items()}
    with pytest.raises(DataError, match=rf"2 tensors do not match \(unexpected: {ours.replace('0', '9')}\)"):
        brought(run, changed(file, tensors | more, targets=targets))
    with pytest.raises(DataError, match=r"cross_attn\.k': lora_B is missing"):
        brought(run, changed(file, {key: t for key, t in tensors.items() if key != f"{first}.lora_B.weight"}, targets=targets))
    for name in ("blocks.0.self_attn.q", "diffusion_model.blocks.0.attn1.to_q", "lora_unet_blocks_0_q"):
        odd = {key.replace(first, name): tensor for key, tensor in pair.items()}
        with pytest.raises(
            DataError, match=r"is unexpected: (no layer's name in \w+'s layout|its prefix is none of diffusion_model\.)"
        ):
            brought(run, changed(file, rest | odd, targets=targets))


@pytest.mark.parametrize("name", tables.IMPORTS)
def test_row_55_a_name_without_a_prefix_is_refused(families: dict[str, Family], name: str, tmp_path: Path) -> None:
    layer, path = "transformer_blocks.0.attn1.to_q", tmp_path / "lora.safetensors"
    save_file({f"{layer}.lora_A.weight": torch.ones(2, 4), f"{layer}.lora_B.weight": torch.ones(4, 2)}, path)
    with pytest.raises(DataError, match=rf"'{layer}' is unexpected: its prefix is none of .*\. Convert the file to one\.$"):
        read_lora(path, families[name])


def test_row_55_a_prefix_that_the_family_has_not_is_refused(families: dict[str, Family], tmp_path: Path) -> None:
    layer, path = "diffusion_model.transformer_blocks.0.attn1.to_q", tmp_path / "lora.safetensors"
    save_file({f"{layer}.lora_A.weight": torch.ones(2, 32), f"{layer}.lora_B.weight": torch.ones(32, 2)}, path)
    with pytest.raises(DataError, match=rf"'{layer}' is unexpected: CogVideoX's layers are transformer\.NAME"):
        read_lora(path, families["cogvideox"])


def test_row_55_a_model_of_another_width_is_refused(run: Run, file: Path) -> None:
    tensors = load_file(file)
    wider = {key: nn.functional.pad(t, (0, 8)) if ".lora_A." in key else t for key, t in tensors.items()}
    with pytest.raises(DataError, match=r"lora_A\.weight is \(3, 40\), not \(3, 32\)"):
        brought(run, changed(file, wider))


def test_row_56_a_lora_of_another_person_is_used_and_said_to_be(run: Run, file: Path) -> None:
    said, trigger, _ = brought(run, changed(file, subject="ab12cd34", trigger="sks dog"))
    whose = f"made for another person (subject 'ab12cd34', this run's is {subject(run)}); the clip shows that person."
    assert said == [f"{file}: {whose} Its trigger is 'sks dog'."] and trigger == "sks dog"
    said, _, _ = brought(run, changed(file, subject=None, trigger="sks person"))
    assert said == [f"{file}: which person it was made for is unknown. Its trigger is 'sks person'."]


def test_row_56_the_header_has_a_slot_and_a_subject_and_another_slot_is_refused(run: Run, file: Path) -> None:
    assert read_lora(file, run.family).story.items() >= {"slot": "person", "subject": subject(run)}.items()
    with pytest.raises(DataError, match=r"a LoRA for the slot 'high_noise'; here is one for 'person' only"):
        brought(run, changed(file, slot="high_noise"))


def test_row_56_experts_have_two_files_which_are_brought_in_together_or_not_at_all(tmp_path: Path) -> None:
    run = begun(tiny_family("wan22", tmp_path / "base"), tmp_path)
    high, low = tmp_path / "ava.safetensors", tmp_path / "ava_low.safetensors"
    with adapter(run.family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        record = save_adapter(run, "optimize", weights)
    export_adapter(run, record, high)
    said, _, found = brought(run, high)
    own = products(weights, ALPHA / RANK)
    assert said == [] and all(torch.allclose(update, own[layer], atol=1e-6) for layer, update in products(found).items())
    with pytest.raises(
        DataError,
        match=r"the expert 'low' has a file of its own, and .*eva_low\.safetensors is not there\. Put it there, or name both",
    ):
        brought(run, high.rename(tmp_path / "eva.safetensors"))
    (tmp_path / "eva.safetensors").rename(high)
    with pytest.raises(
        DataError, match=r"ava_low\.safetensors: a LoRA for the slot 'low'; here is one for 'high' only\. Name the"
    ):
        shutil.copy(low, tmp_path / "ava_low_low.safetensors")
        brought(run, low)
    changed(low, adapter_sha256="0" * 64)
    with pytest.raises(DataError, match=r"ava\.safetensors and .*ava_low\.safetensors: not of one export"):
        brought(run, high)
    save_file(load_file(high), high)
    with pytest.raises(DataError, match=r"ava\.safetensors and .*ava_low\.safetensors: not of one export"):
        brought(run, high)
    changed(low, slot="person")
    with pytest.raises(DataError, match="a LoRA for the slot 'person'; here is one for 'low' only"):
        brought(run, high)
    run.dir.close()


@pytest.mark.parametrize("field", ["slot", "subject", "base_digest", "trigger", "targets", "adapter_sha256"])
def test_row_56_a_field_of_another_type_is_refused(run: Run, file: Path, field: str) -> None:
    with pytest.raises(DataError, match="its magicid header is not what the export writes"):
        brought(run, changed(file, **{field: 3}))


def test_row_56_generate_uses_the_file_and_says_whose_it_is(
    families: dict[str, Family], run: Run, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(families["wan"].pipeline.config._name_or_path)  # type: ignore[attr-defined]
    common = Common(tmp_path / "photos", base=str(base))
    folder = RunDir(tmp_path / "run")
    folder.freeze(flatten(common, Pipeline()) | Run(folder, common).models)
    folder.close()
    asked = ["generate", str(tmp_path / "run"), "a person waves", "--steps", "1", "--adapter", str(file)]
    file = changed(file, base_digest=digest(base), trigger="sks dog")
    assert main(asked) == 0
    told = capsys.readouterr()
    assert told.out == f"{tmp_path}/run/generated.mp4\n" and (tmp_path / "run" / "generated.mp4").exists()
    assert "made for another person" in told.err and told.err.count("\n") == 1
    changed(file, slot="high_noise")
    assert main(asked) == 3 and "a LoRA for the slot 'high_noise'" in capsys.readouterr().err
    file.write_bytes(pickle.dumps({"w": 1}))
    assert main(asked) == 3 and f"{file}: a pickle, not safetensors" in capsys.readouterr().err


def test_a_clip_of_two_experts_names_both_files_in_its_recipe_which_is_written_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, high, low, clip = (tmp_path / name for name in ("base", "ava.safetensors", "ava_low.safetensors", "clip.mp4"))
    exporter, common = begun(tiny_family("wan22", base), tmp_path / "exporter"), Common(tmp_path / "photos", base=str(base))
    with adapter(exporter.family, "ava", LoraSettings(RANK, ALPHA)) as weights:
        record = save_adapter(exporter, "optimize", weights)
    for path in export_adapter(exporter, record, high):
        changed(path, base_digest=digest(base))
    with closing(RunDir(tmp_path / "run")) as folder:
        folder.freeze(flatten(common, Pipeline()) | Run(folder, common).models)
    clip.with_suffix(".json").write_text("mine")
    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(pipeline, "to_frames", Mock(side_effect=MemoryError))
        pipeline.generate_clip(tmp_path / "run", "a person waves", clip, steps=1, adapter=high)
    assert clip.with_suffix(".json").read_text() == "mine" and not clip.exists()
    pipeline.generate_clip(tmp_path / "run", "a person waves", clip, steps=1, adapter=high)
    kept = json.loads(clip.with_suffix(".json").read_text())
    assert clip.exists() and (kept["adapter"], kept["adapter_low"]) == (str(high), str(low))


def test_a_file_without_a_story_is_judged_by_its_keys_and_said_to_be_unknown(run: Run, file: Path) -> None:
    save_file(load_file(file), file)
    said, trigger, _ = brought(run, file)
    assert len(said) == 1 and said[0].endswith("which base and which person it was made for is unknown.")
    assert trigger == "sks person"
