"""Defences by training: each objective against another version of it, its cost in passes, what it does to a net."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlens import attacks, data, geometry, layers, models, training
from advlens.attacks import losses
from advlens.defences import adversarial, distillation, pairing, penalties
from advlens.evaluation import logits, robust_accuracy
from advlens.geometry import norm

EPS = 0.1  # where a net this small learns from any first weights: PGD training at 0.15 gets stuck from most of them


def dense(activation=nn.Softplus, seed: int = 0) -> nn.Sequential:
    """A small net for 28x28 images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(layers.Normalize(*models.MNIST_PIXELS), nn.Flatten(), nn.Linear(784, 60), activation(),
                             nn.Linear(60, 10))


def fit(model, train, **options):
    usual = {"epochs": 1, "batch_size": 32, "learning_rate": 3e-3, "validation": train[:8], "progress": False}
    return training.fit(model, train, **usual | options)


def step(objective, model, x, y, loss=F.cross_entropy, seed: int = 0):
    """One step without the optimizer: the value, the logits, and the parameters' gradients."""
    value, z = objective(model, x, y, loss, torch.Generator().manual_seed(seed))
    return value, z, torch.autograd.grad(value, list(model.parameters()))


@pytest.fixture(scope="module")
def train() -> data.Dataset:
    return data.load("digits")[:640]


@pytest.fixture
def some(digits):
    """Ten images and labels, in double precision."""
    return digits.images[:10].double(), digits.labels[:10]


@pytest.fixture
def smooth() -> nn.Module:
    return dense().double()


@pytest.fixture(scope="module")
def plainly(train) -> nn.Module:
    """A net of plain training, to compare with."""
    model = dense()
    fit(model, train, epochs=6)
    return model


OBJECTIVES = {
    "gmr": penalties.gradient_magnitude(0.5),
    "fgsm": adversarial.fgsm_training(eps=EPS),
    "pgd": adversarial.pgd_training(eps=EPS, steps=3),
    "pgd l2": adversarial.pgd_training(eps=1.0, norm="l2", steps=3),
    "ensemble": adversarial.ensemble_training([dense(seed=5).eval()], eps=EPS),
    "alp": pairing.adversarial_pairing(0.5, eps=EPS, steps=3),
    "clp": pairing.clean_pairing(0.5),
    "squeezing": pairing.squeezing(0.05),
    "distillation": distillation.taught_by(dense(seed=5).eval(), 20),
}
every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


# --- fit's objective and watch ------------------------------------------------------------

