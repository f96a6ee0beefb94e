"""Checks of chapters 00 and 01 meet the answers that students really give: each earns its own hint."""

import pytest
import torch

from advlens import attacks, data, evaluation, zoo
from advlens.course import checks
from wrong_answers import hint, slips


def hundred_digits(name: str) -> tuple:
    """A net, the first hundred test digits, their labels, the coin flips, and changed(images): the share of answers."""
    digits, net = data.load("digits", "test")[:100], zoo.pretrained(name, "digits")
    sign = torch.randint(0, 2, digits.images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = evaluation.logits(net, digits.images).argmax(1)
    changed = lambda images: (evaluation.logits(net, images).argmax(1) != before).float().mean().item()
    return net, digits.images, digits.labels, sign, changed


@pytest.mark.parametrize("check", [checks.four_pixels, checks.units])
def test_a_warm_up_that_is_not_written_says_so(check):
    def unwritten():
        raise NotImplementedError

    assert "unwritten is not written yet" in hint(check, unwritten)
    assert "return the dict" in hint(check, lambda: [1, 2])
    assert "is missing in the dict" in hint(check, dict)


# --- 00: one step by hand ----------------------------------------------------------

BY_HAND = {"step": [-1, 1, -1, 1], "moved": [0.4, 0.5, 0.2, 0.7], "score": -0.3, "smallest": 0.0625}


def test_the_step_by_hand_is_right():
    checks.four_pixels(lambda: BY_HAND)


@slips({
    "makes the score larger": {"step": [1, -1, 1, -1]},
    "takes only the sign: every pixel": {"step": [-3, 1, -2, 2]},
    "goes against the weights": {"step": [3, -1, 2, -2]},
    "eps comes in `moved`": {"step": [-0.1, 0.1, -0.1, 0.1]},
    "`step` is not the sign": {"step": [0, 0, 0, 1]},
    "`moved` went the wrong way": {"moved": [0.6, 0.3, 0.4, 0.5]},
    "by a whole step of 1": {"moved": [-0.5, 1.4, -0.7, 1.6]},
    "add it to the image": {"moved": [-0.1, 0.1, -0.1, 0.1]},
    "`moved` is not the image": {"moved": [0.4, 0.5, 0.3, 0.7]},
    "before the step": {"score": 0.5},
    "change of the score": {"score": -0.8},
    "`score` is not the score": {"score": 0.3},
    "distance in the L2 norm": {"smallest": 0.5 / 18**0.5},
    "number of pixels": {"smallest": 0.125},
    "with their signs": {"smallest": 0.25},
    "the score itself": {"smallest": 0.5},
    "`smallest` is not": {"smallest": 0.1},
})
def test_four_pixels(words, wrong):
    assert words in hint(checks.four_pixels, lambda: BY_HAND | wrong)


# --- 00: louder noise, shifts --------------------------------------------------------

@pytest.fixture(scope="module")
def noise():
    """The right answers of the exercise with noise, and what they are made from."""
    net, x, y, sign, changed = hundred_digits("fully_connected")
    shares = [changed((x + k * 0.1 * sign).clamp(0, 1)) for k in range(1, 11)]
    fgsm = changed(attacks.fgsm(net, x, y, eps=0.1))
    return {"fgsm": fgsm, "shares": shares, "factor": 1 + next(k for k, share in enumerate(shares) if share >= fgsm),
            "raw": [changed(x + k * 0.1 * sign) for k in range(1, 11)]}


def test_the_answer_about_noise_is_right(noise):
    checks.louder(noise["fgsm"], noise["shares"], noise["factor"])


@slips({
    "`share_fgsm` is not measured yet": lambda n: (None, n["shares"], n["factor"]),
    "`share_fgsm` is in percent": lambda n: (100 * n["fgsm"], n["shares"], n["factor"]),
    "`share_fgsm` is the share of answers that stay": lambda n: (1 - n["fgsm"], n["shares"], n["factor"]),
    "exchange the two": lambda n: (n["shares"][0], n["shares"], n["factor"]),
    "`shares` has 9 entries": lambda n: (n["fgsm"], n["shares"][1:], n["factor"]),
    "`shares` is in percent": lambda n: (n["fgsm"], [100 * share for share in n["shares"]], n["factor"]),
    "was not clamped": lambda n: (n["fgsm"], n["raw"], n["factor"]),
    "the same noise for every k": lambda n: (n["fgsm"], n["shares"][:1] * 10, n["factor"]),
    "`shares` is not the share": lambda n: (n["fgsm"], [0.5] * 10, n["factor"]),
    "counts from 0": lambda n: (n["fgsm"], n["shares"], n["factor"] - 1),
    "the size of the noise": lambda n: (n["fgsm"], n["shares"], n["factor"] / 10),
    "`factor` is not the first k": lambda n: (n["fgsm"], n["shares"], n["factor"] + 1),
})
def test_louder(words, wrong, noise):
    assert words in hint(checks.louder, *wrong(noise))


@pytest.fixture(scope="module")
def moved():
    """Shares of changed answers and changes of the images, for a shift with `torch.nn.functional.pad(x, pad(k))`."""
    _, x, _, _, changed = hundred_digits("lenet")

    def measure(pad):
        shifted = [torch.nn.functional.pad(x, pad(k)) for k in range(1, 6)]
        return [changed(s) for s in shifted], torch.stack([(s - x).flatten(1) for s in shifted])

    return measure


@slips({
    "`changed` is not measured yet": lambda s, d: (None, d.norm(dim=2).median(1).values),
    "`lengths` has 4 entries": lambda s, d: (s, d[1:].norm(dim=2).median(1).values),
    "`changed` is in percent": lambda s, d: ([100 * v for v in s], d.norm(dim=2).median(1).values),
    "`changed` is the share of answers that stay": lambda s, d: ([1 - v for v in s], d.norm(dim=2).median(1).values),
    "`changed` is not the share": lambda s, d: ([0.5] * 5, d.norm(dim=2).median(1).values),
    "holds the mean": lambda s, d: (s, d.norm(dim=2).mean(1)),
    "the L-infinity norm": lambda s, d: (s, d.abs().amax(2).median(1).values),
    "for all images together": lambda s, d: (s, d.flatten(1).norm(dim=1)),
    "lacks the root": lambda s, d: (s, d.square().sum(2).median(1).values),
    "`lengths` is not the median": lambda s, d: (s, [1.0] * 5),
})
def test_shifts(words, wrong, moved):
    assert words in hint(checks.shifts, *wrong(*moved(lambda k: (k, -k))))


@pytest.mark.parametrize("words, pad", [("to the left", lambda k: (-k, k)), ("downwards", lambda k: (0, 0, k, -k))])
def test_a_shift_the_wrong_way_is_named(words, pad, moved):
    shares, d = moved(pad)
    assert words in hint(checks.shifts, shares, d.norm(dim=2).median(1).values)


# --- 01: units by hand, colours, an accident with bytes --------------------------------

UNITS = {"pixels": [0, 0.2, 0.4, 1], "normalised": [-0.5, 0, 0.5, 2], "levels": 10.2, "wrapped": 4}


def test_the_units_by_hand_are_right():
    checks.units(lambda: UNITS)


@slips({
    "not to 256": {"pixels": [0, 51 / 256, 102 / 256, 255 / 256]},
    "divide by 255": {"pixels": [0, 51, 102, 255]},
    "`pixels` is not": {"pixels": [0, 0.2, 0.4, 0.9]},
    "divide before you subtract": {"normalised": [-0.2, 0.3, 0.8, 2.3]},
    "by the variance": {"normalised": [-1.25, 0, 1.25, 5]},
    "You multiply": {"normalised": [-0.08, 0, 0.08, 0.32]},
    "You normalise the bytes": {"normalised": [-0.5, 127, 254.5, 637]},
    "`normalised` is not": {"normalised": [0, 0, 0, 0]},
    "on the way back it multiplies": {"levels": 63.75},
    "The mean does not matter": {"levels": 61.2},
    "That is in pixel units": {"levels": 0.04},
    "as if it were in pixel units": {"levels": 25.5},
    "`levels` is not": {"levels": 1},
    "cannot hold 260": {"wrapped": 260},
    "that would be clamp": {"wrapped": 255},
    "256 becomes 0": {"wrapped": 5},
    "`wrapped` is not": {"wrapped": 10},
})
def test_units(words, wrong):
    assert words in hint(checks.units, lambda: UNITS | wrong)


@pytest.fixture(scope="module")
def shapes():
    """Mean, deviation and levels of the training shapes."""
    images = data.load("shapes", "train").images
    std = images.std((0, 2, 3))
    return {"mean": images.mean((0, 2, 3)), "std": std, "levels": 25.5 * std, "images": images}


@slips({
    "`mean` is not measured yet": lambda s: {"mean": None},
    "`mean` needs three numbers": lambda s: {"mean": s["images"].mean()},
    "`mean` is in grey levels": lambda s: {"mean": 255 * s["mean"]},
    "`mean` is that of the test": lambda s: {"mean": data.load("shapes", "test").mean},
    "`mean` is the same": lambda s: {"mean": [s["images"].mean().item()] * 3},
    "`mean` is not the mean": lambda s: {"mean": [0.1, 0.2, 0.3]},
    "`std` is the variance": lambda s: {"std": s["std"] ** 2},
    "standard deviations of single images": lambda s: {"std": s["images"].flatten(2).std(2).mean(0)},
    "`std` is the same": lambda s: {"std": [s["images"].std().item()] * 3},
    "`std` is not the standard": lambda s: {"std": [0.1, 0.2, 0.3]},
    "`levels` is divided": lambda s: {"levels": 25.5 / s["std"]},
    "`levels` is in pixel units": lambda s: {"levels": 0.1 * s["std"]},
    "`levels` adds the mean": lambda s: {"levels": 25.5 * s["std"] + 255 * s["mean"]},
    "`levels` takes 0.1": lambda s: {"levels": [25.5] * 3},
    "`levels` is not": lambda s: {"levels": [1, 2, 3]},
})
def test_colours(words, wrong, shapes):
    right = {name: shapes[name] for name in ("mean", "std", "levels")}
    checks.colours(**right)
    assert words in hint(lambda: checks.colours(**right | wrong(shapes)))


@pytest.fixture(scope="module")
def bytes_and_right():
    """The right answers of the accident with bytes."""
    _, x, _, sign, changed = hundred_digits("lenet")
    in_bytes = ((x * 255).round().to(torch.uint8) + (8 * sign).to(torch.uint8)).float() / 255
    return {"wrapped": ((in_bytes - x).abs() > 0.5).float().mean().item(), "linf": (in_bytes - x).abs().max().item(),
            "changed": changed(in_bytes), "changed_right": changed((x + 8 / 255 * sign).clamp(0, 1))}


@slips({
    "`linf` is not measured yet": lambda r: {"linf": None},
    "`wrapped` is in percent": lambda r: {"wrapped": 100 * r["wrapped"]},
    "Nothing wrapped": lambda r: {"wrapped": 0},
    "`wrapped` counts every pixel": lambda r: {"wrapped": 1.0},
    "`wrapped` is not": lambda r: {"wrapped": 0.2},
    "`linf` is in grey levels": lambda r: {"linf": 255 * r["linf"]},
    "what was intended": lambda r: {"linf": 8 / 255},
    "`linf` is not": lambda r: {"linf": 0.5},
    "`changed` is in percent": lambda r: {"changed": 100 * r["changed"]},
    "`changed` is the share of answers that stay": lambda r: {"changed": 1 - r["changed"]},
    "`changed`: did you exchange": lambda r: {"changed": r["changed_right"]},
    "`changed_right`: did you exchange": lambda r: {"changed_right": r["changed"]},
    "`changed_right` is not": lambda r: {"changed_right": 0.3},
})
def test_accident(words, wrong, bytes_and_right):
    checks.accident(**bytes_and_right)
    assert words in hint(lambda: checks.accident(**bytes_and_right | wrong(bytes_and_right)))
