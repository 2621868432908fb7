"""The judges take any clip, answer in their contracts' terms, and say what to do when their weights are missing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from magicid.avatar.judges import (
    NETWORKS,
    AvatarDetector,
    AvatarFaceEncoder,
    Classifier,
    VideoText,
    known_words,
    load_judge,
    save_judge,
    standard_clip,
)  # fmt: skip
from magicid.avatar.prompts import TRIGGER, sentences
from magicid.core.errors import DataError
from magicid.core.weights import write_weights
from magicid.perception.networks import Words


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judges")
    torch.manual_seed(0)
    for name, make in NETWORKS.items():
        save_judge(make(), name, folder)
    return folder


def clips(count: int, frames: int = 9, size: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, frames, size, size, 3), np.uint8)


def test_all_judges_together_have_at_most_four_million_parameters() -> None:
    assert sum(p.numel() for make in NETWORKS.values() for p in make().parameters()) <= 4_000_000


@pytest.mark.parametrize("name", ["face_reward", "face_report"])
def test_face_embeddings_are_unit_vectors(name: str, weights: Path) -> None:
    encoder = AvatarFaceEncoder(name, weights)
    embeddings = encoder.embed(clips(1, 5, encoder.crop_size)[0])
    assert embeddings.shape == (5, 128)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert encoder.embed(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 128)


@pytest.mark.parametrize("name", ["video_text_reward", "video_text_report"])
def test_clips_and_sentences_share_a_space(name: str, weights: Path) -> None:
    judge, sentences = VideoText(name, weights), ["Someone nods in the snow in a red hoodie.", "zzz", ""]
    video, text = judge.embed_video(clips(3)), judge.embed_text(sentences)
    assert np.allclose(np.linalg.norm(np.concatenate((video, text)), axis=1), 1, atol=1e-5)
    assert np.allclose(judge.similarity(list(clips(3)), sentences), (video * text).sum(1), atol=1e-6)


@pytest.mark.parametrize("name", ["video_text_reward", "video_text_report"])
def test_a_sentence_means_the_same_beside_a_longer_one(name: str, weights: Path) -> None:
    judge, short = VideoText(name, weights), "Someone nods."
    beside = judge.embed_text([short, "Someone in a red hoodie walks on a city street, the camera pans."])
    assert np.allclose(judge.embed_text([short])[0], beside[0], atol=1e-5)


def test_classifier_names_a_truth_for_each_clip(weights: Path) -> None:
    judge = Classifier(weights)
    assert len(judge.predict(clips(2))) == 2
    assert judge.features(clips(2)).shape == (2, 128)


def test_detector_scales_its_boxes_to_the_frame(weights: Path) -> None:
    small, detector = clips(1, 2, 64)[0], AvatarDetector(weights, least_score=0)
    large = small.repeat(2, 1).repeat(2, 2)
    for few, many in zip(detector.detect(small), detector.detect(large), strict=True):
        assert np.allclose(np.array(many[0].box), 2 * np.array(few[0].box), atol=1e-2)
        assert many[0].landmarks.shape == (5, 2)
        assert [face.score for face in many] == sorted((face.score for face in many), reverse=True)


def test_standard_clip_keeps_first_and_last_frame() -> None:
    clip = clips(1, 33, 64)[0]
    standard = standard_clip(clip)
    assert standard.shape == (17, 64, 64, 3)
    assert (standard[0] == clip[0]).all() and (standard[-1] == clip[-1]).all()


def test_unknown_words_share_numbers_that_known_ones_do_not_have() -> None:
    words = Words(known_words())
    known, unknown, padding = (words(texts)[0].tolist() for texts in (["hoodie nods"], ["qwxyz"], ["", "a b"]))
    assert min(known) > 64 >= max(unknown) > 0
    assert padding == [0, 0]


def test_every_word_of_the_grammar_is_known_but_the_trigger() -> None:
    words = Words(known_words(), length=100)
    tokens = words([sentence.lower().replace(TRIGGER, "") for sentence in sentences(200, 0)])
    assert not ((tokens > 0) & (tokens < 65)).any()


def test_missing_weights_name_the_file_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"detector\.safetensors: missing.*magicid\.avatar\.pretrain judges"):
        load_judge("detector", tmp_path)


def test_weights_of_another_vocabulary_are_an_error_in_one_line(tmp_path: Path) -> None:
    write_weights(tmp_path / "classifier.safetensors", {"one": torch.zeros(2)})
    with pytest.raises(DataError, match=r"classifier\.safetensors: not the weights of today's classifier; bring the package's"):
        load_judge("classifier", tmp_path)
