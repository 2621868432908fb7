"""Magic-Me learns words and nothing else, from where the person is."""

import torch
from safetensors.torch import load_file

from magicid.baselines.magic_me import MagicMe, load_rows, person_masks, said_with_keywords
from magicid.core.run import Run
from magicid.training import keywords
from magicid.training.stills import photo_masks


def test_only_rows_are_learnt_and_they_move(run: Run) -> None:
    parts = (run.family.transformer, *(encoder for _, encoder in run.family.text_encoders))
    before = [parameter.clone() for part in parts for parameter in part.parameters()]
    start = keywords.new_rows(run.family, 4, "person", run.common.seed)
    learnt = load_file(run.file(MagicMe(3, learning_rate=1e-2).run(run)[0].file))
    assert learnt.keys() == start.keys()
    for name, own in start.items():
        assert learnt[name].shape == own.shape == (4, 32)
        assert ((learnt[name] - own).abs().sum(1) > 1e-3).all()
    after = [parameter for part in parts for parameter in part.parameters()]
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, after, strict=True))


def test_saved_rows_say_something_else_than_the_trigger(run: Run) -> None:
    rows = load_rows(run, load_file(run.file(MagicMe(2, learning_rate=0.1).run(run)[0].file)))
    said = said_with_keywords("Sks person waves in the park.", "sks person", 4)
    assert said == "<new1> <new2> <new3> <new4> person waves in the park."
    with torch.no_grad(), keywords.using(run.family, rows):
        ours, trigger = (run.family.encode_prompts([text])["encoder_hidden_states"] for text in (said, "sks person"))
    assert not torch.allclose(ours, trigger)


def test_the_class_word_of_the_trigger_stays() -> None:
    assert said_with_keywords("A video of sks man who nods.", "sks man", 2) == "A video of <new1> <new2> man who nods."


def test_masks_hold_the_face_and_the_body_below_it_in_every_frame(run: Run) -> None:
    shape = run.family.latents_shape(5, 32, 32)[1:]
    masks = photo_masks(run, shape, person_masks)
    assert masks.shape == (3, *shape) and set(masks.unique().tolist()) <= {0, 1}
    assert (masks == masks[:, :1]).all()
    face, chest, corner = masks[:, 0, 2, 4], masks[:, 0, 5, 4], masks[:, 0, 0, 0]
    assert face.all() and chest.all() and not corner.any()
