"""The one-pixel attacks: against loops over every candidate, and the least work.  Their contract: test_contract.py.

"PEERS n" names a mistake of other libraries that the test would catch here.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import product

import pytest
import torch
from torch import nn

from advlens.attacks import one_pixel, one_pixel_exhaustive
from advlens.attacks.one_pixel import _first_population, _paint
from advlens.evaluation import evaluate

seeded = lambda seed=0: torch.Generator().manual_seed(seed)


def evolve(*a, population=20, generations=4, seed=0, **k):
    """A short evolution with a generator of its own, so that a call can be repeated."""
    return one_pixel(*a, population=population, generations=generations, generator=seeded(seed), **k)


ATTACKS = {"evolution": evolve, "three pixels": partial(evolve, pixels=3), "exhaustive": one_pixel_exhaustive}
both = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())


# --- oracles -------------------------------------------------------------------------


def loop(model, image, y, palette, targeted):
    """The oracle: the largest margin and its image, pixel by pixel, of the first colour that succeeds or else the
    last.
    """
    for colour in palette:
        found = []
        for row, column in product(range(image.shape[1]), range(image.shape[2])):
            candidate = image.clone()
            candidate[:, row, column] = colour
            z = model(candidate[None])[0].detach()
            others = torch.cat([z[:y], z[y + 1:]]).max()
            found.append(((z[y] - others if targeted else others - z[y]).item(), candidate))
        margin, candidate = max(found, key=lambda pair: pair[0])
        if margin > 0:
            break
    return margin, candidate


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("values", [None, torch.tensor([[0.2, 0.9], [1.0, 0.0], [0.5, 0.5]])],
                         ids=["corners", "palette"])
def test_the_exhaustive_search_equals_a_loop(values, targeted, case):
    model, x, predicted = case
    y = (predicted + 1) % 5 if targeted else predicted
    palette = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]) if values is None else values
    adversarial = one_pixel_exhaustive(model, x, y, values=values, targeted=targeted)
    best = [loop(model, image, label.item(), palette, targeted) for image, label in zip(x, y)]
    expected = torch.stack([candidate if margin > 0 else image for image, (margin, candidate) in zip(x, best)])
    torch.testing.assert_close(adversarial, expected, rtol=0, atol=1e-12)
    success = evaluate(model, x, adversarial, y, targeted=targeted).success
    assert success.tolist() == [margin > 0 for margin, _ in best] and (success.any() or targeted)


def test_the_exhaustive_search_never_misses_what_the_evolution_finds(case):
    model, x, y = case
    evolved = evolve(model, x, y, population=40)
    hit = evaluate(model, x, evolved, y).success
    assert hit.any()
    change = evolved != x
    for i in hit.nonzero().flatten():
        row, column = change[i].any(0).nonzero()[0]
        palette = evolved[i:i + 1, :, row, column]
        found = one_pixel_exhaustive(model, x[i:i + 1], y[i:i + 1], values=palette)
        assert evaluate(model, x[i:i + 1], found, y[i:i + 1]).success.all()
        assert evaluate(model, x[i:i + 1], found, y[i:i + 1]).margin >= evaluate(model, x[i:i + 1], evolved[i:i + 1],
                                                                                 y[i:i + 1]).margin


class Threshold(nn.Module):
    """Class 1 as soon as a smooth function of one pixel, with a single peak, exceeds `height` times its largest
    value.
    """

    def __init__(self, height):
        super().__init__()
        self.height = height
        row, column = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
        self.weight = torch.exp(-((row - 6) ** 2 + (column - 2) ** 2) / 20)  # 1 at (6, 2)

    def forward(self, x):
        value = (self.weight * x.mul(math.pi).sin().mean(1)).amax((1, 2))  # a colour of 0.5 in every channel is best
        return torch.stack([torch.full_like(value, self.height - 2), value - 2], 1)


def test_the_evolution_finds_the_optimum_and_nothing_beyond():
    x, y = torch.zeros(1, 3, 9, 9), torch.tensor([0])
    attack = partial(one_pixel, x=x, y=y, population=60, generations=40)
    adversarial = attack(Threshold(0.999), generator=seeded())
    assert (adversarial != x).any(1).nonzero().tolist() == [[0, 6, 2]]
    assert (adversarial[0, :, 6, 2] - 0.5).abs().max() < 0.05
    assert torch.equal(attack(Threshold(1.001), generator=seeded()), x)


def painted(image, genes):
    """The oracle of a candidate: row, column in shares of the image, then the colour, pixel by pixel."""
    image = image.clone()
    for row, column, *colour in genes.tolist():
        image[:, int(row * image.shape[1]), int(column * image.shape[2])] = torch.tensor(colour, dtype=image.dtype)
    return image


def slow_evolution(model, image, y, pixels, population, generations, seed):
    """The oracle: candidate by candidate, with the random numbers of the fast one."""
    generator = seeded(seed)
    genes = list(_first_population((population, pixels, 2 + len(image)), generator).to(image))

    def fitness(candidate):
        z = model(painted(image, candidate)[None])[0].detach()
        return (torch.cat([z[:y], z[y + 1:]]).max() - z[y]).item()

    for generation in range(generations + 1):
        best = max(genes, key=fitness)
        if fitness(best) > 0:
            return painted(image, best), generation
        genes = [genes[i] for i in torch.randperm(population, generator=generator)]
        children = [genes[i - 1] + 0.5 * (genes[i - 2] - genes[i - 3]) for i in range(population)]
        children = [torch.cat([child[:, :2] % 1, child[:, 2:].clamp(0, 1)], 1) for child in children]
        genes = [max(pair, key=fitness) for pair in zip(genes, children)]
    return image, None


@pytest.mark.parametrize("pixels", [1, 2])
def test_the_evolution_equals_a_loop(pixels, case):
    """Children of three others round the edge of the image, the better of two lives, the strongest leaves."""
    model, x, y = case
    budget, lengths = dict(pixels=pixels, population=5, generations=8), []
    for seed in range(2):
        adversarial = one_pixel(model, x, y, generator=seeded(seed), **budget)
        for i in range(len(x)):
            expected, generation = slow_evolution(model, x[i], y[i].item(), seed=seed, **budget)
            torch.testing.assert_close(adversarial[i], expected, rtol=0, atol=1e-12)
            lengths.append(generation)
    assert any(lengths) and None in lengths, (
        "some must fall after a few generations, and some never: this test shows little")


def test_the_first_population_is_spread_over_places_and_colours():
    """Places uniform; colours from N(0.5, 0.5), so that a sixth of them ends at 0 and a sixth at 1."""
    genes = _first_population((20_000, 1, 4), seeded())
    place, colour = genes[..., :2], genes[..., 2:]
    assert 0 <= place.min() and place.max() < 1 and 0 <= colour.min() and colour.max() <= 1
    assert abs(place.mean() - 0.5) < 0.01 and abs(place.std() - 12 ** -0.5) < 0.01
    for end in (0, 1):
        assert abs((colour == end).float().mean() - 0.1587) < 0.01


# --- pixels, batches and random numbers ------------------------------------------------


@both
@pytest.mark.parametrize("targeted", [False, True])
def test_few_pixels_change(attack, targeted, case):
    model, x, y = case
    y = (y + 1) % 5 if targeted else y
    adversarial = attack(model, x, y, targeted=targeted)
    found = evaluate(model, x, adversarial, y, targeted=targeted)
    pixels = 3 if attack is ATTACKS["three pixels"] else 1
    assert found.success.any() and (found.l0[found.success] >= 1).all() and (found.l0 <= pixels).all()


@both
@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
def test_the_batch_size_changes_nothing(attack, batch_size, case):
    model, x, y = case
    torch.testing.assert_close(attack(model, x[:3], y[:3], batch_size=batch_size), attack(model, x[:3], y[:3]), rtol=0,
                               atol=1e-12)


def test_a_generator_makes_the_evolution_repeatable(case):
    model, x, y = case
    runs = [evolve(model, x, y, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_all_pixels_may_change(case):
    model, x, y = case
    found = evaluate(model, x, evolve(model, x, y, pixels=36, generations=0), y)
    assert found.success.any() and found.l0.max() > 3


def test_places_round_into_the_image():
    """A place just below the end may round to the end; the pixel is the last one, not the one after it."""
    genes = torch.tensor([[[1.0, 1.0, 0.7]], [[0.0, 0.999, 0.7]]])
    assert (_paint(torch.zeros(2, 1, 5, 3), genes) != 0).nonzero().tolist() == [[0, 0, 4, 2], [1, 0, 0, 2]]


def test_of_two_colours_at_one_place_the_later_one_stays():
    genes = torch.tensor([[[0.5, 0.5, 0.2], [0.5, 0.5, 0.9]]])
    assert _paint(torch.zeros(1, 1, 3, 3), genes)[0, 0, 1, 1] == pytest.approx(0.9)


# --- work ----------------------------------------------------------------------------


def test_the_evolution_costs_its_candidates_and_no_backward(work):
    """One image is misclassified already, the others never fall."""
    model = Threshold(0.99)
    x = torch.zeros(3, 1, 9, 9)
    with work(model) as done:
        one_pixel(model, x, torch.tensor([0, 0, 1]), population=8, generations=0)
    assert (done.forward, done.backward) == (3 + 2 * 8, 0)
    model = Threshold(2.0)
    with work(model) as done:
        one_pixel(model, x, torch.tensor([0, 0, 1]), population=8, generations=5)
    assert (done.forward, done.backward) == (3 + 2 * 8 * 6, 0)


def test_an_image_leaves_as_soon_as_a_candidate_succeeds(work):
    class Bright(nn.Module):
        """Class 1 once any pixel is brighter than the first pixel of the image."""

        def forward(self, x):
            x = x.flatten(1)
            return torch.stack([x[:, 0], x[:, 1:].amax(1)], 1)

    x = torch.zeros(2, 1, 5, 5)
    x[1, 0, 0, 0] = 1.0  # nothing is brighter than 1, and to darken this pixel is one in 25
    model = Bright()
    with work(model) as done:
        one_pixel(model, x, torch.tensor([0, 0]), population=4, generations=1, generator=seeded(1))
    assert done.forward == 2 + 2 * 4 + 4


def test_the_exhaustive_search_costs_the_candidates_that_differ(work):
    model = Threshold(2.0)
    x = torch.zeros(2, 1, 9, 9)
    x[0, 0, :3] = 1.0
    x[1, 0, :2] = 0.5
    with work(model) as done:
        one_pixel_exhaustive(model, x, torch.tensor([0, 0]))
    assert (done.forward, done.backward) == (2 + 81 + 81 + 18, 0)
    with work(model) as done:
        assert torch.equal(one_pixel_exhaustive(model, 0 * x, torch.tensor([0, 0]), values=torch.zeros(1, 1)), 0 * x)
    assert done.forward == 2


def test_a_colour_differs_when_one_channel_does(work):
    model = Threshold(2.0)
    with work(model) as done:
        one_pixel_exhaustive(model, torch.zeros(1, 2, 9, 9), torch.tensor([0]),
                             values=torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert done.forward == 1 + 81


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exhaustive_search_looks_at_every_pixel(dtype):
    """Also where (41 / 49) 49 is not 41."""
    met = []

    class Sure(nn.Module):
        def forward(self, x):
            met.append(x)
            return torch.tensor([[2.0, 0.0]]).expand(len(x), -1)

    one_pixel_exhaustive(Sure(), torch.zeros(1, 1, 49, 41, dtype=dtype), torch.tensor([0]), values=torch.ones(1, 1))
    assert torch.equal(torch.cat(met).sum(0), torch.ones(1, 49, 41, dtype=dtype))


def test_an_image_leaves_after_the_first_colour_that_fools_it(work):
    model = Threshold(0.6)
    values = torch.tensor([[0.1], [0.5], [0.3], [0.9]])
    with work(model) as done:
        adversarial = one_pixel_exhaustive(model, torch.zeros(1, 1, 9, 9), torch.tensor([0]), values=values)
    assert done.forward == 1 + 81 + 81 and adversarial[0, 0, 6, 2] == 0.5


# --- on digits -----------------------------------------------------------------------


def test_what_one_pixel_can_do_on_digits(lenet, digits):
    """On digits near the boundary: some fall, and looking everywhere finds no fewer than the evolution."""
    margins = evaluate(lenet, digits.images, digits.images, digits.labels).margin
    near = margins.masked_fill(margins > 0, -math.inf).topk(12).indices
    x, y = digits.images[near], digits.labels[near]
    everywhere, evolved = (evaluate(lenet, x, attack(lenet, x, y), y).success
                           for attack in (one_pixel_exhaustive, partial(evolve, population=50, generations=10)))
    assert 0 < evolved.sum() <= everywhere.sum() < 12


# --- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize("change, message", [
    (dict(pixels=0), "pixels = 0; give 1 to 36"),
    (dict(pixels=37), "pixels = 37; give 1 to 36, the number of pixels of a 6 x 6 image"),
    (dict(population=3), "population = 3; give at least 4"),
    (dict(generations=-1), "generations = -1"),
    (dict(batch_size=0), "batch_size = 0"),
])
def test_wrong_options_of_the_evolution(change, message, net, batch):
    with pytest.raises(ValueError, match=message):
        one_pixel(net, *batch, **change)


@pytest.mark.parametrize("change, message", [
    (dict(values=torch.zeros(0, 2)), r"values is \(0, 2\); give a palette \(V, 2\), one row a colour, at least one"),
    (dict(values=torch.zeros(4)), r"values is \(4,\)"),
    (dict(values=torch.zeros(4, 3)), r"values is \(4, 3\)"),
    (dict(values=[0.0, 1.0]), "values is list"),
    (dict(values=torch.tensor([[0.0, 1.5]])), r"values = \[\[0.0, 1.5\]\]; colours belong in \[0, 1\]"),
    (dict(values=torch.tensor([[-0.1, 0.0]])), "colours belong in"),
    (dict(values=torch.tensor([[0.0, math.nan]])), "colours belong in"),
    (dict(batch_size=0), "batch_size = 0"),
])
def test_wrong_options_of_the_exhaustive_search(change, message, net, batch):
    with pytest.raises(ValueError, match=message):
        one_pixel_exhaustive(net, *batch, **change)
