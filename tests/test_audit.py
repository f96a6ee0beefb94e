"""transfer and audit: what they count, what the audit must flag, and whom it must not accuse."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlens import audit, data, geometry, jpeg, layers, models, zoo
from advlens.attacks import BPDA, EOT, fgsm, pgd
from advlens.audit import Audit, Finding
from advlens.evaluation import logits, rate, robust_accuracy, transfer
from nets import Constant

start = lambda seed=0: torch.Generator().manual_seed(seed)
compress = partial(jpeg.compress, quality=30)  # the real codec: leaves the graph, has no derivative


class Then(nn.Module):
    """A model with functions before and after it."""

    def __init__(self, model, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.model, self.before, self.after = model, before, after

    def forward(self, x):
        return self.after(self.model(self.before(x)))


def failed(report):
    return {f.name for f in report.findings if not f.passed}


@pytest.fixture(scope="module")
def some():
    part = data.load("digits", "test")[:50]
    return part.images, part.labels


@pytest.fixture(scope="module")
def check(some):
    """An audit of 50 digits, short enough for a test."""
    return partial(audit.audit, x=some[0], y=some[1], steps=15)


# --- transfer -------------------------------------------------------------------

def test_transfer_is_never_stronger_than_white_box(lenet, fully_connected, some):
    for attack in (partial(fgsm, eps=0.1), partial(pgd, eps=0.1, steps=10, random_start=False)):
        for source, target in ((lenet, fully_connected), (fully_connected, lenet)):
            assert transfer(source, target, *some, attack).value > robust_accuracy(target, *some, attack).value + 0.1


def test_transfer_from_a_net_to_itself_is_white_box(lenet, some):
    attack = partial(pgd, eps=0.1, steps=5, random_start=False)
    assert transfer(lenet, lenet, *some, attack) == robust_accuracy(lenet, *some, attack)


def test_transfer_counts_all_images_and_attacks_those_that_the_target_knows(lenet, fully_connected, some):
    """Recomputed by hand; the source may be wrong about an image, the target's mistakes are lost before the attack."""
    x, y = some[0], some[1].clone()
    y[:7] = (y[:7] + 1) % 10  # both nets are wrong here
    attacked = []

    def attack(model, x, y):
        assert model is lenet
        attacked.append(len(x))
        return fgsm(model, x, y, eps=0.2)

    right = logits(fully_connected, x).argmax(1) == y
    stands = right & (logits(fully_connected, fgsm(lenet, x, y, eps=0.2)).argmax(1) == y)
    assert transfer(lenet, fully_connected, x, y, attack) == rate(stands)
    assert attacked == [int(right.sum())] and right.sum() < 50


def test_transfer_costs_the_attack_on_the_source_and_two_looks_at_the_target(lenet, fully_connected, some, work):
    with work(lenet) as source, work(fully_connected) as target:
        transfer(lenet, fully_connected, *some, partial(fgsm, eps=0.1))
    n = int((logits(fully_connected, some[0]).argmax(1) == some[1]).sum())
    assert (source.forward, source.backward, target.forward, target.backward) == (n, n, 50 + n, 0)


def test_transfer_refuses_what_robust_accuracy_refuses(lenet, fully_connected, some):
    with pytest.raises(ValueError, match=r"the attack's result lies in \[0, 2\]"):
        transfer(lenet, fully_connected, *some, lambda m, x, y: 2 * x / x.max())
    with pytest.raises(TypeError, match="y is torch.float32"):
        transfer(lenet, fully_connected, some[0], some[1].float(), partial(fgsm, eps=0.1))


# --- audit: whom it must not accuse -------------------------------------------------

@pytest.mark.parametrize("name, other", [("lenet", "fully_connected"), ("fully_connected", "lenet")])
def test_plain_nets_pass(name, other, check):
    report = check(zoo.pretrained(name, "digits"), other=zoo.pretrained(other, "digits"))
    assert report.passed, str(report)


def test_lenet_passes_on_mnist(mnist):
    part, other = mnist[:60], zoo.pretrained("fully_connected", "mnist")
    report = audit.audit(zoo.pretrained("lenet", "mnist"), part.images, part.labels, other=other, steps=10)
    assert report.passed and len(report.findings) == 9, str(report)


def test_a_residual_net_passes(some):
    report = audit.audit(zoo.pretrained("mnist_resnet", "digits"), some[0][:12], some[1][:12], eps=0.05, steps=5)
    assert report.passed, str(report)


