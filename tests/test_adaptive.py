"""BPDA and EOT: exact forward, the gradient that was asked for, and every attack takes them.

tests/test_contract.py runs each attack through both.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlens import evaluation, jpeg
from advlens.attacks import BPDA, EOT, fgsm, pgd
from advlens.attacks.losses import margin

gradient = lambda model, x, y, loss: torch.autograd.grad(loss(model(x.requires_grad_()), y).sum(), x)[0]
cross_entropy = partial(F.cross_entropy, reduction="none")
compress = partial(jpeg.compress, quality=30)  # the real codec: leaves the graph, has no derivative


def add_noise(x, generator):
    """The same noise on every image: neighbours change nothing."""
    return x + 0.3 * torch.randn(x.shape[1:], generator=generator).to(x)


@pytest.fixture
def case(net, batch):
    return net.double().eval(), batch[0].double(), batch[1]


# --- BPDA -----------------------------------------------------------------------

def test_bpda_computes_exactly_the_defended_model(net, batch):
    """To the last bit, with and without a gradient, whatever the stand-in returns."""
    net, x = net.eval(), batch[0]
    coarse = lambda x: (x * 7).round() / 7
    for standin in (torch.sigmoid, lambda x: 1e6 * x):
        model = BPDA(net, coarse, standin)
        assert torch.equal(model(x), net(coarse(x)))
        assert torch.equal(model(x.clone().requires_grad_()), net(coarse(x)))


def test_bpda_goes_back_through_the_stand_in(case):
    """grad at x = J_standin(x)^T grad_net(forward(x)): the net's own slope is taken at the transformed image."""
    net, x, y = case
    slope = gradient(net, x.round(), y, cross_entropy)
    plain = gradient(BPDA(net, torch.round), x.clone(), y, cross_entropy)
    torch.testing.assert_close(plain, slope, rtol=0, atol=1e-12)
    halved = gradient(BPDA(net, torch.round, lambda x: 0.5 * x), x.clone(), y, cross_entropy)
    torch.testing.assert_close(halved, 0.5 * slope, rtol=0, atol=1e-12)


def test_bpda_with_the_transformation_as_its_own_stand_in_changes_nothing(case):
    net, x, y = case
    blur = lambda x: F.avg_pool2d(x, 3, stride=1, padding=1)
    both = [gradient(model, x.clone(), y, cross_entropy) for model in (BPDA(net, blur, blur), lambda x: net(blur(x)))]
    torch.testing.assert_close(*both, rtol=0, atol=1e-12)


@pytest.mark.parametrize("standin", [lambda x: x, jpeg.JPEG(30)], ids=["identity", "differentiable-codec"])
def test_bpda_breaks_a_jpeg_that_cuts_the_gradient(standin, lenet, digits):
    """What looks like a defence without BPDA is none with it."""
    some = digits[:30]

    class Jpeg(nn.Module):
        def forward(self, x):
            return lenet(compress(x)) + 0 * x.sum((1, 2, 3))[:, None]

    attack = partial(pgd, eps=0.15, steps=8, random_start=False)
    with pytest.warns(UserWarning, match="masked"):
        naive = evaluation.robust_accuracy(Jpeg(), some.images, some.labels, attack)
    broken = evaluation.robust_accuracy(BPDA(lenet, compress, standin), some.images, some.labels, attack)
    assert naive.value > 0.8 and broken.value < 0.2


def test_bpda_calls_the_stand_in_only_for_a_gradient(net, batch, work):
    calls = []
    model = BPDA(net, torch.round, lambda x: calls.append(1) or x)
    with torch.no_grad():
        model(batch[0])
    assert not calls
    with work(net) as done:
        fgsm(model, *batch, eps=0.1)
    assert calls == [1] and (done.forward, done.backward) == (8, 8)


def test_bpda_never_differentiates_the_defence(net, batch):
    graphs = []
    fgsm(BPDA(net, lambda x: graphs.append(x.requires_grad and torch.is_grad_enabled()) or x.round()), *batch, eps=0.1)
    assert graphs == [False]


