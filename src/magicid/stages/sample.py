"""The preference video repository: V_t from the customised model, V_s from the base model (V_id are prepare's static videos)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from magicid.core.checks import at_least, positive, within
from magicid.core.errors import UsageError
from magicid.core.records import Adapter, Prompt, Video
from magicid.core.run import Run
from magicid.core.seeds import item_seed
from magicid.training.adapters import loaded
from magicid.training.clips import Wanted, make_clips


@dataclass(frozen=True)
class Sample:
    """How many clips a prompt, and how they are drawn."""

    finetuned_per_prompt: int = 5
    base_per_prompt: int = 1
    strengths: tuple[float, ...] = (1.0,)  # of the adapter, in turn over a prompt's clips; less than 1 moves more
    same_noise: bool = False  # of a prompt's clips: pairs of one prompt then differ by what the adapter does, not by chance
    steps: int = 50
    batch: int = 10
    guidance: float | None = None  # classifier-free; None: the base model's own, 1: none

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("sample", 1, steps=self.steps, batch=self.batch)
        counts = {"finetuned_per_prompt": self.finetuned_per_prompt, "base_per_prompt": self.base_per_prompt}
        at_least("sample", 0, **counts)
        if not any(counts.values()):
            raise UsageError(
                "sample.finetuned_per_prompt 0, sample.base_per_prompt 0: clips are needed; set one of them to 1 or more."
            )
        if self.guidance is not None:
            positive("sample", guidance=self.guidance)
        for strength in self.strengths:
            within("sample", 0, 2, strengths=strength)
        if not self.strengths:
            raise UsageError("sample.strengths is empty: clips need one or more; set --sample.strengths 1.0.")
        drawn = [self._strength(i) for i in range(self.finetuned_per_prompt)] + [0.0] * self.base_per_prompt
        if self.same_noise and (twice := [strength for strength, count in Counter(drawn).items() if count > 1]):
            raise UsageError(
                f"sample.same_noise with two clips of strength {twice[0]:g} (0: the base model): from one noise they are the "
                "same clip; set --sample.strengths to as many as --sample.finetuned-per-prompt, all different, or draw fewer."
            )

    def run(self, run: Run) -> Sequence[Video]:
        """Draw what is not there yet."""
        adapter = run.dir.read("distill", Adapter)[0]
        wanted = []
        for prompt in run.prompts():
            for i in range(self.finetuned_per_prompt):
                wanted.append(self._clip(run, "finetuned", prompt, i, "customised", self._strength(i)))
            wanted += [self._clip(run, "base", prompt, i, None, 0.0) for i in range(self.base_per_prompt)]
        with loaded(run, {"customised": adapter}):
            return make_clips(run, "sample", wanted, self.steps, self.batch, self.guidance)

    def _strength(self, index: int) -> float:
        """Of a prompt's clip."""
        return self.strengths[index % len(self.strengths)]

    def _clip(self, run: Run, origin: str, prompt: Prompt, index: int, adapter: str | None, strength: float) -> Wanted:
        which = [prompt.id] if self.same_noise else [origin, prompt.id, index]
        seed = item_seed(run.common.seed, "sample", *which)
        return Wanted(f"{origin}-{prompt.number}-{index}", origin, prompt.text, seed, adapter, strength)