@pytest.fixture(scope="module")
def hardened():
    """LeNet after two more epochs on digits, against PGD: honestly robust, if not very.

    From trained weights: from random ones half the seeds end in a net that is constant.
    """
    train, net = data.load("digits", "train"), zoo.pretrained("lenet", "digits").requires_grad_(True)
    shuffle, descent = start(), torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(2):
        for rows in torch.randperm(len(train), generator=shuffle).split(64):
            x, y = train.images[rows], train.labels[rows]
            descent.zero_grad()
            F.cross_entropy(net(pgd(net, x, y, eps=0.1, steps=3, generator=shuffle)), y).backward()
            descent.step()
    return net


def test_an_honestly_hardened_net_passes(hardened, lenet, check, some):
    report = check(hardened, other=lenet)
    assert report.passed, str(report)
    attack = partial(pgd, eps=0.1, steps=10, loss="margin", random_start=False)
    kept = [robust_accuracy(model, *some, attack).value for model in (hardened, lenet)]
    assert kept[0] > kept[1] + 0.2, "it is no more robust than a plain net: this test shows nothing"


@pytest.mark.parametrize("wrap",
                         [lambda net: BPDA(net,
                                           compress), lambda net: EOT(net, lambda x, g: x
                                                                      + 0.1 * torch.randn(x.shape[1:], generator=g),
                                                                      4)], ids=["bpda", "eot"])
def test_a_defence_in_its_adaptive_wrapper_passes(wrap, lenet, some):
    report = audit.audit(wrap(lenet), some[0][:20], some[1][:20], eps=0.1, steps=10)
    assert report.passed, str(report)


# --- audit: what it must flag -------------------------------------------------------

SATURATED = {"cross-entropy gradient alone is 0", "margin beats cross-entropy", "smaller logits beat the net's"}


def test_logits_times_100_are_flagged(lenet, check):
    """PEERS 6."""
    report = check(Then(lenet, after=lambda z: 100 * z))
    assert failed(report) == SATURATED and "attack the margin" in report.verdict
    assert report.success["margin"].value > report.success["cross-entropy"].value + 0.3


@pytest.fixture(scope="module")
def repu():
    """A small net in the manner of belaustegui2022: 784-200-10, relu(.)^4.5, huge logits, random first layer."""
    train = data.load("digits", "train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = nn.Linear(784, 200, bias=False), nn.Linear(200, 10, bias=False)
        nn.init.normal_(first.weight)
        net = nn.Sequential(layers.Normalize(*models.MNIST_PIXELS), nn.Flatten(), first,
                            Then(second, lambda a: a.relu() ** 4.5, lambda z: 0.01 * z))
        descent = torch.optim.Adam(second.parameters(), lr=1e-3)
        for _ in range(15):
            for rows in torch.randperm(len(train)).split(64):
                descent.zero_grad()
                F.cross_entropy(net(train.images[rows]), train.labels[rows]).backward()
                descent.step()
    return net.eval()


def test_a_repu_net_without_rescaling_is_flagged_and_with_it_passes(repu, check, some):
    report = check(repu)
    assert report.findings[0].share.n > 35, "the net has not learnt"
    assert failed(report) == SATURATED, str(report)
    scale = audit.median_margin(repu, *some)
    assert scale > 1000
    rescaled = check(Then(repu, after=lambda z: z / scale))
    assert "cross-entropy gradient alone is 0" not in failed(rescaled), str(rescaled)


@pytest.mark.parametrize("before", [compress, lambda x: (x * 7).round() / 7], ids=["jpeg", "rounding"])
def test_a_defence_without_derivative_is_flagged(before, lenet, fully_connected, check):
    """JPEG cuts the graph, rounding has the derivative 0: the audit survives both, says BPDA, and does not blame the
    softmax.
    """
    report = check(Then(lenet, before), other=fully_connected)
    assert {"margin gradient is 0", "noise beats PGD", "transfer beats white box"} <= failed(report), str(report)
    assert "BPDA(model, forward, backward)" in report.verdict and "\n- " in report.verdict
    assert not failed(report) & SATURATED and "softmax" not in report.verdict
    # Every walk is random here, and all are the same: no loss beats another.
    blind = [report.success[name] for name in ("cross-entropy", "margin", "smaller logits")]
    assert blind[0] == blind[1] == blind[2]


def test_a_random_defence_is_flagged(lenet, check):
    generator = start()
    report = check(Then(lenet, lambda x: x + 0.2 * torch.randn(x.shape, generator=generator)), eps=0.1)
    assert "two forward passes differ" in failed(report) and "EOT(model, transform, samples)" in report.verdict


class Backwards(torch.autograd.Function):
    """The identity, whose gradient is that of its negative: alive, but it leads away from the boundary."""

    @staticmethod
    def forward(context, x):
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient):
        return -gradient


