"""Checks of chapter 10: parameters and sure answers with a pencil, a temperature, ten trainings, and a network that
remembers.
"""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor, nn

from advlens import attacks, data, evaluation, models, training
from advlens.course.checks import hint

# --- the pencil ------------------------------------------------------------------

FEATURES = 60_856  # of LeNet without its last layer

PENCIL = {
    "first": (84 * 256 + 256, {
        "You left the biases out: each of the 256 neurons has one.": 84 * 256,
        "Each neuron of the new layer has one bias, so there are 256 of them, not 84.": 84 * 256 + 84,
        "That is a layer between two layers of 256. The first one reads the 84 numbers before it.": 65_792,
    }),
    "further": (256 * 256 + 256, {
        "You left the biases out: each of the 256 neurons has one.": 256 * 256,
        "That layer reads 84 numbers; a further one reads the 256 of the layer before it.": 84 * 256 + 256,
    }),
    "five": (FEATURES + 21_760 + 4 * 65_792 + 2_570, {
        "The old last layer is still counted: it read 84 numbers and had 850 parameters, the new one reads 256.":
            61_706 + 21_760 + 4 * 65_792 + 2_570,
        "The new last layer is missing: from 256 numbers to 10.": FEATURES + 21_760 + 4 * 65_792,
        "The last layer still has its 850 parameters: it reads 256 numbers now.": 61_706 + 21_760 + 4 * 65_792,
        "That is one further layer too many: five extra layers are one first and four further ones.":
            FEATURES + 21_760 + 5 * 65_792 + 2_570,
        "All five are counted as further layers: the first one reads 84 numbers.": FEATURES + 5 * 65_792 + 2_570,
        "Those are the extra layers alone: add the rest of LeNet.": 21_760 + 4 * 65_792,
    }),
    "slope 10": (4.54e-5, {
        "The factor is small and not 0: a float near 1 cannot tell, a pencil can.": 0.0,
    }),
    "slope 20": (2.06e-9, {
        "With a pencil nothing is rounded away: 1 - p = 1 / (1 + e^20).": 0.0,
    }),
    "stored 20": (0.0, {
        "That is the true factor. In float32 p is stored as the nearest number that there is, and 1 is nearer than "
        "1 - 6e-8.": 2.06e-9,
        "6e-8 is the distance from 1 to its neighbour. 1 - p is much smaller, so p is stored as 1 itself.": 6e-8,
    }),
    "temperature": (20.0, {
        "That is the mean: one very sure image pulls it up. Take the median.": 26.0,
        "That is the factor that you multiply by: the temperature divides.": 1 / 20,
        "That is the smallest gap. The median stands in the middle.": 8.0,
        "That is the largest gap. The median stands in the middle.": 50.0,
    }),
    "after": (1 / (1 + torch.tensor(0.4, dtype=torch.float64).exp().item()), {
        "That is the factor before the division: the gap of this image is now 8 / 20.": 3.35e-4,
        "That is p. The factor is 1 - p.": 1 / (1 + torch.tensor(-0.4, dtype=torch.float64).exp().item()),
        "That is the image with the median gap. This one has the gap 8.": 0.2689,
    }),
}


def sure(function) -> None:
    """Check `function()`: three numbers of parameters, the factor 1 - p of sure answers, and a temperature."""
    got = hint.by_hand(function, *PENCIL)
    for key, (right, mistakes) in PENCIL.items():
        hint.require(isinstance(got[key], (int, float)), f"{key!r} is one number.")
        hint.require(not (key.startswith("slope") and got[key] > 0.9), f"{key!r}: That is p. The factor is 1 - p.")
        unit = right if key in TWO_DIGITS else 1.0
        slips = {f"{key!r}: {text}": wrong / unit for text, wrong in mistakes.items()}
        hint.compare(got[key] / unit, right / unit, slips, f"{key!r} is another number: {ADVICE[key]}",
                     tolerance=0.03 if key in TWO_DIGITS else 1e-12)
    print("ok  what a layer costs, what float32 keeps of a sure answer, and what a temperature brings back")


