"""The strongest attack: never weaker than its parts, not fooled by masked gradients, and only on what still stands."""

from __future__ import annotations

import copy
import importlib
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlens import geometry
from advlens.attacks import ddn, fmn, pgd, square
from advlens.attacks.apgd import apgd
from advlens.attacks.strongest import STAGES, felled_by, strongest
from advlens.evaluation import evaluate, logits, passes
from nets import After

seeded = lambda seed=0: torch.Generator().manual_seed(seed)
standing = lambda model, x, images, y: (~evaluate(model, x, images, y).success).sum().item()


class Seen(nn.Module):
    """A net and what it is shown instead of the images."""

    def __init__(self, net, lens):
        super().__init__()
        self.net, self.lens = net, lens

    def forward(self, x):
        return self.net(self.lens(x))


def codec(x):
    """Through integers of 8 bits: the gradient ends here."""
    return (x * 255).round().to(torch.uint8).to(x.dtype) / 255


@pytest.fixture
def case(net, batch):
    net, x = net.double().eval(), batch[0].double()
    return net, x, logits(net, x).argmax(1)


@pytest.fixture
def small(digits):
    """A net for the 8x8 digits that learns in a second, 60 of them that it has not seen, and how to train it."""
    x, y = digits.images[:, :, 2:-2:3, 2:-2:3].contiguous(), digits.labels  # (N, 1, 8, 8)

    def trained(temperature=1.0):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(150):
            optimizer.zero_grad()
            F.cross_entropy(net(x[60:]) / temperature, y[60:]).backward()
            optimizer.step()
        return net

    return trained, x[:60], y[:60]


