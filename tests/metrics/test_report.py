"""The report is one page that needs nothing else and shows what the run has."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from magicid.core.errors import DataError
from magicid.core.records import STRANGERS, Metric, Pair, Photo, Score, Video
from magicid.core.run_dir import RunDir
from magicid.media.photo import write_png
from magicid.media.video import write_video
from magicid.metrics import leakage, report
from magicid.metrics.report import result_table, summary, write_report
from magicid.metrics.video import MEANINGS

PROMPT = 'A sks person says "1 < 2" & <script>alert(1)</script>'
LOGGED = ("loss", "win_drift", "lose_drift", "accuracy", "gradient_factor")
METRICS = [
    Metric(method, name, value, value - 0.05, value + 0.05, 8)
    for name, values in {"identity": (0.1, 0.5, 0.6), "motion": (0.5, 0.2, 0.4)}.items()
    for method, value in zip(("base", "finetuned", "magicid"), values, strict=True)
]


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[RunDir]:
    folder = RunDir(tmp_path / "ava")
    folder.freeze({"photos": "me <3", "optimize.beta": 50.0})
    yield folder
    folder.close()


def finish(run: RunDir) -> None:
    """Every stage of a tiny run."""
    rng = np.random.default_rng(0)
    photos = [Photo(f"photo-{i}", f"{i}&.jpg", f"prepare/{i}.png", "", "", False) for i in range(2)]
    for photo in photos:
        write_png(run.root / photo.image, rng.integers(0, 255, (16, 16, 3), np.uint8))
    made = [Video(f"{o}-{i}", o, PROMPT, i, 1.0, "", "", "") for o in ("base", "finetuned") for i in range(5)]
    shown = [Video(o, o, PROMPT, 7, 1.0, f"generate/{o}.mp4", "", "") for o in ("base", "finetuned", "magicid")]
    for video in shown[1:]:
        write_video(run.root / video.file, rng.integers(0, 255, (3, 16, 16, 3), np.uint8), 8)
    scores = []
    for name in [*(photo.id for photo in photos), *(video.id for video in made)]:
        values = {"identity": float(rng.uniform(1, 10)), "motion": float(rng.uniform(1, 10))}
        scores.append(Score(name, values, values, {}))
    scores.append(Score("base-lost", {}, {"identity": float("nan"), "motion": 1.0}, {}))
    run.publish("prepare", photos)
    run.publish("sample", made)
    run.publish("score", scores)
    kinds = ("identity", "dynamic")
    run.publish("pair", [Pair(kind, kind, f"photo-{i}", f"base-{i}", PROMPT, 1, 1) for i, kind in enumerate(kinds)])
    run.publish("generate", shown)
    run.publish("evaluate", METRICS)
    for stage, names in (("finetune", LOGGED[:1]), ("optimize", LOGGED)):
        lines = [json.dumps({"step": s} | {name: float(rng.random()) for name in names}) for s in range(400)]
        (run.stage(stage) / "log.jsonl").write_text("\n".join(lines) + '\n{"step": 400, "lo')


class Page(HTMLParser):
    """Collects ids, addresses and words, and sees that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words, self.open = "", list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "path", "use", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "poster", "action"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in self.open:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "use"):
            assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_damaged_choice_of_a_step_is_named(tmp_path: Path) -> None:
    folder = RunDir(tmp_path / "run")
    (folder.stage("optimize") / "validation.json").write_text("[]")
    with pytest.raises(DataError, match=r"validation\.json: damaged \(no object\); bring it back, or delete optimize/ and rerun"):
        report._validation(folder, "optimize")


def test_a_finished_run_is_shown_whole_and_alone(run_dir: RunDir) -> None:
    finish(run_dir)
    path = write_report(run_dir)
    text = path.read_text()
    page = Page(text)
    assert path == run_dir.root / "report.html" and page.open == []
    assert "http://" not in text and "https://" not in text and "<script" not in text
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert {a.removeprefix("#") for a in page.addresses if a[0] == "#"} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids)), "an id occurs twice"
    assert PROMPT in page.words and "&lt;script&gt;" in text
    assert text.count("<video") == 2 and "no clip" in page.words and text.count("<img") == 2
    assert text.count("<svg") == 6
    for words in ("optimize.beta", "me <3", "0&.jpg", "0.600", "identity pair", "win drift", MEANINGS["identity"]):
        assert words in page.words, words
    assert len(re.sub(r"base64,[^\"]+", "", text)) < 150_000
    first = path.read_bytes()
    assert write_report(run_dir).read_bytes() == first, "the same run gives another page"