TWO_DIGITS = "slope 10", "slope 20", "after"  # enough with a pencil
ADVICE = {
    "first": "a dense layer from m to n numbers has m n weights and n biases.",
    "further": "a dense layer from m to n numbers has m n weights and n biases.",
    "five": "take the old last layer away, add one first extra layer, four further ones and a new last layer.",
    "slope 10": "1 - p = 1 / (1 + e^10), to two digits.",
    "slope 20": "1 - p = 1 / (1 + e^20), to two digits.",
    "stored 20": "round p to the nearest number that float32 has, then subtract.",
    "temperature": "it is the median of the three gaps.",
    "after": "divide the gap 8 by your temperature, then take 1 - p once more.",
}


# --- a temperature -------------------------------------------------------------------

def temperature(function) -> None:
    """Check `function(model, x)`: the median gap of the two largest logits, and the logits divided by it."""
    model, x = _sure_net(0, 1), hint.small_images(25)
    for mode in (False, True):
        divisor, logits = _scaled(function, model.train(mode), x)
    model.eval()
    _is_median_gap(divisor, logits, model, x)
    print("ok  one temperature for the network, the median of its gaps")
    print("ok  every answer stays, and the median gap is 1")


def temperature_in_colour(function) -> None:
    """The same on colour images and another network."""
    model, x = _sure_net(1, 3), hint.small_images(41, channels=3, seed=1)
    _is_median_gap(*_scaled(function, model, x), model, x)


def _sure_net(seed: int, channels: int) -> nn.Sequential:
    """A network with gaps of all sizes, many of them large, and logits far above 0."""
    net = hint.small_net(seed, channels)
    with torch.no_grad():
        net[6].weight.mul_(20)
        net[6].bias.add_(7)
    return net


def _scaled(function, model, x) -> tuple:
    """What the function returns, (temperature, logits), after a look at its shape and its traces."""
    before, weights = x.clone(), {name: value.clone() for name, value in model.state_dict().items()}
    with hint._watched(model):
        result = hint.call(function, model, x)
    hint.require(torch.equal(x, before), "You changed the images of your caller in place: work on a copy, x.clone().")
    hint.require(all(torch.equal(value, weights[name]) for name, value in model.state_dict().items()),
                 "The weights of the model are other ones now: divide its logits, not its weights.")
    hint.require(isinstance(result, (tuple, list)) and len(result) == 2,
                 "Return two things: the temperature, and the logits divided by it.")
    divisor, logits = (torch.as_tensor(part).detach() for part in result)
    hint.require(divisor.numel() == 1, f"The temperature has {divisor.numel()} numbers: one number for the whole "
                                       "network. With one for each image a sure image and a doubtful one look alike.")
    hint.require(logits.shape == (len(x), 4), f"The logits have shape {tuple(logits.shape)}: return (N, classes).")
    return float(divisor), logits