def with_states() -> nn.Sequential:
    """A net with batch statistics and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(layers.Normalize(*models.MNIST_PIXELS), nn.AvgPool2d(4), nn.Conv2d(1, 4, 3),
                             nn.BatchNorm2d(4), nn.Softplus(),
                             nn.Dropout(0.3), nn.Flatten(), nn.Linear(100, 10))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(u, v) for u, v in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@every_objective
def test_every_objective_trains_and_repeats_itself(objective, train):
    first, again = with_states(), with_states()
    history = fit(first, train[:96], objective=objective)
    assert math.isfinite(history.loss[0]) and 0 <= history.train_accuracy[0] <= 1
    torch.manual_seed(123)
    assert fit(again, train[:96], objective=objective) == history and same(first, again)


@every_objective
def test_the_step_is_in_training_mode_and_counts_the_batch_once(objective, train):
    """Whatever looked at the net before (an attack, a test for curvature) leaves no trace in mode or statistics."""
    model, x, y = with_states().train(), train.images[:8], train.labels[:8]
    entered = []
    hook = model.register_forward_pre_hook(lambda module, inputs: entered.append((module.training, inputs[0].detach())))
    objective(model, x, y, F.cross_entropy, torch.Generator().manual_seed(0))
    hook.remove()
    assert [mode for mode, _ in entered].count(True) == 1 and entered[-1][0], "one pass in training mode, the last"
    assert model[3].num_batches_tracked == 1
    expected = model[2](model[1](model[0](entered[-1][1]))).mean((0, 2, 3))
    torch.testing.assert_close(model[3].running_mean, 0.1 * expected, rtol=1e-4, atol=1e-6)
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not x.requires_grad


def test_frozen_batch_statistics_stay_frozen(train):
    model = with_states().train()
    model[3].eval()
    before = model[3].running_mean.clone()
    OBJECTIVES["pgd"](model, train.images[:8], train.labels[:8], F.cross_entropy, None)
    assert not model[3].training and model[5].training and torch.equal(model[3].running_mean, before)


@pytest.mark.parametrize("name", ["pgd", "gmr", "ensemble"])
def test_interrupted_and_resumed_ends_with_the_same_bits(name, train, tmp_path, digits):
    options = dict(epochs=2, objective=OBJECTIVES[name], watch=Watch(adversarial.watch(digits[:8], eps=EPS, steps=2)))
    straight, resumed = with_states(), with_states()
    expected = fit(straight, train[:64], **options)
    with pytest.raises(KeyboardInterrupt):  # in the second epoch, before it is saved
        fit(with_states(), train[:64], checkpoint=tmp_path / "run",
            **options | {"watch": replace(options["watch"], stop=2)})
    history = fit(resumed, train[:64], checkpoint=tmp_path / "run", **options)
    assert same(straight, resumed) and history == expected and len(history.watched) == 2


@dataclass(frozen=True)
class Watch:
    """Somebody who watches, and pulls the plug after `stop` epochs: that is no setting of the run."""

    watched: adversarial.watch
    stop: int | None = field(default=None, repr=False)

    def __call__(self, model, history):
        seen = self.watched(model, history)
        if len(history) == self.stop:
            raise KeyboardInterrupt
        return seen


@every_objective
def test_bfloat16_trains_too_and_the_loss_is_in_float32(objective, train):
    seen, model = set(), dense()
    hook = model[2].register_forward_hook(lambda module, inputs, output: seen.add(("net", output.dtype)))
    history = fit(model, train[:64], objective=objective, bfloat16=True, validation=None,
                  loss=lambda z, y: seen.add(("loss", z.dtype)) or F.cross_entropy(z, y))
    hook.remove()
    assert math.isfinite(history.loss[0]) and seen == {("net", torch.bfloat16), ("loss", torch.float32)}


def test_what_is_watched_stands_in_the_history(train):
    met = []

    def watch(model, history):
        met.append((len(history), len(history.watched)))
        return {"epoch": len(history)}

    assert fit(dense(), train[:32], epochs=3, watch=watch).watched == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]
    assert met == [(1, 0), (2, 1), (3, 2)]
    assert fit(dense(), train[:32]).watched == []


# --- gradient magnitude -----------------------------------------------------------------------

def slow_penalty(model, x, y, weight):
    """The same number image by image, from the Jacobian of the logits and softmax - one-hot."""
    total = 0.0
    for image, label in zip(x, y):
        z = model(image[None])
        rows = torch.stack([torch.autograd.grad(z[0, k], image_in, create_graph=True)[0].flatten()
                            for image_in, z in [lifted(model, image)] for k in range(10)])  # (K, C*H*W)
        slope = (z.softmax(1)[0] - F.one_hot(label, 10)) @ rows
        total = total + F.cross_entropy(z, label[None]) + weight * slope.pow(2).sum().sqrt()
    return total / len(x)


def lifted(model, image):
    image = image[None].requires_grad_()
    return image, model(image)


@pytest.mark.parametrize("activation", [nn.Softplus, nn.Sigmoid])
@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_gmr_equals_the_jacobian_written_out(activation, weight, some):
    model, (x, y) = dense(activation).double(), (some[0][:3], some[1][:3])
    value, _, gradients = step(penalties.gradient_magnitude(weight), model, x, y)
    slow = slow_penalty(model, x, y, weight)
    torch.testing.assert_close(value, slow, rtol=1e-10, atol=0)
    for ours, other in zip(gradients, torch.autograd.grad(slow, list(model.parameters()))):
        torch.testing.assert_close(ours, other, rtol=1e-8, atol=1e-12)


def test_the_gradient_of_gmr_equals_finite_differences(smooth, some):
    objective, h = penalties.gradient_magnitude(0.5), 1e-5
    _, _, gradients = step(objective, smooth, *some)
    value = lambda: objective(smooth, *some, F.cross_entropy, None)[0].item()
    for parameter, gradient in zip(smooth.parameters(), gradients):
        at = gradient.abs().argmax()
        flat = parameter.detach().view(-1)
        flat[at] += h
        above = value()
        flat[at] -= 2 * h
        below = value()
        flat[at] += h
        assert gradient.view(-1)[at].item() == pytest.approx((above - below) / (2 * h), rel=1e-5)


def test_gmr_of_a_net_without_slope_is_finite(some):
    model = dense().double()
    nn.init.zeros_(model[4].weight)
    with pytest.warns(penalties.NoCurvatureWarning):
        value, _, gradients = step(penalties.gradient_magnitude(0.5), model, *some)
    assert torch.isfinite(value) and all(torch.isfinite(g).all() for g in gradients)


def test_gmr_with_the_loss_of_its_source(smooth, some):
    """cutilli2021 trains on the mean squared error to one-hot targets."""
    squared = lambda z, y: F.mse_loss(z, F.one_hot(y, 10).to(z.dtype))
    x = some[0].clone().requires_grad_()
    loss = squared(smooth(x), some[1])
    slopes = torch.autograd.grad(10 * loss, x)[0]  # ten images: the loss of each, not of the mean
    value, _, _ = step(penalties.gradient_magnitude(0.5), smooth, *some, loss=squared)
    torch.testing.assert_close(value, loss + 0.5 * norm(slopes, "l2").mean())


def test_gmr_costs_one_forward_and_one_backward_into_the_images(train, work):
    """A step is F + B + 2 (F + B) = 6 against 3 of a plain one; the second backward pass must not end in the images."""
    model, objective = dense(), penalties.gradient_magnitude(0.5)
    fit(model, train[:32], objective=objective)  # the look for curvature comes once
    with work(model) as done:
        fit(model, train[:96], objective=objective, validation=None)
    assert (done.forward, done.backward) == (96, 96)


def test_a_relu_net_is_warned_about_and_still_learns_from_the_penalty(some):
    model, objective = dense(nn.ReLU).double(), penalties.gradient_magnitude(0.5)
    with pytest.warns(penalties.NoCurvatureWarning, match="no second derivative.*Softplus") as caught:
        _, _, gradients = step(objective, model, *some)
        step(objective, model, *some)
    assert len(caught) == 1, "once, not at each step"
    _, _, plain = step(training.plain, model, *some)
    differ = [(a - b).abs().max() > 1e-4 for a, b in zip(gradients[0::2], plain[0::2])]
    assert all(differ), "the penalty pulls at both matrices of weights"


def test_the_warning_points_at_the_call_of_fit(train):
    with pytest.warns(penalties.NoCurvatureWarning) as caught:
        fit(dense(nn.ReLU), train[:32], objective=penalties.gradient_magnitude())
    assert caught[0].filename == __file__


def test_what_a_relu_net_loses_is_the_second_derivative_of_its_activations(some):
    """The slope of one logit depends on the first layer's biases only through curvature: exactly 0 with ReLU."""
    for activation, lost in ((nn.ReLU, True), (nn.Softplus, False)):
        model = dense(activation).double()
        x = some[0].clone().requires_grad_()
        slope = penalties.input_gradient(model(x)[:, 3].mean(), x)
        weights, biases = torch.autograd.grad(slope.flatten(1).norm(dim=1).sum(), (model[2].weight, model[2].bias))
        assert weights.abs().max() > 0.01 and (biases.abs().max() == 0) == lost


