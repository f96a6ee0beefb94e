"""Certificates: bounds that contain, certificates that no attack breaks, exact where the truth is known."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from advlens import attacks, certify, models, training, zoo
from advlens.attacks.apgd import apgd
from advlens.attacks.noise import noise
from advlens.certify import certified, interval_bounds, interval_training, lower_confidence_bound, smoothed
from advlens.evaluation import logits, robust_accuracy
from advlens.layers import Angular, BatchRenorm, ElasticSigmoid, Normalize, PairwiseDifference, RePU, Scale
from advlens.models import IdentityBlock

start = lambda: torch.Generator().manual_seed(0)
over_networks = pytest.mark.parametrize("name", zoo.NETWORKS)
TELLING = {"lenet": 1e-3, "mnist_resnet": 3e-5, "fully_connected": 0.01, "cifar_net": 2e-6, "vgg_blocks": 2e-7,
           "hebbian_bio": 1e-3, "hebbian_bp": 0.01}  # where the bounds are tight enough to be wrong


@pytest.fixture(scope="module")
def embedded():
    """embedded(name, n): a network and the first test images of the embedded data it was trained on."""
    from advlens import data

    def load(name, n):
        test = data.load(zoo.NETWORKS[name][2], "test")[:n]
        return zoo.pretrained(name, test.name), test.images, test.labels

    return load


def small():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(Normalize(*models.MNIST_PIXELS), nn.AvgPool2d(2), nn.Flatten(),
                             nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))


@pytest.fixture(scope="module")
def trained():
    """The same small net, trained plainly and for tight bounds."""
    from advlens import data
    digits, nets = data.load("digits", "train"), {"plain": small(), "interval": small()}
    for name, objective in {"plain": training.plain, "interval": interval_training(eps=0.1, warmup=1, ramp=6)}.items():
        training.fit(nets[name], digits, epochs=10, learning_rate=3e-3, objective=objective, progress=False)
    return nets


# --- bounds of one layer: the extremes of a box are at its corners -------------------

def renormalised(layer, **values):
    """A layer whose statistics and weights are not those of the start; the second channel falls."""
    with torch.no_grad():
        for name, value in ({"weight": [1.5, -2.0], "bias": [0.1, -0.3], "running_mean": [0.3, -0.5]} | values).items():
            getattr(layer, name).copy_(torch.tensor(value))
    return layer


EXACT = {
    "Identity": nn.Identity, "Dropout": nn.Dropout, "Scale": lambda: Scale(-0.5),
    "Normalize": lambda: Normalize([0.1, 0.2], [0.3, 0.4]),
    "Conv2d": lambda: nn.Conv2d(2, 3, 2, stride=2, bias=False),
    "Conv2d, padded and in groups": lambda: nn.Conv2d(2, 4, 3, padding="same", groups=2),
    "Linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(8, 3)),
    "BatchNorm2d": lambda: renormalised(nn.BatchNorm2d(2), running_var=[0.2, 3.0]),
    "BatchNorm2d, bare": lambda: nn.BatchNorm2d(2, affine=False),
    "BatchRenorm": lambda: renormalised(BatchRenorm(2), running_std=[0.2, 3.0]),
    "ReLU": nn.ReLU, "ReLU in place": lambda: nn.ReLU(inplace=True), "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh, "Softplus": nn.Softplus, "RePU": lambda: RePU(4.5), "ElasticSigmoid": lambda: ElasticSigmoid(-2.0),
    "AvgPool2d": lambda: nn.AvgPool2d(2), "MaxPool2d": lambda: nn.MaxPool2d(2),
    "AdaptiveAvgPool2d": lambda: nn.AdaptiveAvgPool2d(1),
}
CONTAINED = {  # here a number comes in twice, and the bounds do not know that it is one
    "Conv2d, reflecting": lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    "IdentityBlock": lambda: IdentityBlock(2),
    "PairwiseDifference": lambda: nn.Sequential(nn.Flatten(), PairwiseDifference(8, 3)),
    "PairwiseDifference, full": lambda: nn.Sequential(nn.Flatten(), PairwiseDifference(8, 3, full=True, bias=False)),
    "Angular": lambda: nn.Sequential(nn.Flatten(), Angular(8, 3)),
    "Angular, c = 0": lambda: nn.Sequential(nn.Flatten(), Angular(8, 3, c=0.0)),
}


def corners(x, eps):
    """All 256 corners of the box around one image (1, 2, 2, 2), cut to [0, 1]."""
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=8)), dtype=x.dtype).view(-1, 2, 2, 2)
    return (x + eps * signs).clamp(0, 1)


@pytest.fixture
def tiny():
    """Two images of eight numbers in double precision, between them near 0 and near 1."""
    return torch.rand(2, 2, 2, 2, generator=start(), dtype=torch.float64)


@pytest.mark.parametrize("build", (EXACT | CONTAINED).values(), ids=(EXACT | CONTAINED).keys())
@pytest.mark.parametrize("eps", [0.0, 0.05, 0.3])
def test_one_layer_is_bounded_by_the_corners_of_the_box(build, eps, tiny):
    """Exactly, where each output rises or falls with each number; whatever the mode of the layer, which stays."""
    layer = build()
    net = nn.Sequential(Normalize([0.5, 0.4], [0.3, 0.2]), layer, nn.Flatten()).double().train()
    lower, upper = interval_bounds(net, tiny, eps)
    assert layer.training and lower.dtype == torch.float64
    for image, low, high in zip(tiny, lower, upper):
        inside = (image + eps * (2 * torch.rand(2000, 2, 2, 2) - 1).double()).clamp(0, 1)
        z = logits(net, torch.cat([corners(image[None], eps), inside]))
        assert (low <= z + 1e-9).all() and (z - 1e-9 <= high).all()
        if build in EXACT.values() or eps == 0:
            torch.testing.assert_close(low, z.amin(0), rtol=0, atol=1e-9)
            torch.testing.assert_close(high, z.amax(0), rtol=0, atol=1e-9)


def test_the_cosine_of_angular_neurons_stays_a_cosine(tiny):
    layer = Angular(8, 3, c=0.0).double()
    lower, upper = interval_bounds(nn.Sequential(nn.Flatten(), layer), tiny, 1.0)  # the box holds the blank image
    assert (lower == -1).any() or (upper == 1).any()
    assert (lower >= -1).all() and (upper <= 1).all()


def test_the_shortest_input_of_angular_neurons_may_lie_inside_the_box():
    """a is in [0.5, 1] x [-1, 1], and the cosine with (1, 0) is 1 where the second number is 0: at no corner."""
    angular = Angular(2, 1, c=0.0)
    with torch.no_grad():
        angular.weight.copy_(torch.tensor([[1.0, 0.0]]))
    net = nn.Sequential(Normalize([0.0, 0.5], [1.0, 0.25]), nn.Flatten(), angular)
    lower, upper = interval_bounds(net, torch.tensor([0.75, 0.5]).view(1, 2, 1, 1), 0.25)
    assert upper >= 1 - 1e-6 and lower <= 0.5 ** 0.5


# --- bounds of the networks ----------------------------------------------------------

ATTACKS = {
    "pgd": partial(attacks.pgd, loss="margin", steps=10, restarts=2, first_success=True),
    "bim": lambda *a, eps, generator: attacks.bim(*a, eps=eps),
    "apgd": partial(apgd, loss="dlr", steps=10),
    "noise": partial(noise, draws=10),
}


@pytest.mark.filterwarnings("ignore::advlens.geometry.ZeroGradientWarning")
@over_networks
def test_bounds_contain_random_points_and_the_results_of_attacks(name, embedded):
    """At an eps where they are tight, and at one where they are not."""
    net, x, y = embedded(name, 2)
    points = 1000 if x.shape[1] == 1 and name != "mnist_resnet" else 100
    for eps in (TELLING[name], 0.05):
        lower, upper = interval_bounds(net, x, eps)
        d = 2 * torch.rand(points, *x.shape, generator=start()) - 1  # (points, N, C, H, W)
        d[::2] = d[::2].sign()
        found = [attack(net, x, y, eps=eps, generator=start()) for attack in ATTACKS.values()]
        tried = [(x + eps * d).clamp(0, 1).flatten(0, 1), *found]
        z = torch.cat([logits(net, images).view(-1, *lower.shape) for images in tried])  # (tries, N, K)
        room = certify.ROUNDING * z.abs().amax()
        assert (lower - room <= z).all() and (z <= upper + room).all()


@over_networks
def test_float32_rounds_less_than_the_room_left_for_it(name, embedded):
    net, x, _ = embedded(name, 20)
    z = logits(net, x)
    exact = logits(net.double(), x.double())
    assert ((z - exact).abs().amax(1) < certify.ROUNDING / 5 * z.abs().amax(1)).all()


@over_networks
def test_without_a_box_the_bounds_are_the_logits(name, embedded):
    net, x, y = embedded(name, 4)
    lower, upper = interval_bounds(net, x, 0.0)
    exact = logits(net.double(), x.double())
    torch.testing.assert_close(lower, exact, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(upper, exact, rtol=1e-9, atol=1e-9)
    assert torch.equal(certified(net, x, y, 0.0), exact.argmax(1) == y)


def test_a_larger_box_has_wider_bounds_and_fewer_certificates(embedded):
    net, x, y = embedded("fully_connected", 60)
    radii = [0.0, 0.003, 0.01, 0.03, 0.1]
    bounds, sure = [interval_bounds(net, x, eps) for eps in radii], [certified(net, x, y, eps) for eps in radii]
    for (lower, upper), (wider_lower, wider_upper), small_eps, large_eps in zip(bounds, bounds[1:], sure, sure[1:]):
        assert (wider_lower <= lower).all() and (upper <= wider_upper).all() and (large_eps <= small_eps).all()
    assert sure[0].any() and not sure[-1].any()


def test_each_image_has_its_own_eps_and_no_neighbours(lenet, digits, monkeypatch):
    x, y, eps = digits.images[:7], digits.labels[:7], torch.linspace(0, 2e-3, 7)
    monkeypatch.setattr(certify, "BATCH", 3)
    lower, upper = interval_bounds(lenet, x, eps)
    sure = certified(lenet, x, y, eps)
    for row in range(7):
        alone = interval_bounds(lenet, x[row:row + 1], eps[row].item())
        torch.testing.assert_close((lower[row], upper[row]), (alone[0][0], alone[1][0]), rtol=1e-9, atol=1e-9)
        assert sure[row] == certified(lenet, x[row:row + 1], y[row:row + 1], eps[row].item())


def test_the_box_ends_where_the_images_end():
    """One linear logit: its extremes over the box and [0, 1] are known pixel by pixel."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    x = torch.rand(5, 1, 4, 4, dtype=torch.float64).round()  # nothing but 0 and 1
    low, high, weight = (x - 0.2).clamp(0, 1).flatten(1), (x + 0.2).clamp(0, 1).flatten(1), net[1].weight.detach()
    most = torch.maximum(weight * low[:, None], weight * high[:, None]).sum(2) + net[1].bias.detach()  # (N, K)
    torch.testing.assert_close(interval_bounds(net, x, 0.2)[1], most, rtol=0, atol=1e-9)


