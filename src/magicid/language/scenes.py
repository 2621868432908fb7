"""The shipped prompts: twenty for the repository, ten others for the evaluation, said of a man, a woman or a person.

Actions that move the whole person, roles and clothes that a photo does not show, and scenes with motion of their own.
"""

PRONOUNS = {  # class word -> their, them
    **dict.fromkeys(("man", "boy", "guy", "gentleman"), ("his", "him")),
    **dict.fromkeys(("woman", "girl", "lady"), ("her", "her")),
}
REPOSITORY = (
    "walks along a beach at sunset, waves rolling in behind {them}",
    "dances at a street festival with {their} arms in the air",
    "reads a book in a cafe, looks up from {their} page and laughs",
    "runs through a park in autumn, leaves flying around {them}",
    "cooks in a bright kitchen, steam rising from {their} pan",
    "plays {their} guitar on a stage while coloured lights sweep over {them}",
    "waves from the window of a train as the fields pass by",
    "rides {their} bicycle through an old town, people stepping aside for {them}",
    "as a firefighter takes off {their} helmet and turns to the camera",
    "as a scientist in a lab coat leans over {their} microscope",
    "in a tactical suit walks through smoke and raises {their} hand",
    "as a tribal warrior dances by a fire, sparks rising behind {them}",
    "as an aviator climbs out of {their} plane and pulls off {their} goggles",
    "throws snow into the air with both of {their} hands",
    "boxes in a gym, a heavy bag swinging in front of {them}",
    "paints on a large canvas and steps back to look at {their} picture",
    "talks to the camera in a windy garden, brushing hair from {their} face",
    "jumps into a swimming pool, water splashing around {them}",
    "in a business suit hurries up the stairs with {their} briefcase",
    "plays with {their} dog on a meadow, the dog jumping up at {them}",
)
EVALUATION = (
    "skates along a frozen lake, {their} scarf flying",
    "plays the drums in a small club, shaking {their} head to the beat",
    "carries a lantern through a dark forest and looks over {their} shoulder",
    "as a chef tosses a pizza above {their} head",
    "as an astronaut floats in a space station and turns towards {their} window",
    "in a raincoat runs across a street in the rain, cars passing behind {them}",
    "waters the flowers on {their} balcony",
    "practises tai chi at sunrise, moving {their} arms slowly",
    "laughs on a carousel that turns with {them}",
    "conducts an orchestra with {their} whole body",
)


def listed(trigger: str, class_word: str) -> list[str]:
    """All thirty as sentences, the repository's first, with the trigger words in their own case."""
    their, them = PRONOUNS.get(class_word.lower(), ("their", "them"))
    said = (what.format(their=their, them=them) for what in (*REPOSITORY, *EVALUATION))
    return [f"In this video, {trigger} {what}." for what in said]