def test_a_smooth_net_is_not_warned_about(smooth, some):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(penalties.gradient_magnitude(), smooth, *some)


def pgd_accuracy(model, test, eps) -> float:
    attack = partial(attacks.pgd, eps=eps, steps=10, first_success=True, generator=torch.Generator().manual_seed(0))
    return robust_accuracy(model, test.images, test.labels, attack).value


def test_gmr_resists_small_perturbations(train, plainly, digits):
    model = dense()
    fit(model, train, epochs=6, objective=penalties.gradient_magnitude(1.0))
    assert pgd_accuracy(model, digits[:150], 0.1) > pgd_accuracy(plainly, digits[:150], 0.1) + 0.05
    assert training.accuracy(model, digits) > training.accuracy(plainly, digits) - 0.1


# --- pairing ---------------------------------------------------------------------------------

@pytest.fixture
def pairs():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, generator=generator), torch.randn(6, 5, generator=generator)


def test_the_terms_equal_numpy(pairs):
    a, b = (t.numpy() for t in pairs)
    assert pairing.distance(*pairs).item() == pytest.approx(np.mean((a - b) ** 2))
    assert pairing.size(pairs[0]).item() == pytest.approx(np.linalg.norm(a, axis=1).mean())


def test_the_terms_are_finite_where_they_have_no_slope():
    z = torch.zeros(3, 4, requires_grad=True)
    value = pairing.size(z) + pairing.distance(z, z) + pairing.distance(z[:0], z[:0])
    assert value == 0 and not torch.autograd.grad(value, z)[0].any()


