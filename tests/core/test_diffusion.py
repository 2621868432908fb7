"""Both noise laws can be undone, and one sampling step serves them."""

from itertools import pairwise

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, FlowMatchEulerDiscreteScheduler

from magicid.core.diffusion import FlowMatching, NoiseLaw, VariancePreserving, ddim_step, scaled_linear

ZERO_SNR = CogVideoXDDIMScheduler(
    prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True, snr_shift_scale=3.0
)
LAWS = [
    FlowMatching(),
    FlowMatching(shift=7.0),
    FlowMatching(shift=7.0, terminal=0.1),
    VariancePreserving("v"),
    VariancePreserving("eps"),
    VariancePreserving("v", tuple(ZERO_SNR.alphas_cumprod.tolist())),
]
TIMES = torch.tensor([0.001, 0.3, 0.7, 0.999])
X0, EPS = torch.randn(2, 4, 3, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_clean_and_noise_come_back_from_what_was_mixed(law: NoiseLaw) -> None:
    x0, eps = law.clean_and_noise(law.add_noise(X0, EPS, TIMES), law.target(X0, EPS, TIMES), TIMES)
    torch.testing.assert_close(x0, X0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(eps, EPS, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_what_is_said_of_a_clip_is_the_prediction_that_it_is_read_from(law: NoiseLaw) -> None:
    x_t, target = law.add_noise(X0, EPS, TIMES), law.target(X0, EPS, TIMES)
    torch.testing.assert_close(law.prediction_of(x_t, X0, TIMES), target, rtol=1e-4, atol=1e-4)
    said = law.prediction_of(x_t, 2 * X0, TIMES)  # of another clip: nothing but the inverse
    torch.testing.assert_close(law.clean_and_noise(x_t, said, TIMES)[0], 2 * X0, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_time_0_is_clean_and_time_1_is_noise(law: NoiseLaw) -> None:
    assert torch.equal(law.add_noise(X0, EPS, torch.zeros(4)), X0)
    torch.testing.assert_close(law.add_noise(X0, EPS, torch.ones(4)), EPS, rtol=0, atol=0.4)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_ddim_with_the_true_prediction_stays_on_the_path_and_ends_clean(law: NoiseLaw) -> None:
    times = law.times(7).to(torch.float64)
    x = law.add_noise(X0, EPS, times[:1].expand(4))
    for now, then in pairwise(times):
        x = ddim_step(law, x, law.target(X0, EPS, now.expand(4)), now.expand(4), then.expand(4))
        torch.testing.assert_close(x, law.add_noise(X0, EPS, then.expand(4)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x, X0, rtol=1e-4, atol=1e-4)


def test_ddim_on_the_flow_path_is_euler() -> None:
    v = torch.randn(X0.shape, dtype=X0.dtype)
    now, then = TIMES.double(), (TIMES * 0.6).double()
    euler = X0 + (then - now).reshape(-1, 1, 1, 1, 1) * v
    torch.testing.assert_close(ddim_step(FlowMatching(), X0, v, now, then), euler)


def test_eps_and_v_predictions_describe_the_same_clip() -> None:
    v_law, eps_law = VariancePreserving("v"), VariancePreserving("eps")
    x_t = v_law.add_noise(X0, EPS, TIMES)
    v_hat = torch.randn(X0.shape, dtype=X0.dtype)
    x0_hat, eps_hat = v_law.clean_and_noise(x_t, v_hat, TIMES)
    same, _ = eps_law.clean_and_noise(x_t, eps_hat, TIMES)
    torch.testing.assert_close(same, x0_hat, rtol=1e-6, atol=1e-6)
    following = TIMES * 0.5
    torch.testing.assert_close(ddim_step(v_law, x_t, v_hat, TIMES, following), ddim_step(eps_law, x_t, eps_hat, TIMES, following))


def test_variance_is_preserved() -> None:
    a, s = VariancePreserving()._roots(TIMES, X0)
    torch.testing.assert_close(a**2 + s**2, torch.ones_like(a))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_sampling_times_fall_from_1_to_0(law: NoiseLaw) -> None:
    times = law.times(50)
    assert len(times) == 51 and times[0] == 1 and times[-1] == 0 and (times.diff() < 0).all()


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_training_times_keep_their_order_and_range(law: NoiseLaw) -> None:
    warped = law.warp(torch.linspace(0, 1, 1001))
    assert (warped.diff() >= 0).all() and warped.min() >= 0 and warped.max() == 1


def test_a_shift_bends_times_towards_noise() -> None:
    u = torch.linspace(0.01, 0.99, 9)
    assert (FlowMatching(shift=7.0).warp(u) > u).all() and torch.equal(FlowMatching().warp(u), u)


@pytest.mark.parametrize("steps", [2, 4, 7, 30])
def test_times_with_a_terminal_are_the_stock_schedulers(steps: int) -> None:
    stock = FlowMatchEulerDiscreteScheduler(shift=7.0, shift_terminal=0.1)
    stock.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist())
    torch.testing.assert_close(FlowMatching(shift=7.0, terminal=0.1).times(steps), stock.sigmas)
    assert FlowMatching(terminal=0.1).times(1).tolist() == [1.0, 0.0]


def test_the_usual_levels_are_the_stock_schedulers() -> None:
    stock = CogVideoXDDIMScheduler(snr_shift_scale=1.0)
    torch.testing.assert_close(torch.tensor(scaled_linear(), dtype=torch.float64), stock.alphas_cumprod, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [4, 16, 30, 50])
def test_sampling_levels_are_the_stock_trailing_ones(steps: int) -> None:
    law = VariancePreserving()
    ZERO_SNR.set_timesteps(steps)
    assert (law.level(law.times(steps))[:-1] - 1).tolist() == ZERO_SNR.timesteps.tolist()


def test_pure_noise_is_undone_by_v_alone() -> None:
    alphas = tuple(ZERO_SNR.alphas_cumprod.tolist())
    law, one = VariancePreserving("v", alphas), torch.ones(4)
    assert alphas[-1] == 0 and torch.equal(law.add_noise(X0, EPS, one), EPS)
    x0, eps = law.clean_and_noise(EPS, law.target(X0, EPS, one), one)
    assert torch.equal(x0, X0) and torch.equal(eps, EPS)
    assert torch.equal(law.prediction_of(EPS, X0, one), law.target(X0, EPS, one))
    with pytest.raises(ValueError, match="zero terminal SNR"):
        VariancePreserving("eps", alphas)


def test_there_may_be_another_number_of_levels() -> None:
    law = VariancePreserving("v", (0.9, 0.5, 0.1, 0.01))
    assert law.times(2).tolist() == [1.0, 0.5, 0.0] and set(law.warp(torch.linspace(0, 1, 9)).tolist()) == {0.25, 0.5, 0.75, 1.0}
    torch.testing.assert_close(law.add_noise(X0, EPS, torch.full((4,), 0.5)), 0.5**0.5 * (X0 + EPS))