def test_a_gradient_that_points_the_wrong_way_is_flagged(lenet, check):
    """It is not 0, and both losses agree: only other ways into the ball tell that it lies."""
    report = check(Then(lenet, Backwards.apply), other=lenet, eps=0.3)
    assert failed(report) == {"noise beats PGD", "transfer beats white box", "unbounded attack fails"}, str(report)


def test_a_gradient_that_is_honest_at_the_clean_images_only_is_flagged(lenet, check, some):
    """What training on a single step may end in: one step arrives, many get lost."""
    def trap(x):
        clean = (x[:, None] == some[0]).flatten(2).all(2).any(1)
        return torch.where(clean[:, None, None, None], x, Backwards.apply(x))

    report = check(Then(lenet, trap), eps=0.2)
    assert "one step beats many" in failed(report), str(report)


# --- audit: how it judges -------------------------------------------------------------

def test_zero_gradient_is_judged_in_every_pixel_not_in_the_sum():
    """The source's mistake: the weights of this net sum to 0, its gradient is far from it, though 0 in the third
    pixel.
    """
    class Difference(nn.Module):
        def forward(self, x):
            rise = x[:, 0, 0, 0] - x[:, 0, 0, 1]
            return torch.stack([rise, -rise], 1)

    x, y = torch.rand(4, 1, 1, 3), torch.tensor([0, 1, 0, 1])
    assert not audit.zero_gradient(Difference(), x, y, "ce").any()
    assert not audit.zero_gradient(Difference(), x, y, "margin").any()
    half = Then(Difference(), lambda x: torch.where(torch.arange(4)[:, None, None, None] < 2, x, x.detach()))
    assert audit.zero_gradient(half, x, y, "margin").tolist() == [False, False, True, True]


@pytest.mark.parametrize("values, size", [((7.0, 3.0, -1.0), 4.0), ((5.0, 5.0), 1.0), ((torch.inf, 0.0), 1.0)])
def test_the_median_margin_is_a_positive_number(values, size):
    """Logits are divided by it."""
    assert audit.median_margin(Constant(*values), torch.rand(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64)) == size


@pytest.mark.parametrize("drift, differs", [(0.02, True), (1e-5, False)])
def test_a_second_look_is_judged_by_the_spread_of_the_logits(drift, differs):
    """Which is 1 here: neither a constant added to the logits nor rounding must decide."""
    looks = iter([0.0, drift])
    model = lambda x: torch.tensor([[1000.0 + next(looks), 1001.0]], dtype=torch.float64).expand(len(x), 2)
    assert audit.randomised(model, torch.rand(3, 1, 2, 2)).tolist() == 3 * [differs]


def test_transfer_walks_on_after_its_own_net_has_fallen(lenet, fully_connected, some):
    """An image that has only just fooled one net seldom fools another."""
    x, y = some
    success, _ = audit.examine(lenet, x, y, 0.2, fully_connected, 10, seed=0)
    stops = pgd(fully_connected, x, y, eps=0.2, steps=10, loss="margin", first_success=True, generator=start())
    assert success["transfer"].sum() > 1.5 * (logits(lenet, stops).argmax(1) != y).sum() > 0


def test_what_either_loss_finds_is_found_by_the_white_box(lenet, fully_connected, some):
    """Cross-entropy is blind here, the margin is not: transfer and noise beat the one, but not both."""
    success, flagged = audit.examine(Then(lenet, after=lambda z: 100 * z), *some, 0.3, fully_connected, 5, seed=0)
    assert success["margin"].all()
    for name, beats in (("transfer", "transfer beats white box"), ("noise", "noise beats PGD")):
        assert (success[name] & ~success["cross-entropy"]).any() and not flagged[beats].any()


def test_median_eps_lets_about_half_of_the_images_fall(lenet, some):
    eps = audit.median_eps(lenet, *some)
    shares = [1 - robust_accuracy(lenet, *some, partial(pgd, eps=e, steps=10, loss="margin", random_start=False)).value
              for e in (eps / 2 ** 0.5, eps)]
    assert shares[0] < 0.5 <= shares[1]


def test_few_images_need_a_larger_share_to_fail(lenet, check, some):
    """One odd image of 12 is chance, all 12 are not."""
    odd = lambda z: torch.cat([1000 * z[:1], z[1:]]) if len(z) == 12 else z
    report = audit.audit(Then(lenet, after=odd), some[0][:12], some[1][:12], eps=0.1, steps=5)
    zero = next(f for f in report.findings if f.name == "cross-entropy gradient alone is 0")
    assert zero.share.value > 0.05 and zero.share.low <= zero.threshold and zero.passed
    assert not audit.audit(Then(lenet, after=lambda z: 1000 * z), some[0][:12], some[1][:12], eps=0.1, steps=5).passed