def test_bpda_needs_a_stand_in_of_the_same_shape(net, batch):
    with pytest.raises(ValueError, match=r"backward returns shape \(8, 2, 3, 3\), forward \(8, 2, 6, 6\)"):
        fgsm(BPDA(net, torch.round, lambda x: F.avg_pool2d(x, 2)), *batch, eps=0.1)


# --- EOT ------------------------------------------------------------------------

def draws(x, samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [add_noise(x, generator) for _ in range(samples)]


def test_eot_is_the_mean_over_the_draws(case):
    net, x, _ = case
    expected = torch.stack([net(drawn) for drawn in draws(x, 5)]).mean(0)
    torch.testing.assert_close(EOT(net, add_noise, 5)(x), expected, rtol=0, atol=1e-12)


def test_eot_averages_gradients_before_the_sign(case):
    """PEERS 18: for a loss that is linear in the logits, exactly the mean of each draw's gradient."""
    net, x, y = case
    runner_up = EOT(net, add_noise, 7)(x).scatter(1, y[:, None], -torch.inf).argmax(1)
    loss = lambda z, y: (z.gather(1, runner_up[:, None]) - z.gather(1, y[:, None])).squeeze(1)
    expected = torch.stack([gradient(net, drawn, y, loss) for drawn in draws(x, 7)]).mean(0)
    for same in (loss, margin):
        torch.testing.assert_close(gradient(EOT(net, add_noise, 7), x.clone(), y, same), expected, rtol=0, atol=1e-12)
    signs = torch.stack([gradient(net, drawn, y, loss).sign() for drawn in draws(x, 7)]).mean(0).sign()
    assert (signs != expected.sign()).any(), "the mean of signs is the same here: this test shows nothing"


def test_eot_is_the_gradient_of_the_expectation(case):
    """Finite differences of the mean of the draws."""
    net, x, y = case
    x = x[:1] * 0.8 + 0.1
    model = EOT(net, add_noise, 3)
    assert torch.autograd.gradcheck(lambda x: margin(model(x), y[:1]), x.requires_grad_())


def test_cross_entropy_of_eot_is_a_lower_bound_that_is_tight_where_the_draws_agree(case):
    """Jensen: cross-entropy is convex in the logits."""
    net, x, y = case
    apart = []
    for size in (1.0, 0.01):
        transform = lambda x, g: x + size * (add_noise(x, g) - x)
        expected = torch.stack([cross_entropy(net(x + size * (drawn - x)), y) for drawn in draws(x, 50)]).mean(0)
        ours = cross_entropy(EOT(net, transform, 50)(x), y)
        assert (ours <= expected + 1e-12).all()
        apart.append((expected - ours).max().item())
    assert apart[0] > 1e-3 and apart[1] < 1e-3 * apart[0]


def test_eot_runs_the_model_once_on_all_draws(net, batch, work):
    sizes = []
    net.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    with work(net) as done:
        fgsm(EOT(net, add_noise, 6), *batch, eps=0.1)
    assert sizes == [48] and (done.forward, done.backward) == (48, 48)


def test_eot_is_the_same_function_at_every_call_and_leaves_the_global_generator_alone(net, batch):
    model, state = EOT(net.eval(), add_noise, 4), torch.get_rng_state()
    assert torch.equal(model(batch[0]), model(batch[0]))
    assert torch.equal(pgd(model, *batch, eps=0.1, steps=3, random_start=False),
                       pgd(model, *batch, eps=0.1, steps=3, random_start=False))
    assert not torch.allclose(model(batch[0]), EOT(net, add_noise, 4, seed=1)(batch[0]))
    assert torch.equal(torch.get_rng_state(), state)


def test_eot_does_not_mix_images(case):
    net, x, y = case
    model = EOT(net, add_noise, 4)
    alone = torch.cat([model(x[i:i + 1]) for i in range(len(x))])
    torch.testing.assert_close(alone, model(x), rtol=0, atol=1e-12)


def test_eot_accepts_a_transformation_that_changes_the_size(lenet, digits):
    """Cut a random window and enlarge nothing: the net after it takes 28x28."""
    def window(x, generator):
        dy, dx = torch.randint(0, 5, (2,), generator=generator).tolist()
        return x[:, :, dy:dy + 28, dx:dx + 28]

    x = F.pad(digits.images[:4], (2, 2, 2, 2))
    adversarial = pgd(EOT(lenet, window, 8), x, digits.labels[:4], eps=0.2, steps=3, random_start=False)
    assert adversarial.shape == (4, 1, 32, 32)


def test_eot_breaks_a_random_defence_better_than_one_draw(lenet, digits):
    """Judged on draws that neither attack has seen; one draw is a matter of luck, so several attacks with one."""
    some = digits[:20]

    def shifted(x, generator):
        dy, dx = torch.randint(-3, 4, (2,), generator=generator).tolist()
        return add_noise(x.roll((dy, dx), (2, 3)), generator)

    def kept(samples, seed=0):
        adversarial = pgd(EOT(lenet, shifted, samples, seed=seed), some.images, some.labels, eps=0.1, steps=6,
                          random_start=False)
        unseen = torch.Generator().manual_seed(99)
        hits = [evaluation.logits(lenet, shifted(adversarial, unseen)).argmax(1) == some.labels for _ in range(20)]
        return torch.stack(hits).float().mean().item()

    assert kept(12) < sum(kept(1, seed) for seed in range(3)) / 3 - 0.15


class InPlace(nn.Module):
    """Normalises the images that it is given, and answers in half precision."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x.sub_(0.1).add_(0.1)).bfloat16()


WRAPS = {"bpda": lambda net, spoil: BPDA(net, spoil, lambda x: 0.5 * x), "eot": lambda net,
         spoil: EOT(net, lambda x, g: spoil(x), 3)}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())
def test_what_works_in_place_spoils_neither_the_images_nor_the_next_draw(wrap, case):
    """A transformation, or a model, that changes its input gets its own copy; logits are those of the images'
    precision.
    """
    net, x, y = case
    before = x.clone()
    plain, spoiling = wrap(net, lambda x: x * 0.5), wrap(net, lambda x: x.mul_(0.5))
    assert torch.equal(spoiling(x), plain(x)) and torch.equal(x, before)
    assert torch.equal(gradient(spoiling, x.clone(), y, margin), gradient(plain, x.clone(), y, margin))
    half = wrap(InPlace(net), lambda x: x)
    with torch.no_grad():
        assert half(x).dtype == x.dtype and torch.equal(x, before)


@pytest.mark.parametrize("samples", [0, -1])
def test_eot_needs_a_sample(samples, net):
    with pytest.raises(ValueError, match=f"samples = {samples}; give at least 1"):
        EOT(net, add_noise, samples)


def test_eot_refuses_a_transformation_that_loses_images(net, batch):
    with pytest.raises(ValueError, match="transform returns 7 images for 8"):
        EOT(net, lambda x, generator: x[1:], 3)(batch[0])


@pytest.mark.parametrize("wrap", [lambda net: BPDA(net, torch.round), lambda net: EOT(net, add_noise, 3),
                                  lambda net: EOT(BPDA(net, torch.round), add_noise, 3)], ids=["bpda", "eot", "both"])
def test_the_wrapped_model_is_left_as_it_was(wrap, net, batch):
    """PEERS 10, 11, through the wrapper."""
    net[2].eval()
    modes, flags = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    model = wrap(net)
    adversarial = pgd(model, *batch, eps=0.1, steps=2, random_start=False)
    assert (adversarial - batch[0]).abs().amax((1, 2, 3)).min() > 0.05
    with pytest.raises(ValueError):
        pgd(model, batch[0], batch[1] + 5, eps=0.1)
    assert [m.training for m in net.modules()] == modes and [p.requires_grad for p in net.parameters()] == flags
    assert all(p.grad is None for p in net.parameters())
