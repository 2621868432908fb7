"""`magicid prepare PHOTOS`: the photos are looked at, and nothing else: no base model is read and no run begun."""

from pathlib import Path

from rich.console import Console

from magicid.core import tables
from magicid.core.interfaces import Judges
from magicid.core.run import EMBEDDED, Common
from magicid.media.photo import find_photos
from magicid.metrics.intake import LEGEND, print_intake, write_page
from magicid.perception.intake import examine
from magicid.stages.prepare import Prepare


def preview(photos: Path, judges: str, prepare: Prepare, page: Path | None = None, console: Console | None = None) -> None:
    """Print what is seen in the photos, and write it as a page; `DataError` at the end where too few of them will do."""
    console = console or Console()
    prepare.check()
    find_photos(photos)  # a misspelt name needs no models
    looks = examine(photos, load_judges(judges, photos), drawn=judges == EMBEDDED)
    print_intake(console, looks)
    console.print(LEGEND, style="dim", highlight=False)
    if page:
        write_page(looks, photos.resolve().name, page)
        console.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    if not (prepare.skip_unusable or all(look.kept for look in looks)):
        console.print("A run stops at a photo that will not do; with --prepare.skip-unusable it leaves it out.", highlight=False)
    prepare.need_enough(photos, looks)


def load_judges(name: str, near: Path) -> Judges:
    """The judges of that name; files of models are looked for beside the folder `near`, too."""
    judges: Judges = tables.load(tables.JUDGES, "judges", name)(Common(near, judges=name))
    return judges