def _is_median_gap(divisor: float, logits: Tensor, model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        true = model(x)
    gap = _gaps(true)
    others = true.scatter(1, true.argmax(1, keepdim=True), torch.nan)
    mean = gap.mean().item()
    hint.compare(divisor, gap.median().item(), {
        "That is the mean of the gaps: a few very sure images pull it up. Take the median.": mean,
        "That is the largest gap: take the median over the images.": gap.max().item(),
        "That is the smallest gap: take the median over the images.": gap.min().item(),
        "You multiply by it later: return the number to divide by, the median gap itself.": 1 / gap.median().item(),
        "That is the gap to the smallest logit: take the two largest, for instance with topk(2, dim=1).":
            (true.amax(1) - true.amin(1)).median().item(),
        "That is the gap to the mean of the other logits: take the second largest alone.":
            (true.amax(1) - others.nanmean(1)).median().item(),
        "That is the median of the largest logit. Its size says nothing: a constant added to all logits changes no "
        "probability. Take the gap to the second largest.": true.amax(1).median().item(),
        "That is the spread of the logits (std): take the median gap.": true.std().item(),
        "That is the gap between probabilities: take the logits, before the softmax.":
            _gaps(true.softmax(1)).median().item(),
        "The gap lacks its sign: the largest logit minus the second largest.": -gap.median().item(),
        "Those are the first two classes: sort the logits of each image, or take topk(2, dim=1).":
            (true[:, 0] - true[:, 1]).median().item(),
    }, "The temperature is not the median over the images of the largest logit minus the second largest.",
        tolerance=1e-3 * gap.median().item())
    hint.compare(logits, true / divisor, {
        "The logits come back as they were: divide them by the temperature.": true,
        "You multiply by the temperature: divide, so that the gaps become smaller.": true * divisor,
        "Each image has its own divisor: all gaps are 1 now, and what the network doubts is lost.": true / gap[:, None],
        "Those are probabilities: return the divided logits, without a softmax.": (true / divisor).softmax(1),
        "Those are probabilities: return the divided logits, without a softmax. (And divide before, not after.)":
            true.softmax(1) / divisor,
        "You also subtract the largest logit: only divide.": (true - true.amax(1, keepdim=True)) / divisor,
    }, "The logits are not model(x) divided by your temperature.")


def _gaps(logits: Tensor) -> Tensor:
    """The largest logit minus the second largest, (N,)."""
    first, second = logits.topk(2, dim=1).values.T
    return first - second


# --- ten trainings -------------------------------------------------------------------

EPOCHS, SEEDS, EPS = (2, 20), range(5), 0.15
TOLERANCE = 0.009  # three images of 360


@cache
def trained(epochs: int, seed: int) -> nn.Sequential:
    """A fully connected network after `epochs` epochs on the digits: Adam at 0.005, batches of 64, nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = models.FullyConnected()
    adam = partial(torch.optim.Adam, foreach=False)  # the same bits, and for a net this small much sooner
    training.fit(net, data.load("digits"), epochs=epochs, optimizer=adam, learning_rate=5e-3, batch_size=64, seed=seed,
                 progress=False)
    return net.requires_grad_(False)


def _pgd(net: nn.Module, x: Tensor, y: Tensor, loss: str) -> Tensor:
    return attacks.pgd(net, x, y, eps=EPS, loss=loss, generator=torch.Generator().manual_seed(0))


ATTACKS = {
    "FGSM, naive": partial(attacks.fgsm, eps=EPS, loss="naive_ce"),
    "FGSM, margin": partial(attacks.fgsm, eps=EPS, loss="margin"),
    "PGD, margin": partial(_pgd, loss="margin"),
}


def trainings(left: dict, rises: dict) -> None:
    """Check the measurement of chapter 10: what three attacks leave of ten fully connected nets.

    left: {attack: {2: five accuracies, 20: five accuracies}}, seeds 0 to 4.  rises: {attack: in how many of the five
    trainings the accuracy is larger after 20 epochs}.
    """
    for name in ATTACKS:
        hint.require(name in left and name in rises,
                     f"`left` and `rises` need the key {name!r}, as in the cell of the task.")
        hint.answered(**{f"rises[{name!r}]": rises[name]})
        for epochs in EPOCHS:
            hint.require(epochs in left[name] and isinstance(left[name][epochs], (list, tuple, Tensor))
                         and len(left[name][epochs]) == len(SEEDS),
                         f"`left[{name!r}][{epochs}]` holds five accuracies, one for each of the seeds 0 to 4.")
            hint.require(all(a is not None for a in left[name][epochs]),
                         f"`left[{name!r}][{epochs}]` is not measured yet: fill it in, run that cell, then this one.")
    for name in ATTACKS:
        for epochs in EPOCHS:
            got = [float(a) for a in left[name][epochs]]
            hint.require(max(got) <= 1, f"`left[{name!r}]` is in percent: give shares between 0 and 1.")
            if not hint.close(got, _left()[name][epochs], TOLERANCE):  # the wrong measurements take a while
                _slip_of_the_trainings(got, name, epochs)
    print("ok  what three attacks leave of ten networks")
    for name in ATTACKS:
        more = [b > a for a, b in zip(*(map(float, left[name][epochs]) for epochs in EPOCHS))]
        hint.compare(float(rises[name]), sum(more), {
            f"`rises[{name!r}]` is a share: give the number of trainings, 0 to 5.": sum(more) / 5,
            f"`rises[{name!r}]` counts the trainings in which the accuracy falls.": 5 - sum(more),
        }, f"`rises[{name!r}]`: compare the two lists seed by seed, and count where the second number is larger.")
    print("ok  in how many of the five trainings it rises")


def _slip_of_the_trainings(got: list[float], name: str, epochs: int) -> None:
    """Fail with the hint to what went wrong in five accuracies."""
    expected = _left()
    right = expected[name][epochs]
    each = lambda attack: [rights(trained(epochs, seed), attack) for seed in SEEDS]
    by_default = {"That attack walks along the default loss, the log-odds: pass loss=\"margin\".":
                      each(partial(_pgd, loss="ce"))} if name.startswith("PGD") else {}
    hint.compare(got, right, {
        "That is the success of the attack. Asked for is the share that stays right.": [1 - a for a in right],
        "That is the accuracy without an attack.": each(lambda net, x, y: x),
        "The epochs are exchanged.": expected[name][sum(EPOCHS) - epochs],
        "All five are the same network: pass the seed on, checks.trained(epochs, seed).": [right[0]] * 5,
        **{f"Those are the numbers of {other}.": expected[other][epochs] for other in ATTACKS if other != name},
        **by_default,
    }, f"`left[{name!r}][{epochs}]` is not the share of the 360 test digits that is still right at eps = {EPS}, for "
       "the seeds 0 to 4.", tolerance=TOLERANCE)


def rights(net: nn.Module, attack) -> float:
    """The share of the test digits that `net` still answers right after `attack(net, x, y)`."""
    test = data.load("digits", "test")
    adversarial = attack(net, test.images, test.labels)
    return (evaluation.logits(net, adversarial).argmax(1) == test.labels).double().mean().item()


@cache
def _left() -> dict:
    return {name: {epochs: [rights(trained(epochs, seed), attack) for seed in SEEDS] for epochs in EPOCHS}
            for name, attack in ATTACKS.items()}


# --- a network that remembers --------------------------------------------------------------

class Memory(nn.Module):
    """A network with one hidden unit for each training digit.  It answers with probabilities, and has a knob,
    `temperature`.  What is inside is the exercise: do not read on.
    """

    def __init__(self):
        super().__init__()
        train = data.load("digits")
        known, labels, self.temperature = train.images.flatten(1), train.labels, 1.0

        def logits(x: Tensor) -> Tensor:  # a closure: no module to be found
            units = 2 * x.flatten(1) @ known.T - known.square().sum(1)  # |x|^2 minus the squared distance
            return 100 * torch.stack([units[:, labels == k].amax(1) for k in range(10)], 1)

        self._logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return (self._logits(x) / self.temperature).softmax(1)


MEMORY_EPS, MEMORY_GOAL = 0.2, 45


def memory(images) -> None:
    """Check fifty images: inside the ball around the test digits 100 to 149, and at least 45 fool `Memory`."""
    images, x, y = hint.fifty_digits(images, MEMORY_EPS)
    wrong, clean = (int((evaluation.logits(Memory(), z).argmax(1) != y).sum()) for z in (images, x))
    hint.require(wrong > clean + 1, f"{wrong} of 50 images are answered wrongly, {clean} of the clean ones are. Print "
                 "what the model says about two digits, all ten numbers. Which slope can a loss made of them have? And "
                 "what does the knob do to them?")
    hint.require(wrong >= MEMORY_GOAL / 2, f"{wrong} of 50 images are answered wrongly: something gets through. Its "
                 "own gradient would do better. Turn the knob until no probability is 0 or 1; the logarithms of the "
                 "probabilities are then logits, up to a constant that changes nothing.")
    hint.require(wrong >= MEMORY_GOAL, f"{wrong} of 50 images are answered wrongly; {MEMORY_GOAL} are asked for. Walk "
                 "many steps, with all of the budget. And what does your loss look at when the knob is turned far: "
                 "the class that is nearest, or all nine others alike?")
    print(f"ok  {wrong} of 50 images inside the ball fool the network that remembers")
