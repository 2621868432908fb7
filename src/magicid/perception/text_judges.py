"""Who says how well real videos follow their prompts, by name: "clip", "vlm" or "endpoint", each with a model after a colon.

The reward and the report take different ones, since what is rewarded is no measure any more.
"""

from pathlib import Path

from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.core.interfaces import VideoTextEncoder, VideoTextJudge
from magicid.language.endpoint import Endpoint, named_model

DEFAULTS = {  # kind -> hub id
    "clip": "openai/clip-vit-large-patch14",
    "vlm": "Qwen/Qwen3-VL-4B-Instruct",
    "endpoint": "",  # MAGICID_VLM_MODEL
}


def whole_name(name: str) -> str:
    """A judge by its kind and model, "vlm:models/qwen": what "vlm" alone leaves open is named, and a folder from the root on.

    Two names of one model are thereby alike. `UsageError` for an unknown kind.
    """
    kind, _, model = name.partition(":")
    tables.check(DEFAULTS, "text judge", kind)
    model = model or DEFAULTS[kind] or named_model("VLM")
    return f"{kind}:{Path(model).resolve() if Path(model).is_dir() else model}"


def text_judge(name: str) -> VideoTextJudge:
    """The judge of that name, e.g. "vlm", "vlm:models/qwen", "clip:openai/clip-vit-base-patch16", "endpoint:qwen3-vl-32b".

    Weights are loaded at its first use; `DataError` at once where there is no such model, `UsageError` for an unknown name.
    """
    kind, _, model = whole_name(name).partition(":")
    if kind == "clip":
        from magicid.perception.clip import ClipEncoder

        return ClipEncoder(model)
    from magicid.perception.rubric import RubricJudge
    from magicid.perception.vlm import EndpointVlm, LocalVlm

    if kind == "vlm":
        return RubricJudge(LocalVlm(model))
    endpoint = Endpoint.configured("VLM", "look at MAGICID_VLM_URL, or choose the text judge clip or vlm.", model)
    if endpoint is None:
        raise UsageError("text judge 'endpoint' needs MAGICID_VLM_URL; set it, or choose clip or vlm.")
    return RubricJudge(EndpointVlm(endpoint))


def text_encoder(name: str) -> VideoTextEncoder:
    """A judge that has embeddings too, which the report's consistency is made of; `UsageError` for one that has none."""
    kind, _, model = whole_name(name).partition(":")
    if kind != "clip":
        raise UsageError(
            f"text judge {name!r} gives marks and no embeddings, which the report needs; choose clip for the report."
        )
    from magicid.perception.clip import ClipEncoder

    return ClipEncoder(model)