def test_clean_pairing_pairs_the_halves(smooth, some):
    for n in (10, 9, 2, 1):  # in 9 images one is left over, one alone has no partner
        x, y = some[0][:n], some[1][:n]
        z = smooth(x)
        expected = F.cross_entropy(z, y).item()
        if n > 1:
            expected += 0.7 * np.mean([((z[i] - z[i + n // 2]) ** 2).mean().item() for i in range(n // 2)])
        value, returned, gradients = step(pairing.clean_pairing(0.7), smooth, x, y)
        assert value.item() == pytest.approx(expected) and torch.equal(returned, z)
        assert all(torch.isfinite(g).all() for g in gradients)


def test_squeezing_adds_the_norm_of_the_logits(smooth, some):
    value, z, _ = step(pairing.squeezing(0.3), smooth, *some)
    assert value.item() == pytest.approx((F.cross_entropy(z, some[1]) + 0.3 * z.norm(dim=1).mean()).item())


@pytest.mark.parametrize("kind, eps", [("linf", EPS), ("l2", 1.0)])
def test_adversarial_pairing_pairs_each_image_with_its_own_example(kind, eps, smooth, some):
    x, y = some
    worst = adversarial.walk(smooth, x, y, eps=eps, norm=kind, steps=3, generator=torch.Generator().manual_seed(0))
    clean, fooled = smooth(x), smooth(worst)
    expected = (F.cross_entropy(clean, y) + F.cross_entropy(fooled, y)) / 2 + 0.7 * (clean - fooled).square().mean()
    value, returned, _ = step(pairing.adversarial_pairing(0.7, eps=eps, norm=kind, steps=3), smooth, x, y)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(returned, fooled)


def test_pairing_does_what_it_says(train, plainly, digits):
    """Squeezed logits are small, and clean pairing draws logits together."""
    noisy = dict(epochs=6, augment=training.noise(0.3))
    squeezed, paired = dense(), dense()
    fit(squeezed, train, objective=pairing.squeezing(0.3), **noisy)
    fit(paired, train, objective=pairing.clean_pairing(0.5), **noisy)
    nets = {"plain": plainly, "squeezed": squeezed, "paired": paired}
    z = {name: logits(net, digits.images) for name, net in nets.items()}
    assert pairing.size(z["squeezed"]) < 0.5 * pairing.size(z["plain"])
    halves = {name: pairing.distance(values[:180], values[180:360]) for name, values in z.items()}
    assert halves["paired"] < 0.25 * halves["plain"]
    assert training.accuracy(squeezed, digits) > 0.8


def test_noise_stays_in_range_and_repeats_itself(train):
    x = train.images[:20]
    noisy = training.noise(0.5)(x, torch.Generator().manual_seed(0))
    assert noisy.min() == 0 and noisy.max() == 1
    assert torch.equal(noisy, training.noise(0.5)(x, torch.Generator().manual_seed(0)))
    inside = training.noise(0.05)(torch.full((20, 1, 28, 28), 0.5), torch.Generator().manual_seed(0)) - 0.5
    assert inside.std().item() == pytest.approx(0.05, rel=0.03) and abs(inside.mean().item()) < 0.002


# --- adversarial training ------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_walk_ends_where_pgd_ends(kind, steps, smooth, some):
    """`attacks.pgd` looks at every point of its walk and returns the strongest; the last one it looks at is ours.

    For one image: in a batch an attack shares its start, and training has one for each image.
    """
    met, some = [], (some[0][1:2], some[1][1:2])
    hook = smooth.register_forward_pre_hook(lambda module, inputs: met.append(inputs[0].detach().clone()))
    attacks.pgd(smooth, *some, eps=0.3, norm=kind, steps=steps, generator=torch.Generator().manual_seed(3))
    hook.remove()
    ours = adversarial.walk(smooth, *some, eps=0.3, norm=kind, steps=steps, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(ours, met[-1], rtol=0, atol=1e-12)


def test_every_image_has_a_start_of_its_own(smooth, some):
    """With steps of no length the walk ends where it starts."""
    grey = torch.full_like(some[0], 0.5)
    starts = adversarial.walk(smooth, grey, some[1], eps=0.3, step_size=0, generator=torch.Generator().manual_seed(0))
    assert all((a - b).abs().max() > 0.3 for a, b in zip(starts, starts[1:]))


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_examples_stay_in_the_ball_and_in_range(kind, plainly, digits):
    x, y = digits.images[:20], digits.labels[:20]
    for eps in (0.0, 0.2, 5.0):
        worst = adversarial.walk(plainly, x, y, eps=eps, norm=kind, steps=3, generator=torch.Generator().manual_seed(0))
        assert worst.min() >= 0 and worst.max() <= 1 and norm(worst - x, kind).max() <= eps + 1e-5
        assert not worst.requires_grad and (eps > 0 or torch.equal(worst, x))


@pytest.mark.parametrize("steps", [1, 7])
def test_pgd_training_costs_2k_plus_3(steps, train, work):
    """k (F + B) for the examples, then a plain step (3 F): no pass that only judges."""
    model = dense()
    objective = adversarial.pgd_training(eps=EPS, steps=steps) if steps > 1 else adversarial.fgsm_training(eps=EPS)
    with work(model) as done:
        fit(model, train[:64], objective=objective, validation=None)
    assert (done.forward, done.backward) == (64 * (steps + 1), 64 * steps)


def test_fgsm_training_steps_over_the_edge_and_is_projected_back(smooth, some):
    """wong2020: a step of 1.25 eps from a random start, projected: most pixels end on the edge, some inside."""
    entered = []
    hook = smooth.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0].detach()))
    adversarial.fgsm_training(eps=0.01)(smooth, 0.5 + 0 * some[0], some[1], F.cross_entropy,
                                        torch.Generator().manual_seed(0))
    hook.remove()
    start, end = (point - 0.5 for point in entered)
    assert start.abs().max() <= 0.01 + 1e-12 and start.abs().mean().item() == pytest.approx(0.005, rel=0.1)
    on_edge = (end.abs() > 0.01 - 1e-9).double().mean().item()  # |start + 1.25 eps| >= eps for starts >= -eps / 4
    assert end.abs().max() <= 0.01 + 1e-12 and on_edge == pytest.approx(5 / 8, abs=0.02)


def test_the_walk_has_its_loss_and_the_net_its_own(smooth, some):
    """A source that climbs the squared error can be followed; the net learns by the loss of `fit`, asked once."""
    trained, climbed = [], []
    squared = lambda z, y: climbed.append(len(z)) or losses.mean_squared_error(z, y)
    by_hand = adversarial.pgd_training(eps=EPS, steps=4, loss=squared)
    value, z, _ = step(by_hand, smooth, *some, loss=lambda z, y: trained.append(len(z)) or F.cross_entropy(z, y))
    assert (trained, climbed) == ([10], [10] * 4) and value == F.cross_entropy(z, some[1])
    _, named, _ = step(adversarial.pgd_training(eps=EPS, steps=4, loss="mse"), smooth, *some)
    _, default, _ = step(adversarial.pgd_training(eps=EPS, steps=4), smooth, *some)
    assert torch.equal(z, named) and not torch.equal(z, default)


@pytest.mark.parametrize("objective", ["pgd", "pgd l2", "alp"])
def test_the_walk_keeps_its_direction_when_the_net_is_sure(objective, some):
    """Logits 10,000 times as large: in float32 softmax is 0 or 1, and cross-entropy knows no way up any more."""
    model, x = dense(), some[0].float()
    sure, entered = nn.Sequential(model, layers.Scale(1e4)), []
    hook = sure.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0].detach().clone()))
    said = model(x).argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no ZeroGradientWarning
        OBJECTIVES[objective](sure, x, said, F.cross_entropy, torch.Generator().manual_seed(0))
    hook.remove()
    margins = [losses.margin(model(images), said) for images in (x, entered[-1][-10:])]
    assert (margins[1] > margins[0]).all()