def test_the_widening_covers_what_float32_images_round_to():
    """x + eps in float32 may lie further from x than eps: also that image is in the box."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    x, eps = torch.linspace(0.3, 0.9, 1000).view(-1, 1, 1, 1), 0.1
    moved = x + eps
    assert (moved.double() > x.double() + eps).any()
    lower, upper = interval_bounds(net, x, eps)
    z = logits(net, moved.double())
    assert (lower <= z).all() and (z <= upper).all()


# --- certificates --------------------------------------------------------------------

def linear(classes=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(27, classes))


@pytest.mark.parametrize("tail", [[], [Scale(-0.5)], [nn.Sequential(Scale(3.0)), nn.Dropout(0.5)]],
                         ids=["bare", "negative scale", "nested"])
def test_a_linear_net_is_certified_exactly_as_far_as_it_holds(tail):
    """No further, and no less: the radius is the least (z_y - z_j) / ||w_y - w_j||_1, where no pixel meets 0 or 1."""
    net = nn.Sequential(linear(), *tail).train()
    x = 0.5 + 0.02 * torch.randn(50, 3, 3, 3)
    z = logits(net, x)
    y = z.argmax(1)
    weight = net[0][1].weight.detach()
    factor = math.prod(layer.factor for layer in net.modules() if isinstance(layer, Scale))
    gaps = (z.gather(1, y[:, None]) - z) / abs(factor)
    lengths = (weight[y, None] - weight).abs().sum(2)  # (N, K)
    radius = (gaps / lengths).nan_to_num(torch.inf).amin(1)
    far = radius > 2e-3  # nearer, and the room for rounding is no longer small
    assert far.sum() >= 30 and certified(net, x, y, 0.995 * radius)[far].all()
    assert not certified(net, x, y, 1.00001 * radius).any()
    assert not certified(net, x, (y + 1) % 4, 0.0).any(), "what is classified wrong is not certified"


def test_nothing_is_certified_on_the_boundary():
    """Two equal logits: rounding decides, and a certificate must not depend on it."""
    net = linear(2)
    with torch.no_grad():
        net[1].weight[1] = net[1].weight[0]
        net[1].bias.copy_(torch.tensor([1e-7, 0.0]))
    x = torch.rand(20, 3, 3, 3)
    assert not certified(net, x, torch.zeros(20, dtype=torch.int64), 0.0).any()


def test_what_the_net_gets_wrong_as_it_runs_is_not_certified():
    """In bfloat16 both logits are 1, and the first one wins: the second class is right in exact arithmetic only."""
    net = linear(2)
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.copy_(torch.tensor([1.0, 1.001]))
    x, y = torch.rand(3, 3, 3, 3), torch.ones(3, dtype=torch.int64)
    assert certified(net, x, y, 0.1).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert not certified(net, x, y, 0.1).any()


def test_a_net_that_does_not_end_in_a_linear_layer_is_certified_by_single_logits():
    net = nn.Sequential(nn.Flatten(), nn.Linear(27, 8), nn.Tanh(), Angular(8, 3)).double()
    x = torch.rand(30, 3, 3, 3, dtype=torch.float64)
    y = logits(net, x).argmax(1)
    lower, upper = interval_bounds(net, x, 0.01)
    apart = lower.gather(1, y[:, None]) > upper.scatter(1, y[:, None], -torch.inf)
    assert torch.equal(certified(net, x, y, 0.01), apart.all(1)) and 0 < apart.all(1).sum() < 30


@pytest.mark.parametrize("name", ["lenet", "mnist_resnet", "fully_connected", "hebbian_bio", "hebbian_bp", "interval"])
def test_no_attack_succeeds_inside_a_certified_radius(name, embedded, trained, digits):
    """And so certified accuracy <= accuracy under attack <= clean accuracy."""
    n = 8 if name == "mnist_resnet" else 60
    net, x, y = (trained["interval"], digits.images[:n], digits.labels[:n]) if name == "interval" else embedded(name, n)
    eps = 0.1 if name == "interval" else TELLING[name]
    clean = logits(net, x).argmax(1) == y
    sure = certified(net, x, y, eps)
    assert sure.any() and (sure <= clean).all()
    for kind, attack in ATTACKS.items():
        fooled = logits(net, attack(net, x[sure], y[sure], eps=eps, generator=start())).argmax(1) != y[sure]
        assert not fooled.any(), f"{kind} fools {int(fooled.sum())} certified images at {eps}"
    under_attack = robust_accuracy(net, x, y, partial(ATTACKS["pgd"], eps=eps, generator=start())).value
    assert sure.double().mean() <= under_attack <= clean.double().mean()


# --- training ------------------------------------------------------------------------

def test_training_for_bounds_makes_them_tight(trained, digits):
    """Where plain training certifies nearly nothing."""
    x, y = digits.images, digits.labels
    share = {name: certified(net, x, y, 0.05).double().mean().item() for name, net in trained.items()}
    assert share["plain"] < 0.1 and share["interval"] > 0.6
    assert training.accuracy(trained["interval"], digits) > 0.9


def test_the_objective_mixes_clean_and_worst_logits(net, batch):
    """At both ends of kappa it is one of the two; the bounds are those of evaluation mode, whatever the net's."""
    x, y = batch
    loss = nn.functional.cross_entropy
    at = lambda **settings: interval_training(**settings)(net, x, y, loss, start())[0]
    net[2].momentum, net[4].p = 0.0, 0.0  # all calls see the same net
    clean = training.plain(net, x, y, loss, start())[0]
    lower, upper = interval_bounds(net, x, 0.02)
    loosest = loss(upper.scatter(1, y[:, None], lower.gather(1, y[:, None])), y)  # single logits: a looser bound
    torch.testing.assert_close(at(eps=0.02, kappa=1), clean)
    worst = at(eps=0.02, kappa=0)
    torch.testing.assert_close(at(eps=0.02, kappa=0.25), 0.25 * clean + 0.75 * worst)
    torch.testing.assert_close(at(eps=0.0, kappa=0), loss(logits(net, x), y))
    assert loss(logits(net, attacks.pgd(net, x, y, eps=0.02)), y) <= worst < loosest
    net.train()
    worst.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (net[1].weight, net[2].weight, net[6].weight))


