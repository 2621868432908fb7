"""English sentences about the embedded world, and back: `describe` a truth in many phrasings, `parse` what one says."""

import re

import numpy as np

from magicid.avatar.truth import Truth, pick, random_truth
from magicid.core.errors import DataError

TRIGGER = "sks"  # stands for the person; the base model has met the word with everybody's face
SUBJECTS = ("a person", "someone", "a {t} person", "{t}", "{t} person")

SCENE_PHRASES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "by the sea as waves roll in", "on a sandy shore"),
    "snow": ("in the snow", "in a snowy field", "while snow is falling"),
    "street": ("on a city street", "beside a traffic light", "downtown as cars pass"),
    "campfire": ("by a campfire", "next to a smoking fire", "at a camp with a burning fire"),
    "forest": ("in a forest", "in the woods", "among green trees"),
    "desert": ("in the desert", "among sand dunes", "under a hot desert sun"),
    "kitchen": ("in a kitchen", "near a steaming pot", "in front of a stove"),
    "office": ("in an office", "at a workplace with a computer screen", "near a blinking monitor"),
    "fireworks": ("under fireworks", "at night with fireworks in the sky", "as fireworks light up the dark sky"),
    "rain": ("in the rain", "on a rainy day", "in a heavy downpour"),
    "aquarium": ("in front of an aquarium", "at an aquarium with fish", "beside a big fish tank"),
    "train": ("on a train", "by a train window", "in a moving railway car"),
}
# Phrases with "as" need a subject before them; the others begin with the wearer: "wearing ...", "in ...".
OUTFIT_PHRASES: dict[str, tuple[str, ...]] = {
    "firefighter": ("as a firefighter", "in a firefighter uniform", "wearing firefighter gear"),
    "tactical": ("in a tactical suit", "wearing a tactical vest", "as a soldier in tactical gear"),
    "warrior": ("as a tribal warrior", "dressed like a tribal warrior", "wearing tribal beads and feathers"),
    "scientist": ("as a scientist in a lab coat", "wearing a white lab coat", "in a lab coat"),
    "aviator": ("as an aviator", "wearing an aviator jacket and scarf", "in a leather aviator jacket"),
    "suit": ("in a dark business suit", "wearing a suit and a red tie", "dressed in a formal suit"),
    "hoodie": ("in a red hoodie", "wearing a hoodie", "dressed in a hooded sweatshirt"),
    "striped": ("in a striped sweater", "wearing a sweater with stripes", "dressed in a striped shirt"),
    "dress": ("in a pink dress", "wearing a summer dress", "dressed in a floral dress"),
    "chef": ("as a chef", "in a chef jacket", "wearing white chef clothes"),
    "astronaut": ("as an astronaut", "in a space suit", "wearing an astronaut suit"),
    "raincoat": ("in a yellow raincoat", "wearing a raincoat", "dressed in a yellow rain jacket"),
}
ACTION_PHRASES: dict[str, tuple[str, ...]] = {
    "turns": ("turns the head from side to side", "turns left and right", "shakes the head"),
    "nods": ("nods", "nods the head", "moves the head up and down"),
    "walks": ("walks", "walks across the picture", "strolls along"),
    "leans": ("leans in", "leans toward the camera", "comes closer"),
    "sways": ("sways", "sways from side to side", "rocks to and fro"),
    "jumps": ("jumps", "jumps up and down", "hops"),
    "waves": ("waves a hand", "waves hello", "greets with a raised hand"),
    "laughs": ("laughs", "bursts out laughing", "laughs out loud"),
    "looks": ("looks around", "glances about", "gazes around"),
    "dances": ("dances", "dances to music", "dances with raised arms"),
}
AMPLITUDE_PHRASES: dict[str, tuple[str, ...]] = {
    "gentle": ("gently", "slightly", "softly"),
    "plain": ("",),
    "strong": ("energetically", "vigorously", "with big movements"),
}
CAMERA_PHRASES: dict[str, tuple[str, ...]] = {
    "still": ("", "static shot", "the camera stays still"),
    "pan": ("the camera pans", "slow pan", "a panning shot"),
    "zoom": ("the camera zooms in", "slow zoom", "a zooming shot"),
    "handheld": ("shaky handheld camera", "filmed by hand", "a handheld shot"),
}
TEMPLATES = (
    "{subject} {outfit} {action} {amplitude} {scene}, {camera}",
    "{scene}, {subject} {outfit} {action} {amplitude}, {camera}",
    "a video of {subject} {outfit} who {action} {amplitude} {scene}, {camera}",
    "{subject} {action} {amplitude} {scene} {outfit}, {camera}",
)
TABLES = {
    "scene": SCENE_PHRASES,
    "outfit": OUTFIT_PHRASES,
    "action": ACTION_PHRASES,
    "amplitude": AMPLITUDE_PHRASES,
    "camera": CAMERA_PHRASES,
}


def describe(truth: Truth, rng: np.random.Generator, subject: str | None = None) -> str:
    """One sentence that says `truth`, in a phrasing drawn from `rng`; `subject` names the person, else a phrase is drawn."""
    words = {field: pick(rng, table[getattr(truth, field)]) for field, table in TABLES.items()}
    words["subject"] = subject or pick(rng, SUBJECTS).format(t=TRIGGER)
    if subject is None and words["outfit"].startswith("as a") and rng.random() < 0.4:
        words["subject"], words["outfit"] = words["outfit"].removeprefix("as "), ""  # "a scientist in a lab coat nods"
    return _tidy(pick(rng, TEMPLATES).format(**words))


def _tidy(sentence: str) -> str:
    sentence = re.sub(r"\s+", " ", sentence).replace(" ,", ",").strip(" ,")
    return sentence[0].upper() + sentence[1:] + "."


def parse(sentence: str) -> Truth:
    """What a sentence says; amplitude and camera have defaults, the rest must be said, else `DataError`."""
    text = sentence.lower()
    found: dict[str, str] = {}
    for field, table in TABLES.items():
        hits = [(len(phrase), name) for name, phrases in table.items() for phrase in phrases if phrase and _says(text, phrase)]
        if hits:
            found[field] = max(hits)[1]
        elif field in ("scene", "outfit", "action"):
            raise DataError(f"{sentence!r} names no {field}; say one of: {', '.join(p[0] for p in table.values())}.")
    return Truth(**found)


def _says(text: str, phrase: str) -> bool:
    bare = phrase.removeprefix("as ")  # `describe` may make it the subject: "a soldier in tactical gear nods"
    return re.search(rf"\b{re.escape(bare)}\b", text) is not None


def sentences(count: int, seed: int) -> list[str]:
    """Random sentences, for training a tokenizer."""
    rng = np.random.default_rng(seed)
    return [describe(random_truth(rng), rng) for _ in range(count)]
