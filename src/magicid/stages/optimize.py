"""Hybrid preference optimisation: a diffusion DPO of the adapter on the selected pairs.

The formulae are in training/objectives, the engine in training/preference, online rounds in rounds, the choice of a step in
rewards/validation; here they meet the run.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from magicid import rounds
from magicid.core.checks import at_least, one_of, positive, within
from magicid.core.errors import DataError, UsageError
from magicid.core.interfaces import Family
from magicid.core.pulse import pulse
from magicid.core.records import Adapter, Pair
from magicid.core.run import Run
from magicid.core.seeds import item_seed
from magicid.rewards.validation import most_motion, validate
from magicid.training import lora
from magicid.training.adapters import loaded, read_adapter, save_adapter
from magicid.training.clips import sampling_of
from magicid.training.loop import LoopSettings, Loss
from magicid.training.objectives import Objective, automatic_beta
from magicid.training.pair_data import PairData
from magicid.training.preference import POLICY, REFERENCE, PairStep
from magicid.training.recompute import Level, recomputing
from magicid.training.reconstruction import learn, snapshots
from magicid.training.timesteps import Drawing, Draws, Times

Kind = Literal["sigmoid", "ipo", "hinge"]
Reference = Literal["start", "base", "ema"]
BETA_STEPS = 8  # automatic beta looks at the pairs of this many steps


class Lesson(NamedTuple):
    """What a part of the training learns from."""

    pairs: Sequence[Pair]
    data: PairData
    loss: Loss
    objective: Objective  # with a beta that is chosen


@dataclass(frozen=True)
class Optimize:
    """HPO (MagicID, section 3.2 and supplement B)."""

    steps: int = 5000
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    batch: int = 4  # pairs
    beta: float = 500.0  # applies to mean squared errors, see docs/paper.md; 0: chosen from the reference's errors by beta_gap
    beta_gap: float = 0.02  # automatic beta: a gap of this share of the reference's median error is a logit of 1
    loss: Kind = "sigmoid"
    winner_guard: float = 0.0  # weight of relu(e(w) - e_ref(w)) on winners that move
    winner_anchor: float = 0.0  # weight of e(w) - e_ref(w) on them: they are learnt besides being preferred
    loser_safeguard: float = 0.0  # mu, 0 to 1: the loser's gradient shrinks until the winner's error falls; 0: never
    logit_clamp: float = 0.0  # pairs whose |beta/2 gap| is above it give no gradient; 0: none
    reference: Reference = "start"  # the adapter that HPO begins with; the model without an adapter; an average of the policy
    reference_decay: float = 0.999  # of the average, a step
    times: Times = "uniform"
    times_by_kind: bool = False  # identity pairs in the cleaner half of the noise path, dynamic pairs in the noisier
    draws: int = 0  # fixed couples of noise and time, for which the reference is asked once (chunk 1); 0: fresh at every step
    share: int = 1  # up to this many pairs of one winner follow each other and share its noise, time and forward pass
    chunk: int = 0  # pairs whose activations are in memory together; 0: the batch; 1: video by video, the least memory
    recompute: Level = "nothing"  # of the activations, in the backward pass: less memory, more time
    save_every_steps: int = 50  # a kill loses at most so many
    rounds: int = 1  # equal parts of the training; before each but the first, pairs are chosen anew, of clips by the policy too
    round_clips: int = 1  # of each prompt of the repository, in each round after the first
    validate: int = 0  # prompts of the repository, one clip of each for each step kept, by which one is chosen; 0: the last
    least_identity: float = 0.9  # share of the start's identity that this step must keep; of those the most motion
    seed: int = 0  # of the draws of pairs, noise and time; another gives another training

    def check(self) -> None:
        """Refuse settings that cannot work, or do not go together."""
        at_least("optimize", 1, steps=self.steps, batch=self.batch, share=self.share)
        positive("optimize", learning_rate=self.learning_rate, beta_gap=self.beta_gap)
        at_least("optimize", 0, weight_decay=self.weight_decay, beta=self.beta, winner_guard=self.winner_guard)
        at_least("optimize", 0, winner_anchor=self.winner_anchor, logit_clamp=self.logit_clamp)
        at_least("optimize", 0, draws=self.draws, chunk=self.chunk, seed=self.seed)
        at_least("optimize", 1, save_every_steps=self.save_every_steps, rounds=self.rounds, round_clips=self.round_clips)
        at_least("optimize", 0, validate=self.validate, least_identity=self.least_identity)
        within("optimize", 0, 1, loser_safeguard=self.loser_safeguard, reference_decay=self.reference_decay)
        one_of("optimize", get_args(Kind), loss=self.loss)
        one_of("optimize", get_args(Reference), reference=self.reference)
        one_of("optimize", get_args(Times), times=self.times)
        one_of("optimize", get_args(Level), recompute=self.recompute)
        if self.rounds > self.steps:
            raise UsageError(
                f"optimize.rounds {self.rounds} with optimize.steps {self.steps}: each round must have a step; set "
                f"--optimize.rounds to {self.steps} or less."
            )
        if self.draws and self.chunk != 1:
            raise UsageError(
                f"optimize.draws {self.draws} with optimize.chunk {self.chunk}: kept errors hold for videos that go through the "
                "model one by one; set optimize.chunk 1."
            )
        if self.draws and self.reference == "ema":
            raise UsageError(
                f"optimize.draws {self.draws} with optimize.reference ema: its errors change at every step and cannot be kept; "
                "set optimize.draws 0."
            )

    def run(self, run: Run) -> Sequence[Adapter]:
        """Train and save `optimize/adapter.safetensors`."""
        start = run.dir.read("distill", Adapter)[0]
        with loaded(run, dict.fromkeys([POLICY] if self.reference == "base" else [POLICY, REFERENCE], start)):
            adapter = self._trained(run)
        return [self._chosen(run, start) if self.validate else adapter]

    def _trained(self, run: Run) -> Adapter:
        """The policy after all rounds."""
        family = run.family
        first = self._lesson(run, 1, Objective(self.beta, self.loss, self.winner_guard, self.logit_clamp, self.winner_anchor))
        later = lru_cache(1)(partial(self._lesson, run, objective=first.objective))  # one more repository in memory
        ends = rounds.ends(self.steps, self.rounds)

        def lesson(step: int) -> Lesson:
            number = bisect_right(ends, step) + 1
            return first if number == 1 else later(number)

        def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
            return lesson(step).loss(step, micro)

        settings = LoopSettings(self.steps, self.learning_rate, self.weight_decay, save_every_steps=self.save_every_steps)
        average = None
        if self.reference == "ema":  # the loop moves the reference's own weights
            settings = replace(settings, ema_decay=self.reference_decay)
            average = {name: p.detach() for name, p in lora.parameters(family, REFERENCE).items()}

        def held(step: int) -> list[str]:
            pairs, data, *_ = lesson(step)
            return [pairs[i].id for group in data.batch(step, self.batch, self.share, self._seed(run)) for i in group]

        kept = lora.weights(family, REFERENCE)  # nothing, where the reference is the model without an adapter
        for number, end in enumerate(ends, 1):
            if number < self.rounds and rounds.finished(run, number + 1):
                continue  # this part is done
            if number > 1:
                rounds.play(run, number, POLICY, self.round_clips)
            with recomputing(family.transformer, self.recompute):
                adapter = learn(run, "optimize", lora.parameters(family, POLICY), loss, settings, average, held, end)
        if average is None:
            _refuse_moved(kept, lora.weights(family, REFERENCE))
        return adapter

    def _chosen(self, run: Run, start: Adapter) -> Adapter:
        """The adapter of the best step of those kept and of the start, in the place of the last."""
        found = {0: start} | snapshots(run, "optimize")
        choose = partial(most_motion, least_identity=self.least_identity)
        prompts = min(self.validate, len(run.prompts()))
        best, points = validate(run, "optimize", found, prompts, sampling_of(run), choose)
        run.console.print(
            f"optimize: step {best} of {self.steps} is taken, by clips of {prompts} prompts: identity "
            f"{points[best].identity:.3f} and motion {points[best].motion:.3f}, at the start {points[0].identity:.3f} and "
            f"{points[0].motion:.3f}", markup=False, soft_wrap=True,
        )  # fmt: skip
        return save_adapter(run, "optimize", read_adapter(run, found[best]))

    def _seed(self, run: Run) -> int:
        return item_seed(run.common.seed, "optimize", self.seed) if self.seed else run.common.seed

    def _lesson(self, run: Run, number: int, objective: Objective) -> Lesson:
        """Of a round's pairs."""
        pairs, latents = rounds.material(run, number)
        data = PairData(pairs, latents, run.family.encode_prompts)
        return Lesson(pairs, data, *self._loss(run.family, data, self._seed(run), objective))

    def _loss(self, family: Family, data: PairData, seed: int, objective: Objective) -> tuple[Loss, Objective]:
        """The loss of each step, and the objective with its beta, chosen where it is 0."""
        frozen = None if self.reference == "base" else REFERENCE
        evaluate = PairStep(family, data, objective, frozen, self.chunk, self.loser_safeguard, keep=self.draws > 0)
        shape = tuple(data.latents.shape[1:])
        drawing = Drawing(family.law, shape, self.times, self.times_by_kind, self.draws, seed)

        def batch(step: int, micro: int) -> tuple[list[list[int]], Draws, list[int]]:
            groups = data.batch(step, self.batch, self.share, seed)
            return groups, *drawing([data.identity[group[0]] for group in groups], step, micro)

        def reference_errors(step: int) -> Tensor:
            pulse("beta", str(step))
            return evaluate.reference_errors(*batch(step, 0))

        if objective.beta == 0:
            errors = torch.cat([reference_errors(step) for step in range(BETA_STEPS)])
            evaluate.objective = replace(objective, beta=automatic_beta(errors, self.beta_gap))

        def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
            value, numbers = evaluate(*batch(step, micro))
            if step == micro == 0 and frozen and abs(numbers["margin"]) > 0:  # not where it is no number
                raise DataError(
                    f"optimize: margin {numbers['margin']:.3g} before the first step, must be 0: policy and reference differ; "
                    "delete optimize/ and run again."
                )
            return value, numbers

        return loss, evaluate.objective


def _refuse_moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """`DataError` where the reference, which must not be trained, is not what it was."""
    if moved := [name for name in before if not torch.equal(before[name], after[name])]:
        raise DataError(
            f"optimize: {len(moved)} of the reference's tensors changed, first {moved[0]}; delete optimize/ and run again."
        )
