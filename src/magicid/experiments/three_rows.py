"""The demo's table on several people: base, fine-tuned and MagicID, with the ceiling of real renders beside them."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from magicid.comparison.clips import generated
from magicid.comparison.controls import bounds
from magicid.comparison.figures import measure
from magicid.comparison.markdown import SHORT, markdown
from magicid.comparison.study import PAIRS, Study, spent
from magicid.comparison.table import PersonFigures, rows

ORIGINS = ("base", "finetuned", "magicid")
COLUMNS = (*SHORT, "seconds")


@dataclass(frozen=True)
class ThreeRows(Study):
    """Everyone's own run and nothing beside it: minutes a person; `main_table` goes on from there."""

    people: int = 3

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Bring everyone's runs to their end; the rows, and by how much each is above the base model and MagicID above each."""
        console, found = Console(stderr=quiet), []
        for person in self.each(console):
            run = person.run
            shown = [*generated(run, {name: name for name in ORIGINS}), *bounds(run, person.number)]
            costs = {"finetuned": spent(run, "finetune"), "magicid": spent(run, *PAIRS, "optimize")}
            found.append(PersonFigures(person.number, measure(run, shown), costs))
        names = [*ORIGINS, "ceiling"]
        of_ours, of_finetuned = (rows(found, names, ours=ours) for ours in ("magicid", "finetuned"))
        if not quiet:
            first = markdown(of_ours, columns=COLUMNS)
            second = markdown(of_finetuned, columns=COLUMNS, ours="fine-tuned").partition("\n\n")[2]
            console.print(f"{first}\n\n{second}", markup=False, highlight=False, soft_wrap=True)
        minus = [row.to_json()["magicid_minus"] for row in of_finetuned]
        table = [row.to_json() | {"finetuned_minus": of} for row, of in zip(of_ours, minus, strict=True)]
        return self.to_json() | {"rows": table}