def test_an_audit_prints_its_findings_and_says_what_to_do():
    good = Finding("first", rate(torch.arange(50) < 1), 0.05, True, "unused")
    bad = Finding("second", rate(torch.arange(50) < 40), 0.05, False, "Do this instead.")
    report = Audit((good, bad), {"margin": bad.share}, 0.1)
    lines = str(report).splitlines()
    assert (not report.passed and "misleads at least one attack" in report.verdict
            and "Do this instead." in report.verdict and "unused" not in report.verdict)
    assert lines[1].split()[:3] == ["ok", "first", "2.0%"] and lines[2].split()[:3] == ["FLAG", "second", "80.0%"]
    assert lines[1].endswith("2.0% (95 %: 0.4% to 10.5%, n = 50)")
    assert "FLAG: all of it above 5%" in lines[0] and "success at eps = 0.1: margin 80%" in lines[3]
    clean = Audit((good,), {}, 0.1)
    assert (clean.passed and "No sign of a masked gradient" in clean.verdict
            and "no proof of robustness" in clean.verdict)


def test_every_diagnostic_has_its_advice(lenet, fully_connected, some):
    success, flagged = audit.examine(lenet, some[0][:4], some[1][:4], 0.1, fully_connected, 2, 0)
    assert flagged.keys() == audit.ADVICE.keys()
    assert all(m.shape == (4,) and m.dtype == torch.bool for m in (success | flagged).values())


def test_an_audit_is_repeatable_silent_and_leaves_everything_as_it_was(net, batch, recwarn):
    """PEERS 10, 11."""
    x = batch[0]
    y = logits(net, x).argmax(1)
    net[2].eval()
    modes, state = [m.training for m in net.modules()], torch.get_rng_state()
    first, again = (audit.audit(net, x, y, eps=0.1, steps=3) for _ in range(2))
    assert first == again and torch.equal(state, torch.get_rng_state())
    assert [m.training for m in net.modules()] == modes and all(p.requires_grad and p.grad is None
                                                                for p in net.parameters())
    audit.audit(Then(net, torch.round), x, logits(net, x.round()).argmax(1), eps=0.1, steps=2)
    assert not [w for w in recwarn if issubclass(w.category, geometry.ZeroGradientWarning)]


def test_an_audit_looks_at_the_images_that_are_classified_right(net, batch):
    x, y = batch[0], logits(net, batch[0]).argmax(1)
    y[[1, 6]] = (y[[1, 6]] + 1) % 5
    right = torch.tensor([0, 2, 3, 4, 5, 7])
    assert audit.audit(net, x, y, eps=0.1, steps=2) == audit.audit(net, x[right], y[right], eps=0.1, steps=2)


def test_an_audit_costs_its_attacks(lenet, fully_connected, some, work):
    """At most 4 PGD walks, FGSM, 2 x steps of noise and a few looks; transfer walks on the other net."""
    n, steps = 50, 10
    with work(lenet) as done, work(fully_connected) as lent:
        audit.audit(lenet, *some, eps=0.05, steps=steps, other=fully_connected)
    assert done.backward <= n * (4 * steps + 3) and done.forward <= n * (6 * steps + 16)
    assert lent.backward <= n * steps


@pytest.mark.parametrize("change, error, message", [
    (dict(tolerance=-0.1), ValueError, "tolerance = -0.1"),
    (dict(tolerance=5), ValueError, "tolerance = 5; give a share of the images below 1"),
    (dict(eps=-0.1), ValueError, "eps = -0.1"),
    (dict(eps=torch.ones(8)), TypeError, "give a number"),
    (dict(steps=0), ValueError, "steps = 0"),
    (dict(y=torch.zeros(3, dtype=torch.int64)), ValueError, r"y has shape \(3,\) for 8 images"),
    (dict(x=torch.zeros(8, 2, 6, 6, dtype=torch.uint8)), TypeError, "x is torch.uint8"),
    (dict(x=torch.zeros(0, 2, 6, 6), y=torch.zeros(0, dtype=torch.int64)), ValueError, "x is empty"),
])
def test_an_audit_refuses_what_no_attack_takes(change, error, message, net, batch):
    y = logits(net, batch[0]).argmax(1)
    with pytest.raises(error, match=message):
        audit.audit(net, **(dict(x=batch[0], y=y, eps=0.1) | change))


def test_an_audit_needs_an_image_that_is_classified_right(net, batch):
    wrong = (logits(net, batch[0]).argmax(1) + 1) % 5
    with pytest.raises(ValueError, match="none of the 8 images right"):
        audit.audit(net, batch[0], wrong)
