"""The two noise laws, as pure functions of tensors: noise a clean latent, what the model is asked for, and one sampling step.

Shapes: latents (B, C, F, H, W); `t` (B,) in 0..1, where 0 is clean and 1 is noise. Families compose one of these.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


def _like(t_B: Tensor, x: Tensor) -> Tensor:
    return t_B.to(x.dtype).reshape(-1, *([1] * (x.ndim - 1)))


@dataclass(frozen=True)
class FlowMatching:
    """Rectified flow: x_t = (1 - t) x0 + t eps, v = eps - x0 (arXiv:2209.03003)."""

    shift: float = 1.0  # timesteps are bent towards noise: s t / (1 + (s - 1) t)
    terminal: float = 0.0  # the last sampling time before 0; those above are stretched to it; 0: as they are

    def add_noise(self, x0: Tensor, eps: Tensor, t_B: Tensor) -> Tensor:
        """x_t."""
        t = _like(t_B, x0)
        return (1 - t) * x0 + t * eps

    def target(self, x0: Tensor, eps: Tensor, t_B: Tensor) -> Tensor:
        """The velocity v = eps - x0."""
        return eps - x0

    def clean_and_noise(self, x_t: Tensor, prediction: Tensor, t_B: Tensor) -> tuple[Tensor, Tensor]:
        """(x0_hat, eps_hat) from a predicted velocity."""
        t = _like(t_B, x_t)
        return x_t - t * prediction, x_t + (1 - t) * prediction

    def prediction_of(self, x_t: Tensor, x0: Tensor, t_B: Tensor) -> Tensor:
        """The velocity from which `clean_and_noise` reads `x0`; times above 0."""
        return (x_t - x0) / _like(t_B, x_t).clamp_min(1e-6)

    def warp(self, u: Tensor) -> Tensor:
        """Bend uniform times in 0..1 by the shift."""
        return self.shift * u / (1 + (self.shift - 1) * u)

    def times(self, steps: int) -> Tensor:
        """`steps + 1` sampling times from 1 down to 0."""
        times = self.warp(torch.linspace(1, 0, steps + 1))
        if self.terminal and steps > 1:
            times[:-1] = 1 - (1 - times[:-1]) * (1 - self.terminal) / (1 - times[-2])
        return times


def scaled_linear() -> tuple[float, ...]:
    """a of each of 1000 levels where the roots of beta, the noise added from one level to the next, are evenly spaced."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return tuple(torch.cumprod(1 - betas, 0).tolist())


@dataclass(frozen=True)
class VariancePreserving:
    """DDPM's law, x_t = sqrt(a) x0 + sqrt(1 - a) eps, over discrete levels, for models that predict noise or v.

    `alphas` holds a of each level, from nearly clean to noise: what a scheduler of diffusers calls `alphas_cumprod`. The last
    may be 0 (zero terminal SNR, arXiv:2305.08891) where v is predicted; the noise of pure noise says nothing about the clip.
    """

    prediction: str = "v"  # "v" (arXiv:2202.00512) or "eps"
    alphas: tuple[float, ...] = field(default_factory=scaled_linear, repr=False)

    def __post_init__(self) -> None:
        if self.prediction == "eps" and self.alphas[-1] <= 0:
            raise ValueError("prediction 'eps' with zero terminal SNR has no clip at time 1; a model must predict 'v' there.")

    @cached_property
    def _alphas(self) -> Tensor:
        return torch.tensor([1.0, *self.alphas], dtype=torch.float64)

    def level(self, t_B: Tensor) -> Tensor:
        """Each time's level, 0 (clean) to as many as there are; a model counts them from 0 at the first noisy one."""
        return (t_B * len(self.alphas)).round().long()

    def _roots(self, t_B: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self._alphas.to(t_B.device)[self.level(t_B)]
        return _like(alpha.sqrt(), x), _like((1 - alpha).sqrt(), x)

    def add_noise(self, x0: Tensor, eps: Tensor, t_B: Tensor) -> Tensor:
        """x_t."""
        a, s = self._roots(t_B, x0)
        return a * x0 + s * eps

    def target(self, x0: Tensor, eps: Tensor, t_B: Tensor) -> Tensor:
        """eps, or v = a eps - s x0."""
        a, s = self._roots(t_B, x0)
        return eps if self.prediction == "eps" else a * eps - s * x0

    def clean_and_noise(self, x_t: Tensor, prediction: Tensor, t_B: Tensor) -> tuple[Tensor, Tensor]:
        """(x0_hat, eps_hat) from a prediction."""
        a, s = self._roots(t_B, x_t)
        if self.prediction == "eps":
            return (x_t - s * prediction) / a.clamp_min(1e-6), prediction
        return a * x_t - s * prediction, s * x_t + a * prediction

    def prediction_of(self, x_t: Tensor, x0: Tensor, t_B: Tensor) -> Tensor:
        """The prediction from which `clean_and_noise` reads `x0`; times above 0."""
        a, s = self._roots(t_B, x_t)
        return self.target(x0, (x_t - a * x0) / s, t_B)

    def warp(self, u: Tensor) -> Tensor:
        """Uniform times, on the grid of levels and never clean."""
        levels = len(self.alphas)
        return ((u * levels).floor() + 1).clamp(max=levels) / levels

    def times(self, steps: int) -> Tensor:
        """`steps + 1` sampling times from 1 down to 0, "trailing" in arXiv:2305.08891: the first is pure noise."""
        levels = len(self.alphas)
        return torch.linspace(levels, 0, steps + 1, dtype=torch.float64).round().float() / levels


NoiseLaw = FlowMatching | VariancePreserving


def ddim_step(law: NoiseLaw, x_t: Tensor, prediction: Tensor, t_B: Tensor, next_B: Tensor) -> Tensor:
    """Deterministic DDIM (arXiv:2010.02502): noise x0_hat with eps_hat at the next time; on the flow path this is Euler."""
    x0, eps = law.clean_and_noise(x_t, prediction, t_B)
    return law.add_noise(x0, eps, next_B)