def test_the_walk_of_a_sure_net_was_lost_in_its_cross_entropy(some):
    """What the test above would see without the log-odds."""
    sure, x = nn.Sequential(dense(), layers.Scale(1e4)), some[0].float()
    with pytest.warns(geometry.ZeroGradientWarning):
        adversarial.walk(sure, x, sure(x).argmax(1), eps=EPS, steps=2, loss="naive_ce")


@pytest.mark.parametrize("objective", ["fgsm", "pgd", "ensemble", "alp"])
def test_training_on_examples_resists_pgd(objective, train, plainly, digits):
    model = dense()
    fit(model, train, epochs=6, objective=OBJECTIVES[objective])
    assert pgd_accuracy(model, digits[:150], EPS) > pgd_accuracy(plainly, digits[:150], EPS) + 0.1
    assert training.accuracy(model, digits) > 0.75


def test_ensemble_training_draws_every_net_and_leaves_the_sources_alone(smooth, some, work):
    sources = [dense(seed=s).double().train() for s in (1, 2)]
    before = [{k: v.clone() for k, v in s.state_dict().items()} for s in sources]
    objective, generator = adversarial.ensemble_training(sources, eps=EPS), torch.Generator().manual_seed(0)
    nets = [smooth, *sources]
    examples = [attacks.fgsm(net, *some, eps=EPS) for net in nets]
    met, state = set(), torch.get_rng_state()
    for _ in range(20):
        value, z = objective(smooth, *some, F.cross_entropy, generator)
        drawn = [torch.allclose(z, smooth(e)) for e in examples].index(True)
        met.add(drawn)
        torch.testing.assert_close(value, (F.cross_entropy(smooth(some[0]), some[1]) + F.cross_entropy(z, some[1])) / 2)
    assert met == {0, 1, 2} and torch.equal(torch.get_rng_state(), state)
    for source, state in zip(sources, before):
        assert all(torch.equal(v, state[k]) for k, v in source.state_dict().items())
        assert source.training and all(p.grad is None and p.requires_grad for p in source.parameters())
    with work(smooth) as ours, work(sources[0]) as other:
        while other.forward == 0:
            ours.forward = ours.backward = 0
            objective(smooth, *some, F.cross_entropy, generator)
    assert (other.forward, other.backward, ours.forward, ours.backward) == (10, 10, 20, 0)


