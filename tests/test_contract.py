"""The contract that every attack keeps, whoever wrote it: one suite over all that attacks/__init__ exports.

Budgets are small: what the attacks find is tested in their own files.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from advlens import attacks
from advlens.attacks import BPDA, EOT
from advlens.evaluation import evaluate, logits
from advlens.geometry import ZeroGradientWarning
from advlens.inputs import ProbabilitiesWarning
from nets import After, Constant

CLASSES = 5
start = lambda: torch.Generator().manual_seed(0)



def seeded(attack, **settings):
    """With a generator of its own at each call, so that a call can be repeated."""
    return lambda *a, **k: attack(*a, generator=start(), **settings, **k)


# An attack, or "attack-variant".
FIXED_BUDGET = {
    "fgsm": partial(attacks.fgsm, eps=0.2),
    "fgm": partial(attacks.fgm, eps=1.0),
    "bim": partial(attacks.bim, eps=0.2, steps=4),
    "pgd": seeded(attacks.pgd, eps=0.2, steps=4),
    "pgd-l2": seeded(attacks.pgd, eps=1.0, steps=3, norm="l2", restarts=2),
    "apgd": seeded(attacks.apgd, eps=0.2, steps=6),
    "apgd-l2": seeded(attacks.apgd, eps=1.0, steps=6, norm="l2", loss="dlr", restarts=2),
    "noise": seeded(attacks.noise, eps=0.2),
    "noise-l2": seeded(attacks.noise, eps=1.0, norm="l2", kind="uniform"),
    "square": seeded(attacks.square, eps=0.2, queries=20),
    "square-l2": seeded(attacks.square, eps=1.0, norm="l2", queries=20),
    "pgd-momentum": partial(attacks.pgd, eps=0.2, steps=4, random_start=False, momentum=1.0),
    "pgd-first": partial(attacks.pgd, eps=0.1, steps=4, random_start=False, first_success=True, loss="margin"),
}
MINIMUM_NORM = {
    "carlini_wagner": partial(attacks.carlini_wagner, steps=20, searches=3),
    "ddn": partial(attacks.ddn, steps=20),
    "deepfool": partial(attacks.deepfool, steps=20),
    "fmn": partial(attacks.fmn, steps=20),
    "fmn-l2": partial(attacks.fmn, steps=20, norm="l2"),
    "hop_skip_jump": seeded(attacks.hop_skip_jump, queries=500),
    "hop_skip_jump-linf": seeded(attacks.hop_skip_jump, norm="linf", queries=500),
    "lbfgs": partial(attacks.lbfgs, steps=10, searches=4),
    "one_pixel": seeded(attacks.one_pixel, pixels=3, population=20, generations=5),
    "one_pixel_exhaustive":
    partial(attacks.one_pixel_exhaustive, values=torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])),
}
next_class = lambda y: (y + 1) % CLASSES
# has no untargeted form; 3 steps
JSMA = {"jsma": lambda model, x, y: attacks.jsma(model, x, y, target=next_class(y), gamma=0.1)}
ALL = FIXED_BUDGET | MINIMUM_NORM | JSMA
WRAPPERS = {"BPDA", "EOT", "mask_image"}  # no attacks on images: tests/test_adaptive.py, tests/test_universal.py
JUDGE = {"strongest", "felled_by"}  # made of attacks that are held to it here, and dear: tests/test_strongest.py
GRADIENT_FREE = {"one_pixel", "one_pixel_exhaustive", "noise", "noise-l2", "square", "square-l2", "hop_skip_jump",
                 "hop_skip_jump-linf"}
UNTARGETED_ONLY = {"deepfool"}
NEAREST = ["carlini_wagner", "ddn", "deepfool", "fmn", "fmn-l2", "lbfgs"]
# They only choose: the same choices give the same numbers.
DISCRETE = {"one_pixel", "one_pixel_exhaustive", "noise", "square", "jsma"}
SCALE_FREE = ["noise", "square", "square-l2", "hop_skip_jump", "carlini_wagner", "ddn", "deepfool", "fmn", "fmn-l2",
              "one_pixel", "one_pixel_exhaustive", "jsma", "pgd-first"]


def towards_the_next_class(attack):
    return lambda model, x, y: attack(model, x, next_class(y), targeted=True)


# To the class after the label.
TARGETED = {f"{name}_targeted": towards_the_next_class(attack)
            for name, attack in MINIMUM_NORM.items() if name not in UNTARGETED_ONLY} | JSMA
EVERY_WAY = ALL | TARGETED


def over(names):
    return pytest.mark.parametrize("name", list(names))


@pytest.fixture
def case(net, batch):
    """In double precision, so that rounding decides nothing; all images but the last are classified right."""
    net, x = net.double(), batch[0].double()
    y = logits(net, x).argmax(1)
    y[-1] = (y[-1] + 1) % CLASSES
    return net, x, y


def same(name, a, b, tolerance=1e-7):
    torch.testing.assert_close(a, b, rtol=0, atol=0 if name.removesuffix("_targeted") in DISCRETE else tolerance)


def test_every_export_is_held_to_the_contract():
    assert set(attacks.__all__) - WRAPPERS - JUDGE == {name.split("-")[0] for name in ALL}


# --- what comes back -----------------------------------------------------------------

@over(ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_come_back_as_images(name, dtype, net, batch):
    """Box, shape, type and device; no graph, no memory shared with x; x and the global generator untouched."""
    net, x = net.to(dtype), batch[0].to(dtype)
    x[3:5] = x[3:5].round()  # PEERS 2: nothing but 0 and 1
    y = logits(net, x).argmax(1)
    before, state = x.clone(), torch.get_rng_state()
    adversarial = ALL[name](net, x, y)
    assert adversarial.shape == x.shape and adversarial.dtype == dtype and adversarial.device == x.device
    assert torch.isfinite(adversarial).all() and 0 <= adversarial.min() and adversarial.max() <= 1
    assert not adversarial.requires_grad and adversarial.data_ptr() != x.data_ptr()
    assert (adversarial != x).flatten(1).any(1).sum() >= 2, "the attack did not move: the other tests show nothing"
    assert torch.equal(x, before) and torch.equal(torch.get_rng_state(), state)


def judged(name, model, x, adversarial, y):
    """Which images do what the attack was asked for, (N,)."""
    if name in TARGETED:
        return evaluate(model, x, adversarial, next_class(y), targeted=True).success
    return evaluate(model, x, adversarial, y).success


@over(MINIMUM_NORM | TARGETED)
def test_an_image_comes_back_fooled_or_clean(name, case):
    """PEERS 4: a failure is the clean image, not the last try."""
    net, x, y = case
    adversarial = EVERY_WAY[name](net, x, y)
    success = judged(name, net, x, adversarial, y)
    assert success.any() and (success | (adversarial == x).flatten(1).all(1)).all()


@over(MINIMUM_NORM | TARGETED)
def test_where_nothing_can_be_found_the_clean_image_comes_back(name, case):
    """PEERS 4: class 0 always wins and class 1 never does, whatever the image."""
    net, x, _ = case
    decided = After(net, lambda z: torch.cat([z.abs().sum(1, keepdim=True) * torch.tensor([1, -1])
                                              + torch.tensor([1, -1]), z], 1))
    assert torch.equal(EVERY_WAY[name](decided, x, torch.zeros(8, dtype=torch.int64)), x)


@over(MINIMUM_NORM | TARGETED)
@pytest.mark.parametrize("every", [1, 2])
def test_what_already_succeeds_comes_back_unchanged(name, every, case):
    """All of the batch, or every other image of it."""
    net, x, _ = case
    done, y = torch.arange(8) % every == 0, logits(net, x).argmax(1)
    y = torch.where(done, y - 1 if name in TARGETED else y + 1, y) % CLASSES
    adversarial = EVERY_WAY[name](net, x, y)
    assert torch.equal(adversarial[done], x[done]) and adversarial.data_ptr() != x.data_ptr()


@over(NEAREST)
def test_black_and_white_images_are_no_dead_end(name, case):
    """PEERS 2: with tanh and pixels of exactly 0 and 1 nothing would move."""
    net, x, _ = case
    x = torch.stack([torch.zeros_like(x[0]), torch.ones_like(x[0]), *x[2:].round()])
    y = logits(net, x).argmax(1)
    assert evaluate(net, x, ALL[name](net, x, y), y).success.all()


@over(NEAREST)
def test_an_image_on_the_boundary_needs_next_to_nothing(name):
    """All logits are equal, so the distance to the linearised boundary is 0: still every walk has to begin."""
    x, y = torch.full((2, 1, 2, 2), 0.5), torch.zeros(2, dtype=torch.int64)
    found = evaluate(nn.Flatten(), x, ALL[name](nn.Flatten(), x, y), y)
    assert found.success.all() and (found.l2 < 1e-3).all()


@over(["carlini_wagner", "lbfgs"])
def test_a_further_search_only_shortens(name, case):
    """The best so far of all searches comes back, not the last."""
    net, x, y = case
    size = [evaluate(net, x, ALL[name](net, x, y, searches=n), y).l2[:-1] for n in range(1, 9)]
    found = [torch.where(length > 0, length, torch.inf) for length in size]
    assert all((b <= a).all() for a, b in zip(found, found[1:])) and torch.isfinite(found[-1]).all()
    assert (found[-1] < found[0]).any()


# --- per sample ------------------------------------------------------------------------

@over(EVERY_WAY)
def test_neighbours_change_nothing(name, case):
    """PEERS 3, 14: a permuted batch gives permuted results, and a batch of 1 the row of a batch of 8."""
    net, x, y = case
    together = EVERY_WAY[name](net, x, y)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    same(name, EVERY_WAY[name](net, x[order], y[order]), together[order])
    for i in range(8):
        same(name, EVERY_WAY[name](net, x[i:i + 1], y[i:i + 1]), together[i:i + 1])


@over(ALL)
def test_an_attack_is_repeatable_and_judges_the_net_at_rest(name, case):
    """PEERS 11: dropout in training mode would change the second run."""
    net, x, y = case
    first = ALL[name](net.train(), x, y)
    assert torch.equal(ALL[name](net.eval(), x, y), first)


@over(ALL)
def test_an_attack_works_inside_no_grad_and_on_images_that_want_a_gradient(name, case):
    net, x, y = case
    expected = ALL[name](net, x, y)
    with torch.no_grad():
        assert torch.equal(ALL[name](net, x, y), expected)
    wanting = x.clone().requires_grad_()
    result = ALL[name](net, wanting, y)
    assert torch.equal(result, expected) and not result.requires_grad and wanting.grad is None


@over(EVERY_WAY)
def test_a_constant_added_to_the_logits_changes_nothing(name, case):
    """PEERS 1."""
    net, x, y = case
    plain = EVERY_WAY[name](net, x, y)
    for c in (-100.0, 100.0):
        same(name, EVERY_WAY[name](After(net, lambda z: z + c), x, y), plain, 1e-6)


@over(SCALE_FREE)
@pytest.mark.parametrize("factor", [0.01, 100, 1024])
def test_the_scale_of_the_logits_changes_nothing(name, factor, case):
    """PEERS 6: a loss of probabilities would be flat where the net is sure."""
    net, x, y = case
    same(name, ALL[name](After(net, lambda z: factor * z), x, y), ALL[name](net, x, y), 1e-6)


# --- the model -------------------------------------------------------------------------

def state_of(net):
    return ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()],
            [p.grad for p in net.parameters()],
            [v.tolist() for v in net.state_dict().values()])


@over(ALL)
def test_the_model_is_left_as_it_was(name, net, batch):
    """PEERS 10, 11: the mode of every submodule, frozen weights, no parameter gradients, running statistics."""
    net[2].eval()
    net[6].weight.requires_grad_(False)
    before = state_of(net)
    ALL[name](net, *batch)
    assert state_of(net) == before


@over(ALL)
def test_the_model_is_left_as_it_was_after_an_exception(name, net, batch):
    net[2].eval()
    net[6].weight.requires_grad_(False)
    before, looks = state_of(net), []

    def breaks(z):
        looks.append(1)
        if len(looks) == 2 or name in ("fgsm", "fgm"):
            raise KeyError("broken in the middle of an attack")
        return z

    y = logits(net, batch[0]).argmax(1)
    with pytest.raises(KeyError):
        ALL[name](After(net, breaks), batch[0], y)
    assert state_of(net) == before


@over(ALL)
def test_parameters_want_no_gradient_while_the_attack_runs(name, net, batch):
    """PEERS 10: weight gradients cost about a quarter more; who uses no gradient builds no graph at all."""
    wanted, graphs, y = [], [], logits(net, batch[0]).argmax(1)
    net.register_forward_pre_hook(lambda module, inputs: wanted.extend(p.requires_grad or module.training
                                                                       for p in module.parameters()))
    net.register_forward_hook(lambda module, inputs, output: graphs.append(output.requires_grad))
    ALL[name](net, batch[0], y)
    assert wanted and not any(wanted) and any(graphs) == (name not in GRADIENT_FREE)


@over(sorted(set(ALL) - GRADIENT_FREE))
def test_a_model_that_cuts_the_gradient_off_is_named(name, net, batch):
    class Cut(nn.Module):
        def forward(self, x):
            return net(torch.round(x.detach() * 255) / 255)

    with pytest.raises(ValueError, match="BPDA"):
        ALL[name](Cut(), batch[0], logits(net, batch[0]).argmax(1))


@over(sorted(set(ALL) - GRADIENT_FREE))
@pytest.mark.parametrize("look", [1, 2])
def test_a_gradient_that_is_not_finite_is_an_error(name, look, net, batch):
    """On the clean images, and on the way."""
    if look > 1 and name in ("fgsm", "fgm"):
        pytest.skip("one look is all it takes")
    y, looks = logits(net, batch[0]).argmax(1), []

    def overflows(z):
        looks.append(1)
        return z + (z - z.detach()).sqrt() if len(looks) >= look else z  # 0 forward, infinite slope

    with pytest.raises(ValueError, match="the input gradient is not finite"):
        ALL[name](After(net, overflows), batch[0], y)


@over(ALL)
@pytest.mark.parametrize("values", [(1, 0.75, 0.5, 0.25, 0), (0.0,) * 5], ids=["sure", "all equal"])
def test_a_zero_gradient_gives_finite_images_and_a_warning(name, values, batch, recwarn):
    """PEERS 9."""
    x = batch[0]
    adversarial = ALL[name](Constant(*values), x, torch.zeros(len(x), dtype=torch.int64))
    assert torch.isfinite(adversarial).all() and 0 <= adversarial.min() and adversarial.max() <= 1
    if name not in FIXED_BUDGET:
        assert torch.equal(adversarial, x)
    warned = [str(w.message) for w in recwarn if issubclass(w.category, ZeroGradientWarning)]
    assert bool(warned) == (name not in GRADIENT_FREE)
    assert all("8 of 8 images" in message and "masked gradient" in message for message in warned)


@over(ALL)
@pytest.mark.parametrize("wrap", [
    lambda net: BPDA(net, lambda x: (x * 15).round() / 15),
    lambda net: EOT(net, lambda x, g: x + 0.05 * torch.randn(x.shape[1:], generator=g).to(x), 3),
], ids=["bpda", "eot"])
def test_adaptive_wrappers_are_models(name, wrap, case):
    """What holds for a model holds for a wrapped one: box, neighbours, repeatable, success as judged again."""
    net, x, _ = case
    model = wrap(net)
    y = logits(model, x).argmax(1)
    adversarial = ALL[name](model, x, y)
    assert 0 <= adversarial.min() and adversarial.max() <= 1 and (adversarial != x).any()
    same(name, ALL[name](model, x[2:3], y[2:3]), adversarial[2:3])
    assert torch.equal(ALL[name](model, x, y), adversarial)
    if name in MINIMUM_NORM:
        assert (evaluate(model, x, adversarial, y).success | (adversarial == x).flatten(1).all(1)).all()


class Half(nn.Module):
    """Computes, and answers, in half precision, but for the images that it is given."""

    def __init__(self, net, dtype):
        super().__init__()
        self.net, self.dtype = net, dtype

    def forward(self, x):
        with torch.autocast("cpu", dtype=self.dtype):
            return self.net(x).to(self.dtype)


@over(EVERY_WAY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inside_the_model_is_the_models_affair(name, dtype, net, batch):
    """Images come back in their own precision, and what is fooled or not is decided there."""
    model, x = Half(net, dtype), batch[0]
    y = logits(model, x).argmax(1)
    adversarial = EVERY_WAY[name](model, x, y)
    assert adversarial.dtype == x.dtype and 0 <= adversarial.min() and adversarial.max() <= 1
    success = judged(name, model, x, adversarial, y)
    assert success.any()
    assert name in FIXED_BUDGET or (success | (adversarial == x).flatten(1).all(1)).all()


@over(EVERY_WAY)
def test_half_precision_around_the_attack(name, net, batch):
    """A user's own torch.autocast: the model may do as it likes, the attack stays in the images' precision."""
    x, y = batch[0], logits(net, batch[0]).argmax(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        adversarial = EVERY_WAY[name](net, x, y)
        success = judged(name, net, x, adversarial, y)
    assert adversarial.dtype == x.dtype and 0 <= adversarial.min() and adversarial.max() <= 1
    assert success.any()


class Contrast(nn.Module):
    """Stretches the images before it looks at them, in place or not."""

    def __init__(self, net, in_place):
        super().__init__()
        self.net, self.in_place = net, in_place

    def forward(self, x):
        return self.net(x.mul_(2).sub_(0.5) if self.in_place else x * 2 - 0.5)


@over(EVERY_WAY)
def test_a_model_that_works_in_place_gets_a_copy(name, case):
    """Neither the caller's images nor those of the attack change."""
    net, x, _ = case
    before, plain = x.clone(), Contrast(net, False)
    y = logits(plain, x).argmax(1)
    expected = EVERY_WAY[name](plain, x, y)
    assert torch.equal(EVERY_WAY[name](Contrast(net, True), x, y), expected) and (expected != x).any()
    assert torch.equal(x, before)


