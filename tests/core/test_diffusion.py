"""Both noise laws can be undone, and one sampling step serves them."""

from itertools import pairwise

import pytest
import torch

from magicid.core.diffusion import FlowMatching, NoiseLaw, VariancePreserving, ddim_step

LAWS = [FlowMatching(), FlowMatching(shift=7.0), VariancePreserving("v"), VariancePreserving("eps")]
TIMES = torch.tensor([0.001, 0.3, 0.7, 0.999])
X0, EPS = torch.randn(2, 4, 3, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_clean_and_noise_come_back_from_what_was_mixed(law: NoiseLaw) -> None:
    x0, eps = law.clean_and_noise(law.add_noise(X0, EPS, TIMES), law.target(X0, EPS, TIMES), TIMES)
    torch.testing.assert_close(x0, X0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(eps, EPS, rtol=1e-4, atol=1e-4)


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