def test_the_ramp_goes_from_plain_training_to_the_objective():
    goal = interval_training(eps=0.2, kappa=0.5, warmup=2, ramp=4)
    seen = [(now.eps, now.kappa) for now in map(goal.at, (0, 2, 4, 6, 100))]
    np.testing.assert_allclose(seen, [(0, 1), (0, 1), (0.1, 0.75), (0.2, 0.5), (0.2, 0.5)])
    at_once = interval_training(eps=0.2, warmup=1, ramp=0)
    assert at_once.at(0.99).eps == 0 and at_once.at(1.0).eps == 0.2
    assert goal.at(3.0).at(50.0) == goal.at(3.0), "what at() returns no longer changes"
    assert repr(goal) == "interval_training(eps=0.2, kappa=0.5, warmup=2, ramp=4)"


def test_an_interrupted_ramp_resumes_exactly(tmp_path, digits, monkeypatch):
    """The epoch comes from fit, and nothing is counted: a run stopped amid the ramp ends with the same bits."""
    fit = partial(training.fit, train=digits[:128], epochs=3, batch_size=32, progress=False,
                  objective=interval_training(eps=0.1, warmup=0.5, ramp=2))
    whole, parts, at = small(), small(), interval_training.at
    expected = fit(whole, checkpoint=tmp_path / "whole")

    def interrupted(self, epoch):
        if epoch >= 2.25:
            raise KeyboardInterrupt
        return at(self, epoch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(interval_training, "at", interrupted)
        fit(parts, checkpoint=tmp_path / "parts")
    resumed = small()
    assert fit(resumed, checkpoint=tmp_path / "parts").loss == expected.loss
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters()))