# --- input outside the contract ------------------------------------------------------------

@over(ALL)
def test_probabilities_are_noticed(name, case):
    """PEERS 13."""
    net, x, y = case
    with pytest.warns(ProbabilitiesWarning, match="remove the softmax"):
        ALL[name](After(net, lambda z: z.softmax(1)), x, y)


WRONG = {
    "integer images": (dict(x=torch.zeros(8, 2, 6, 6, dtype=torch.uint8)), TypeError, "x is torch.uint8"),
    "no tensor": (dict(x=[[0.5]]), TypeError, "x is a list"),
    "one image": (dict(x=torch.zeros(2, 6, 6)), ValueError, r"x has shape \(2, 6, 6\)"),
    "empty batch": (dict(x=torch.zeros(0, 2, 6, 6), y=torch.zeros(0, dtype=torch.int64)), ValueError, "x is empty"),
    "NaN": (dict(x=torch.full((8, 2, 6, 6), torch.nan)), ValueError, "x holds NaN"),
    "infinite": (dict(x=torch.full((8, 2, 6, 6), torch.inf)), ValueError, "x lies in"),
    "bytes as floats": (dict(x=torch.full((8, 2, 6, 6), 255.0)), ValueError, r"x lies in \[255, 255\]"),
    "negative pixels": (dict(x=torch.full((8, 2, 6, 6), -0.5)), ValueError, r"pixels belong in \[0, 1\]"),
    "one label": (dict(y=torch.zeros(1, dtype=torch.int64)), ValueError, r"y has shape \(1,\) for 8 images"),
    "one-hot labels": (dict(y=torch.zeros(8, 5, dtype=torch.int64)), ValueError, r"y has shape \(8, 5\)"),
    "float labels": (dict(y=torch.zeros(8)), TypeError, "y is torch.float32"),
    "negative label": (dict(y=torch.full((8,), -1)), ValueError, "y holds -1"),
    "unknown class": (dict(y=torch.full((8,), 5)), ValueError, "5.*the model has 5 classes"),
}


