"""`magicid prepare PHOTOS`: the photos are looked at, and nothing else: no base model is read and no run begun."""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.core.files import writable
from magicid.core.run import EMBEDDED, Common
from magicid.media.photo import find_photos
from magicid.metrics.intake import LEGEND, print_intake, print_others, write_page
from magicid.perception.intake import examine
from magicid.stages.prepare import Prepare


@dataclass(frozen=True)
class Preview:
    """Look at photos and write nothing. With --out RUN: the first stage of a run (magicid run --help)."""

    photos: Positional[Path]  # a folder with photos of one person
    judges: str = "real"  # who looks; "avatar" knows drawn people only
    detector: str = ""  # of the judges "real", as is the next; "": their own choice
    face_reward: str = ""  # a network by name, NAME:PATH or path
    report: Path | None = None  # also write what was seen as a page, FILE.html
    prepare: Prepare = field(default_factory=Prepare)

    def run(self, console: Console | None = None) -> None:
        """Print what is seen in the photos, and write it as a page; `DataError` at the end where too few of them will do."""
        console = console or Console()
        if self.report and not writable(self.report):
            raise UsageError(f"{self.report}: a page is one file in a folder that can be written. Choose another --report.")
        common = Common(self.photos, judges=self.judges, detector=self.detector, face_reward=self.face_reward)
        common.check()
        self.prepare.check()
        find_photos(self.photos)  # a misspelt name needs no models
        print_others(console, self.photos)
        judges = tables.load(tables.JUDGES, "judges", self.judges)(common)
        looks = examine(self.photos, judges, drawn=self.judges == EMBEDDED)
        print_intake(console, looks)
        console.print(LEGEND, style="dim", highlight=False)
        if self.report:
            write_page(looks, self.photos.resolve().name, self.report)
            console.print(f"page: {self.report}", markup=False, highlight=False, soft_wrap=True)
        if not (self.prepare.skip_unusable or all(look.kept for look in looks)):
            said = "A run stops at a photo that will not do; with --prepare.skip-unusable it leaves it out."
            console.print(said, highlight=False)
        self.prepare.need_enough(self.photos, looks)