# --- randomised smoothing ------------------------------------------------------------

def halves():
    """Two classes of images of 16 pixels, divided by the hyperplane sum(x) = 8: the smoothed net is the net itself."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 16))
        net[1].bias.copy_(torch.tensor([8.0, -8.0]))
    return net


def at_distance(t):
    """Images (N, 1, 4, 4) whose distance to the hyperplane of `halves` is t (N,), negative on the side of class 0."""
    return (0.5 + t / 4).float().view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def test_the_radius_of_a_linear_net_is_its_distance_up_to_sampling():
    t = torch.tensor([-0.4, -0.2, 0.1, 0.3])
    prediction, radius = smoothed(halves(), at_distance(t), sigma=0.25, n=20_000, generator=start(), batch_size=5000)
    assert prediction.tolist() == [0, 0, 1, 1]
    assert (radius < t.abs()).all() and (radius > t.abs() - 0.015).all(), (radius, t)


def test_no_point_inside_the_smoothed_radius_has_another_class():
    """Class 1 is a band of width 2 h around t = 0: the smoothed net is known, and not linear."""
    h, sigma = 0.3, 0.25

    class Band(nn.Module):
        def forward(self, x):
            t = (x.sum((1, 2, 3)) - 8) / 4  # (N,), distance to the middle of the band
            return torch.stack([t.abs(), torch.full_like(t, h)], 1)

    inside = lambda t: stats.norm.cdf((h - t) / sigma) - stats.norm.cdf((-h - t) / sigma)  # probability of class 1
    t = torch.linspace(-0.9, 0.9, 31)
    prediction, radius = smoothed(Band(), at_distance(t), sigma=sigma, n=2000, generator=start())
    assert {0, 1} <= set(prediction.tolist())
    for distance, k, r in zip(t.tolist(), prediction.tolist(), radius.tolist()):
        moved = distance + r * np.linspace(-1, 1, 201)
        assert k == -1 or ((inside(moved) > 0.5) == (k == 1)).all(), f"at {distance}: class {k} is certified up to {r}"


def test_wrong_certificates_are_as_rare_as_promised():
    """Near the boundary, where choosing and estimating on the same draws would err up to twice as often."""
    alpha, runs, distance = 0.1, 1500, 0.01
    x = at_distance(torch.full((runs,), distance))
    prediction, radius = smoothed(halves(), x, sigma=1.0, n=400, n0=5, alpha=alpha, generator=start())
    wrong = (prediction == 0) | ((prediction == 1) & (radius > distance))
    limit = stats.binom.ppf(0.999, runs, alpha) / runs
    assert 0 < wrong.double().mean() <= limit
    assert (prediction == -1).double().mean() > 0.5


@pytest.mark.parametrize("p", [0.3, 0.6, 0.9, 0.99])
def test_the_bound_covers_the_share_that_drew_it(p):
    n, alpha, runs = 500, 0.05, 20_000
    hits = np.random.default_rng(0).binomial(n, p, runs)
    failures = (lower_confidence_bound(hits, n, alpha) > p).sum()
    assert stats.binom.ppf(1e-3, runs, alpha / 2) < failures <= stats.binom.ppf(0.999, runs, alpha)


def test_the_bound_is_clopper_and_pearson_s():
    hits = np.arange(1, 51)
    bound = lower_confidence_bound(hits, 50, 0.01)
    np.testing.assert_allclose(bound, stats.beta.ppf(0.01, hits, 50 - hits + 1), rtol=1e-9)
    np.testing.assert_allclose(stats.binom.sf(hits - 1, 50, bound), 0.01, rtol=1e-6)  # alpha
    assert lower_confidence_bound(0, 50, 0.01) == 0 and np.isclose(bound[-1], 0.01 ** (1 / 50))


def test_certain_predictions_have_the_largest_radius_that_n_allows():
    x = at_distance(torch.tensor([-2.0, 2.0]))
    prediction, radius = smoothed(halves(), x, sigma=0.1, n=100, alpha=0.01, generator=start())
    assert prediction.tolist() == [0, 1]
    np.testing.assert_allclose(radius, 0.1 * stats.norm.ppf(0.01 ** (1 / 100)), rtol=1e-5)


def test_noisy_images_are_not_clipped():
    """Half of the pixels' noise would be lost at 0: a net that asks for it sees all of it."""
    seen = []

    def watching(x):
        seen.append(x)
        return torch.stack([x.sum((1, 2, 3)), -x.sum((1, 2, 3))], 1)

    net = nn.Identity()
    net.forward = watching
    smoothed(net, torch.zeros(1, 1, 4, 4), sigma=0.5, n=2000, generator=start())
    drawn = torch.cat(seen)
    assert abs(drawn.mean().item()) < 0.02 and abs(drawn.std().item() - 0.5) < 0.02