@over(ALL)
@pytest.mark.parametrize("change, error, message", WRONG.values(), ids=WRONG.keys())
def test_wrong_input_gets_one_clear_error(name, change, error, message, net, batch):
    given = dict(x=batch[0], y=batch[1]) | change
    before = state_of(net)
    with pytest.raises(error, match=message):
        ALL[name](net, given["x"], given["y"])
    assert state_of(net) == before


@over(sorted(set(FIXED_BUDGET | MINIMUM_NORM) - UNTARGETED_ONLY))
@pytest.mark.parametrize("target, message", [(-1, "y holds -1"), (5, "y holds 5, but the model has 5 classes")])
def test_a_target_that_is_no_class_is_named(name, target, message, net, batch):
    with pytest.raises(ValueError, match=message):
        ALL[name](net, batch[0], torch.full((8,), target), targeted=True)


@over(ALL)
@pytest.mark.parametrize("function, message", [
    (lambda z: z[:, 0], r"the model returns shape \(8,\) for 8 images"),
    (lambda z: z[:, :, None], r"the model returns shape \(8, 5, 1\) for 8 images"),
    (lambda z: z * torch.nan, "the model returns NaN or infinite values"),
    (lambda z: z.index_fill(1, torch.tensor(4), torch.inf), "the model returns NaN or infinite values"),
], ids=["no classes", "a map", "NaN", "infinite"])
def test_a_model_outside_the_contract_gets_one_clear_error(name, function, message, net, batch):
    with pytest.raises(ValueError, match=message):
        ALL[name](After(net, function), *batch)


@over(name for name in ALL if name not in GRADIENT_FREE)
def test_inference_mode_is_named(name, net, batch):
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"torch.inference_mode\(\) is on"):
        ALL[name](net, *batch)