# --- catastrophic overfitting ---------------------------------------------------------------------

def history(*pairs):
    return [{"fgsm": fgsm, "pgd": pgd} for fgsm, pgd in pairs]


@pytest.mark.parametrize("watched, epoch", [
    ([], None),
    (history((0.3, 0.2)), None),
    (history((0.3, 0.2), (0.5, 0.4), (0.6, 0.45)), None),                 # healthy
    (history((0.3, 0.2), (0.5, 0.4), (0.8, 0.1), (0.9, 0.0)), 2),         # the classic: PGD falls, FGSM rises
    (history((0.5, 0.4), (0.5, 0.19)), 1),
    (history((0.5, 0.4), (0.5, 0.21)), None),                             # not below half
    (history((0.5, 0.4), (0.1, 0.05)), None),                             # both fall: something else
    (history((0.07, 0.08), (0.16, 0.03)), None),                          # never robust: nothing to lose
    (history((0.1, 0.1), (0.2, 0.04)), 1),                                # just robust
    (history((0.5, 0.4), (0.7, 0.0), (0.6, 0.42), (0.8, 0.0)), 1),        # recovers, and the first one counts
])
def test_collapse_is_told_from_other_histories(watched, epoch):
    assert adversarial.collapse(watched) == epoch


def test_a_collapse_is_reported_once_when_it_happens(plainly, digits):
    """A net without any robustness, watched by somebody who had seen it robust."""
    watch, past = adversarial.watch(digits[:100], eps=0.2), training.History(watched=history((0.0, 0.7)))
    with pytest.warns(adversarial.CatastrophicOverfittingWarning, match="in epoch 2.*PGD fell to"):
        past.watched.append(watch(plainly, past))
    assert past.watched[1]["pgd"] <= past.watched[1]["fgsm"] < 0.35 and adversarial.collapse(past.watched) == 1
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = watch(plainly, past)
    assert torch.equal(torch.get_rng_state(), state)
    assert again == past.watched[1], "the same net, the same numbers"