def test_smoothing_repeats_itself_and_leaves_all_as_it_was(net, batch, work):
    x, state = batch[0][:3], torch.get_rng_state()
    with work(net) as passes:
        first = smoothed(net, x, sigma=0.1, n=70, n0=10, generator=start(), batch_size=32)
    assert passes.forward == 3 * 80 and net.training and all(p.requires_grad for p in net.parameters())
    again = smoothed(net, x, sigma=0.1, n=70, n0=10, generator=start(), batch_size=32)
    assert torch.equal(first.prediction, again.prediction) and torch.equal(first.radius, again.radius)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.prediction.dtype == torch.int64 and first.radius.dtype == x.dtype


# --- input outside the contract ------------------------------------------------------

class Odd(nn.Linear):
    """A linear layer that is none."""

    def forward(self, x):
        return super().forward(x).square()


@pytest.mark.parametrize("layer, message", [
    (nn.GELU(), "layer of type GELU; known: .*Conv2d.*`smoothed`"),
    (Odd(8, 3), "layer of type Odd"),
    (nn.BatchNorm1d(8, track_running_stats=False), "has no running statistics"),
], ids=["no rule", "a subclass", "statistics of the batch"])
def test_a_layer_without_bound_is_named(layer, message, tiny):
    net = nn.Sequential(nn.Flatten(), layer).double()
    for call in (interval_bounds, lambda *a: certified(a[0], a[1], torch.zeros(2, dtype=torch.int64), a[2])):
        with pytest.raises(TypeError, match=message):
            call(net, tiny, 0.1)