def test_strangers_stand_apart_from_the_methods(run_dir: RunDir) -> None:
    finish(run_dir)
    strangers = [Video(origin, origin, "A man nods.", 7, 1.0, f"generate/{origin}.mp4", "", "") for origin in STRANGERS.values()]
    for video in strangers:
        write_video(run_dir.root / video.file, np.zeros((3, 16, 16, 3), np.uint8), 8)
    run_dir.publish("generate", [*run_dir.read("generate", Video), *strangers])
    found = zip(leakage.NAMES, (0.1, 0.3, 0.6), strict=True)
    run_dir.publish("evaluate", [*METRICS, *(Metric(leakage.ROW, name, value, value, value, 1) for name, value in found)])
    text = write_report(run_dir).read_text()
    page = Page(text)
    assert page.open == [] and text.count("<video") == 4 and text.count("A man nods.") == 3
    assert "Strangers' identity to the subject: 0.100 before, 0.300 after, 60% of what the subject gained. Warning:" in page.words
    table = text[text.index("<table>") : text.index("</table>")]
    assert "leakage" not in table and "strangers" not in table and 'class="best">0.600' in table


def test_a_run_that_has_only_begun_has_a_report(run_dir: RunDir) -> None:
    text = write_report(run_dir).read_text()
    assert "not evaluated yet" in text and "optimize.beta" in text
    assert "<h2>" not in text and "<svg" not in text and "<video" not in text


def test_a_photo_is_shown_beside_its_aligned_face_with_what_was_seen_in_it(run_dir: RunDir) -> None:
    write_png(run_dir.root / "prepare" / "0.png", np.zeros((16, 16, 3), np.uint8))
    write_png(run_dir.root / "prepare" / "0-face.png", np.zeros((8, 8, 3), np.uint8))
    photo = Photo("photo-0", "a.jpg", "prepare/0.png", "", "", False, crop="prepare/0-face.png", intake="1 face; kept <3")
    run_dir.publish("prepare", [photo])
    text = write_report(run_dir).read_text()
    assert text.count("<img") == 2 and 'alt="a.jpg, the face"' in text and "1 face; kept &lt;3" in text


def test_a_figure_says_of_how_many_clips_it_is_when_not_of_all(run_dir: RunDir) -> None:
    run_dir.publish("generate", [Video(f"base-{i}", "base", PROMPT, i, 0.0, "", "", "") for i in range(4)])
    run_dir.publish("evaluate", [Metric("base", "motion", 0.5, 0.4, 0.6, 3), Metric("base", "prompt", 0.9, 0.8, 1.0, 4)])
    text = write_report(run_dir).read_text()
    assert text.count("clips measurable") == 1 and "<small>3 of 4 clips measurable</small>" in text


def test_the_foot_of_the_page_names_the_packages_that_made_it(run_dir: RunDir) -> None:
    text = write_report(run_dir).read_text()
    assert "This page was made with magicid " in text and f"torch {metadata.version('torch')}" in text


def test_the_steps_that_were_compared_are_shown_and_the_one_taken_stands_out(run_dir: RunDir) -> None:
    finish(run_dir)
    assert "The step that was taken" not in write_report(run_dir).read_text()
    steps = {step: {"identity": 0.5 - step / 100, "motion": step / 50} for step in (0, 10, 20)}
    (run_dir.root / "optimize" / "validation.json").write_text(json.dumps({"best": 10, "steps": steps}))
    text = write_report(run_dir).read_text()
    assert Page(text).open == [] and text.count("The step that was taken stands out.") == 1
    rows = re.findall(r'<tr><th scope="row">(\d+)</th>(.*)</tr>', text)
    assert [(step, "best" in cells, re.findall(r">(\d\.\d+)<", cells)) for step, cells in rows] == [
        ("0", False, ["0.500", "0.000"]), ("10", True, ["0.400", "0.200"]), ("20", False, ["0.300", "0.400"]),
    ]  # fmt: skip


def test_the_best_method_of_a_column_stands_out() -> None:
    columns, rows = result_table(METRICS[::-1])
    best = {name: [m for m, cells in rows.items() if (c := cells[i]) and c.best] for i, name in enumerate(columns)}
    assert best == {"identity": ["magicid"], "motion": ["base"]}
    assert list(rows) == ["base", "finetuned", "magicid"]
    falls = result_table([replace(metric, name="fall") for metric in METRICS])[1]
    assert not any(cell and cell.best for cells in falls.values() for cell in cells)


def test_summary_is_one_sentence() -> None:
    text = summary(*result_table(METRICS), photos=3, held_out=2)
    start = "One person from 3 photos: identity is 0.600 with MagicID, 0.500 after fine-tuning"
    assert text.startswith(start)
    assert text.endswith("identity is judged by 2 held-out photos.") and "\n" not in text
    assert "it comes out too high" in summary(*result_table(METRICS), photos=3, held_out=0)


def test_values_that_are_not_numbers_are_left_out() -> None:
    lost = Metric("base", "identity", float("nan"), 0, 0, 0)
    _, rows = result_table([lost, Metric("magicid", "identity", 0.5, 0, 1, 8)])
    assert rows["base"] == [None] and rows["magicid"][0] is not None