# --- distillation -----------------------------------------------------------------------------------

def test_the_temperature_divides_the_logits(pairs):
    z, labels = pairs[0], torch.tensor([0, 1, 2, 3, 4, 0])
    p = np.exp(z.numpy() / 20) / np.exp(z.numpy() / 20).sum(1, keepdims=True)
    expected = -np.log(p[np.arange(6), labels]).mean()
    loss = distillation.cross_entropy_at(20)
    assert loss(z, labels).item() == pytest.approx(expected, rel=1e-5)
    assert loss(z, F.one_hot(labels, 5).float()).item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(distillation.cross_entropy_at(1)(z, labels), F.cross_entropy(z, labels))


def test_the_student_learns_the_teachers_soft_answers(smooth, some):
    teacher = with_states().double().train()
    with torch.no_grad():
        q = (teacher.eval()(some[0]).numpy() / 7).astype(np.float64)
    teacher.train()
    p = smooth(some[0]).detach().numpy() / 7
    soft, log = np.exp(q) / np.exp(q).sum(1, keepdims=True), p - np.log(np.exp(p).sum(1, keepdims=True))
    value, z, _ = step(distillation.taught_by(teacher, 7), smooth, *some, loss=distillation.cross_entropy_at(7))
    assert value.item() == pytest.approx(-(soft * log).sum(1).mean(), rel=1e-10)
    assert torch.equal(z, smooth(some[0])), "the student's own logits, at temperature 1"
    assert teacher.training and teacher[3].num_batches_tracked == 0


def test_distil_is_two_fits_and_the_student_sees_the_teacher_only(train):
    teacher, student, by_hand = dense(), dense(seed=1), dense(seed=1)
    distillation.distil(teacher, student, train[:64], temperature=20, epochs=2, progress=False)
    training.fit(by_hand, train[:64], loss=distillation.cross_entropy_at(20),
                 objective=distillation.taught_by(teacher, 20), epochs=2, progress=False)
    assert same(student, by_hand)


def test_distillation_costs_one_forward_of_the_teacher(train, work):
    teacher, student = dense(), dense(seed=1)
    with work(teacher) as asked, work(student) as taught:
        fit(student, train[:64], validation=None, loss=distillation.cross_entropy_at(20),
            objective=distillation.taught_by(teacher, 20))
    assert (asked.forward, asked.backward, taught.forward, taught.backward) == (64, 0, 64, 0)


@pytest.fixture(scope="module")
def distilled(train):
    teacher, student = dense(nn.ReLU, seed=1), dense(nn.ReLU, seed=2)
    plain = dense(nn.ReLU, seed=2)
    options = dict(epochs=20, learning_rate=1e-2, batch_size=32, progress=False)
    histories = distillation.distil(teacher, student, train, temperature=40, **options)
    training.fit(plain, train, **options)
    return teacher, student, plain, histories


def test_the_logits_of_teacher_and_student_grow_with_the_temperature(distilled, digits):
    """Both at T: the mistake of leaving it out of either would show here."""
    teacher, student, plain, histories = distilled
    spread = lambda net: logits(net, digits.images).std(1).median()
    assert spread(teacher) > 8 * spread(plain) and spread(student) > 8 * spread(plain)
    assert all(len(h) == 20 and h.train_accuracy[-1] > 0.95 for h in histories)
    assert training.accuracy(student, digits) > 0.85


def test_the_gradient_is_masked_and_the_log_odds_see_through_it(distilled, digits):
    """What FGSM calls robust falls to the same FGSM on log-odds or margin: the defence hides the gradient only."""
    _, student, plain, _ = distilled
    attack = lambda loss: partial(attacks.fgsm, eps=0.2, loss=loss)
    share = lambda net, loss: robust_accuracy(net, digits.images, digits.labels, attack(loss)).value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ZeroGradientWarning: that is the point
        blinded, before = share(student, "naive_ce"), share(plain, "naive_ce")
    for loss in ("ce", "margin"):
        assert blinded > share(student, loss) + 0.2 and blinded > before + 0.2
    x = digits.images.clone().requires_grad_()
    gradient, = torch.autograd.grad(F.cross_entropy(student(x), digits.labels, reduction="sum"), x)
    assert (norm(gradient, "linf") == 0).float().mean() > 0.2