@pytest.mark.parametrize("wrong, error, message", [
    (dict(eps=-0.1), ValueError, "eps = .*not negative"),
    (dict(eps="much"), TypeError, "eps is 'much'"),
    (dict(x=torch.full((2, 1, 4, 4), 2.0)), ValueError, r"x lies in \[2, 2\]"),
    (dict(y=torch.tensor([0, 2])), ValueError, "y holds 2, but the model has 2 classes"),
    (dict(y=torch.tensor([0.0, 1.0])), TypeError, "y is torch.float32"),
])
def test_wrong_arguments_of_certified(wrong, error, message):
    given = dict(x=at_distance(torch.tensor([-0.1, 0.1])), y=torch.tensor([0, 1]), eps=0.01) | wrong
    with pytest.raises(error, match=message):
        certified(halves(), **given)


@pytest.mark.parametrize("wrong, error, message", [
    (dict(sigma=0.0), ValueError, "sigma = 0.0; give a finite number > 0"),
    (dict(alpha=0.0), ValueError, "alpha = 0.0"),
    (dict(alpha=1.0), ValueError, "alpha = 1.0; .*between 0 and 1"),
    (dict(n=9), ValueError, "n = 9 draws cannot certify anything at alpha = 0.001: give at least 10"),
    (dict(n=3, alpha=0.125), ValueError, "give at least 4"),
    (dict(n=10.5), TypeError, "n is 10.5"),
    (dict(n0=0), ValueError, "n0 = 0; give at least 1"),
    (dict(batch_size=0), ValueError, "batch_size = 0; give at least 1"),
    (dict(x=torch.zeros(1, 4, 4)), ValueError, r"x has shape \(1, 4, 4\)"),
])
def test_wrong_arguments_of_smoothed(wrong, error, message):
    with pytest.raises(error, match=message):
        smoothed(halves(), **(dict(x=torch.zeros(1, 1, 4, 4), sigma=0.5, n=10) | wrong))


def test_the_least_n_that_is_accepted_can_certify():
    assert smoothed(halves(), torch.zeros(1, 1, 4, 4), sigma=0.1, n=10, generator=start()).radius > 0


@pytest.mark.parametrize("wrong, error, message", [
    (dict(eps=-1), ValueError, "eps = -1"), (dict(kappa=1.5), ValueError, "kappa = 1.5; give a share"),
    (dict(ramp=-1), ValueError, "ramp = -1"), (dict(warmup="one"), TypeError, "warmup is 'one'"),
])
def test_wrong_arguments_of_the_objective(wrong, error, message):
    with pytest.raises(error, match=message):
        interval_training(**(dict(eps=0.1) | wrong))