@pytest.fixture
def short(monkeypatch):
    """The same stages with a tenth of the steps: for what does not hang on how strong they are."""
    module = importlib.import_module("advlens.attacks.strongest")
    for effort, stages in STAGES.items():
        monkeypatch.setitem(module.STAGES, effort, tuple(stage._replace(steps=stage.steps // 10) for stage in stages))
    monkeypatch.setattr(module, "TRIAL", 30)
    monkeypatch.setattr(module, "QUERIES", 300)
    return module


# --- what comes back -------------------------------------------------------------------

@pytest.mark.parametrize("norm, eps", [("linf", 0.03), ("l2", 0.2)])
def test_by_names_the_part_and_none_is_what_stands(norm, eps, case, short):
    net, x, y = case
    y[-1] = (y[-1] + 1) % 5
    found = felled_by(net, x, y, eps=eps, norm=norm, generator=seeded())
    assert torch.equal(strongest(net, x, y, eps=eps, norm=norm, generator=seeded()), found.images)
    judged = evaluate(net, x, found.images, y)
    assert [by is not None for by in found.by] == judged.success.tolist()
    assert found.by[-1] == "clean" and torch.equal(found.images[-1], x[-1])
    assert set(found.by) <= {None, "clean", "square", *(stage.name for stage in STAGES["standard"])}
    assert None in found.by and len(set(found.by)) > 2, "choose another eps: some are to fall and some to stand"
    assert (getattr(judged, norm) <= eps + 1e-9).all()


def test_eps_1_fells_everything_and_eps_0_nothing(case, short):
    net, x, y = case
    assert all(felled_by(net, x, y, eps=1.0, generator=seeded()).by)
    images, by = felled_by(net, x, y, eps=0.0, generator=seeded())
    assert not any(by) and torch.equal(images, x)


def test_what_stands_comes_back_at_its_largest_margin(case, monkeypatch):
    """Whatever the last part comes back with: here the clean image."""
    net, x, y = case
    monkeypatch.setattr(importlib.import_module("advlens.attacks.strongest"), "square", lambda model, x, y, **_: x)
    found = felled_by(net, x, y, eps=0.01, generator=seeded())
    still = torch.tensor([by is None for by in found.by])
    walked = apgd(net, x, y, eps=0.01, loss="margin", steps=20, generator=seeded())
    theirs, ours = (evaluate(net, x, images, y).margin[still] for images in (walked, found.images))
    assert still.any() and (ours > theirs - 1e-3 * theirs.abs()).all()


@pytest.mark.parametrize("norm, eps", [("linf", 0.05), ("l2", 0.3)])
def test_an_image_alone_falls_as_in_a_batch(norm, eps, case, short):
    net, x, y = case
    eps = torch.linspace(0.2, 2, 8, dtype=torch.float64) * eps
    images, by = felled_by(net, x, y, eps=eps, norm=norm, generator=seeded())
    for i in (0, 3, 4, 7):
        alone = felled_by(net, x[[i]], y[[i]], eps=eps[[i]], norm=norm, generator=seeded())
        assert alone.by == by[i:i + 1]
        torch.testing.assert_close(alone.images, images[[i]], rtol=0, atol=1e-6)


# --- never weaker than its parts ---------------------------------------------------------

@pytest.mark.parametrize("norm, eps", [("linf", 0.1), ("l2", 0.6)])
def test_it_is_never_weaker_than_a_part_of_it(norm, eps, small):
    trained, x, y = small
    net = trained()
    left = standing(net, x, strongest(net, x, y, eps=eps, norm=norm, generator=seeded()), y)
    minimum = (ddn if norm == "l2" else fmn)(net, x, y)
    outside = getattr(evaluate(net, x, minimum, y), norm) > eps
    minimum[outside] = x[outside]
    parts = [partial(attack, net, x, y, eps=eps, norm=norm, generator=seeded())
             for attack in (*(partial(apgd, loss=loss) for loss in ("ce", "margin", "dlr")), partial(pgd, restarts=3),
                            partial(square, queries=500))]
    lefts = [standing(net, x, images, y) for images in (minimum, *(part() for part in parts))]
    assert 0 < left <= min(lefts) and left < max(lefts), (left, lefts)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(classes, case, short):
    """The targeted DLR wants four: the margin takes its place."""
    net, x, _ = case
    few = After(net, lambda z: z[:, :classes])
    y = logits(few, x).argmax(1)
    assert all(felled_by(few, x, y, eps=0.5, generator=seeded()).by)
    assert not any(felled_by(few, x, y, eps=1e-6, generator=seeded()).by)  # every stage had its turn


# --- masked gradients --------------------------------------------------------------------

def test_sure_nets_fall_like_others(small, short):
    """PEERS 6: logits x 1,000, and a net trained at temperature 50 and used without (defensive distillation)."""
    trained, x, y = small
    for net in (trained(), trained(temperature=50.0)):
        sure = copy.deepcopy(net)
        sure[-1].weight.data *= 1000
        sure[-1].bias.data *= 1000
        lefts = [standing(net, x, strongest(model, x, y, eps=0.1, generator=seeded()), y) for model in (net, sure)]
        blind = standing(sure, x, pgd(sure, x, y, eps=0.1, loss="naive_ce", generator=seeded()), y)
        assert abs(lefts[1] - lefts[0]) <= 1 and max(lefts) < blind - 10, (lefts, blind)


@pytest.mark.parametrize("lens, message", [
    (lambda x: (x * 16).round() / 16, "exactly 0 for 60 of 60"), (codec, "cuts its logits off")],
    ids=["rounded", "integers"])
def test_a_net_without_a_gradient_falls_to_queries(lens, message, small):
    """Gradients find nothing; the Square attack, in full, comes near what gradients find on the open net."""
    trained, x, y = small
    net = trained()
    masked = Seen(net, lens)
    with pytest.warns(geometry.ZeroGradientWarning, match=message) as caught:
        found = felled_by(masked, x, y, eps=0.2, generator=seeded())
    assert len(caught) == 1
    open_net = standing(net, x, strongest(net, x, y, eps=0.2, generator=seeded()), y)
    assert found.by.count("square") > 30 and found.by.count(None) <= open_net + 6


def test_errors_of_the_model_are_not_hidden(case, short):
    """Only a gradient that is cut off is dealt with."""
    net, x, y = case
    calls = []

    def breaks(z):
        calls.append(1)
        if len(calls) == 5:
            raise ValueError("broken")
        return z

    with pytest.raises(ValueError, match="broken"):
        strongest(After(net, breaks), x, y, eps=1e-4, generator=seeded())


# --- the work ------------------------------------------------------------------------------

def test_each_part_sees_only_what_stands(case, short):
    """Nothing falls at this eps.  What is wrong already: one forward and backward pass; all others: every stage."""
    net, x, y = case
    y[:4] = (y[:4] + 1) % 5
    with passes(net) as work:
        by = felled_by(net, x, y, eps=1e-6, generator=seeded()).by
    assert by == ("clean",) * 4 + (None,) * 4
    walks = [(stage.steps, min(stage.targets, 4) or 1) for stage in short.STAGES["standard"]]  # four other classes
    steps, walked = sum(s * n for s, n in walks), sum(n for _, n in walks)
    # Each walk judges its last point, and felled_by each result; Square asks at x once more.
    assert work.backward == 8 + 4 * steps
    assert work.forward == 8 + 4 * (steps + 2 * walked + short.TRIAL + 2)


def test_queries_go_on_in_full_where_they_beat_the_gradients(case, short):
    """Without a gradient every image; with one only where effort says so."""
    net, x, y = case
    counted = {}
    for name, model, effort in (("cut", Seen(net, codec), "standard"), ("thorough", net, "thorough")):
        with passes(model) as work, warnings.catch_warnings():
            warnings.simplefilter("ignore", geometry.ZeroGradientWarning)
            felled_by(model, x, y, eps=0.006, effort=effort, generator=seeded())
        counted[name] = work.forward / 8
    assert counted["cut"] == 1 + (short.TRIAL + 2) + (short.QUERIES + 2)
    assert counted["thorough"] > short.QUERIES


@pytest.mark.parametrize("wrong, message", [
    ({"effort": "extreme"}, "unknown effort 'extreme'; known: standard, thorough"),
    ({"norm": "l1"}, "unknown norm"), ({"eps": -1.0}, "eps")])
def test_a_wrong_argument_is_named(wrong, message, case):
    with pytest.raises(ValueError, match=message):
        strongest(*case, **{"eps": 0.1} | wrong)