# --- bad input --------------------------------------------------------------------------------------

@pytest.mark.parametrize("build, error, message", [
    (lambda: penalties.gradient_magnitude(-1), ValueError, "weight = -1; give a finite number >= 0"),
    (lambda: penalties.gradient_magnitude(math.nan), ValueError, "weight = nan"),
    (lambda: penalties.gradient_magnitude("0.5"), TypeError, "weight is '0.5'"),
    (lambda: pairing.clean_pairing(-0.1), ValueError, "weight = -0.1"),
    (lambda: pairing.squeezing(math.inf), ValueError, "weight = inf"),
    (lambda: pairing.adversarial_pairing(-1, eps=0.1), ValueError, "weight = -1"),
    (lambda: pairing.adversarial_pairing(1, eps=-0.1), ValueError, "eps = -0.1"),
    (lambda: training.noise(-1), ValueError, "sigma = -1"),
    (lambda: adversarial.fgsm_training(eps=-0.1), ValueError, "eps = -0.1"),
    (lambda: adversarial.fgsm_training(eps=0.1, step_size=-1), ValueError, "step_size = -1"),
    (lambda: adversarial.fgsm_training(eps=None), TypeError, "eps is None"),
    (lambda: adversarial.pgd_training(eps=0.1, steps=0), ValueError, "steps = 0; give at least 1"),
    (lambda: adversarial.pgd_training(eps=0.1, loss="hinge"), ValueError, "unknown loss 'hinge'; known: ce, naive_ce"),
    (lambda: adversarial.pgd_training(eps=0.1, norm="l1"), ValueError, "unknown norm 'l1'; known: linf, l2"),
    (lambda: adversarial.ensemble_training([], eps=0.1), ValueError, "at least one net"),
    (lambda: adversarial.ensemble_training(["lenet"], eps=0.1), ValueError, r"\['str'\]"),
    (lambda: adversarial.ensemble_training([dense()], eps=math.inf), ValueError, "eps = inf"),
    (lambda: adversarial.watch(None, eps=-1), ValueError, "eps = -1"),
    (lambda: adversarial.watch(None, eps=0.1, steps=1), ValueError, "steps = 1; give at least 2"),
    (lambda: distillation.cross_entropy_at(0), ValueError, "temperature = 0; give a finite number > 0"),
    (lambda: distillation.taught_by(dense(), -20), ValueError, "temperature = -20"),
    (lambda: distillation.taught_by(dense(), True), TypeError, "temperature is True"),
])
def test_wrong_settings_are_refused_when_they_are_made(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_logits_that_cannot_be_paired_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        pairing.distance(torch.zeros(3, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\(3,\) and \(3,\)"):
        pairing.distance(torch.zeros(3), torch.zeros(3))


def test_images_in_normalised_units_are_refused(train):
    """The classic mistake: the data is normalised, and eps no longer is what it says."""
    with pytest.raises(ValueError, match="pixels belong in"):
        fit(dense(), train[:32], objective=OBJECTIVES["pgd"], augment=lambda x, generator: (x - 0.13) / 0.31)


def test_the_trained_net_is_no_source_of_its_own(train):
    model = dense()
    with pytest.raises(ValueError, match="one of its own sources"):
        fit(model, train[:32], objective=adversarial.ensemble_training([model], eps=0.1))


def test_one_checkpoint_for_two_nets_is_refused(train, tmp_path):
    with pytest.raises(ValueError, match="resume as the teacher"):
        distillation.distil(dense(), dense(seed=1), train, temperature=20, epochs=1, checkpoint=tmp_path / "run")


def test_a_teacher_that_is_the_student_or_has_other_classes_is_refused(train):
    with pytest.raises(ValueError, match="one net; give two"):
        distillation.distil(*[dense()] * 2, train, temperature=20, epochs=1)
    with pytest.raises(ValueError, match=r"\(32, 5\), the student \(32, 10\)"):
        teacher = nn.Sequential(nn.Flatten(), nn.Linear(784, 5))
        fit(dense(), train[:32], objective=distillation.taught_by(teacher, 20))
