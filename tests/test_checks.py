"""Every check meets the answers that students really give: each known mistake must earn its own hint."""

import multiprocessing
import re
import subprocess
import sys
import textwrap
import threading
import warnings
from multiprocessing.connection import Listener
from pathlib import Path

import jupytext
import pytest
import torch
import torch.nn.functional as F

from advlens import attacks, data, evaluation, geometry, hebbian, models, zoo
from advlens.course import checks
from advlens.course.checks import remote
from advlens.course.checks.closed import closed_book
from advlens.course.grading.judge import Verdict, judge
from advlens.kernels import krotov_hopfield
from wrong_answers import gradient, hint, in_evaluation_mode, slips, step

MASTERS = Path(__file__).parents[1] / "exercises"


def test_every_check_that_a_master_calls_is_known():
    for master in MASTERS.glob("[0-9][0-9]_*.py"):
        for name in re.findall(r"^checks\.(\w+)\(", master.read_text(), re.M):
            assert name in checks.__all__


def judged(source: str, answers: dict, names: dict) -> Verdict:
    """Judge a test whose answers are served by another thread, through the same bytes as from another process."""
    here, there = multiprocessing.Pipe()
    server = threading.Thread(target=remote.answer, args=(there, answers))
    server.start()
    with here:
        verdict = judge(source, names, remote.Answers(here))
    server.join()
    return verdict


@pytest.mark.parametrize("master", sorted(MASTERS.glob("[0-9][0-9]_*.py")), ids=lambda p: p.stem)
def test_the_solution_of_the_master_passes(master):
    """Its tests know the set-up cell, and of the answers only what they ask for."""
    cells = [c for c in jupytext.read(master).cells if c.cell_type == "code" and "nbgrader" in c.metadata]
    names = {"torch": torch} | {n: globals()[n]
                                for n in ("attacks", "checks", "data", "evaluation", "geometry", "models", "zoo")}
    answers, printed = dict(names), ""
    for cell in cells:
        if not cell.metadata["nbgrader"]["grade"]:  # an answer, or what is given
            exec(cell.source, answers)
        else:
            verdict = judged(cell.source, answers, names)
            assert verdict.error is None, cell.source
            printed += verdict.printed
    assert printed.count("ok  ") >= 4


def test_a_hint_stands_alone_in_a_notebook():
    """IPython shows what `_render_traceback_` returns instead of the inside of the check."""
    assert checks.CheckFailed("Take the sign.")._render_traceback_() == ["Not yet. Take the sign."]


# --- what all code exercises share -----------------------------------------------

def unwritten(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("check", [checks.sizes, checks.to_images, checks.gradients, checks.fgsm, checks.pgd])
def test_not_written_not_returned_not_a_function_and_broken(check):
    assert "unwritten is not written yet" in hint(check, unwritten)
    assert "returns nothing" in hint(check, lambda *arguments: None)
    assert "the function itself" in hint(check, 3)
    assert "stopped with TypeError" in hint(check, lambda: 0)


# --- 00 ------------------------------------------------------------------------------

def true_sizes(d):
    rows = d.flatten(1)
    return {"linf": rows.abs().amax(1), "l2": rows.norm(dim=1), "l0": (d != 0).any(1).flatten(1).float().sum(1)}


@slips({
    "is one number for the whole batch": lambda d, x: {p: v.mean() for p, v in true_sizes(d).items()},
    "return a dict": lambda d, x: tuple(true_sizes(d).values()),
    "The key 'l0' is missing": lambda d, x: {"linf": true_sizes(d)["linf"], "l2": true_sizes(d)["l2"]},
    "give one number for each image, shape (5,)": lambda d, x: {p: v[:, None] for p, v in true_sizes(d).items()},
    "take .abs() before the maximum": lambda d, x: true_sizes(d) | {"linf": d.flatten(1).amax(1)},
    "For Linf you take the mean": lambda d, x: true_sizes(d) | {"linf": d.abs().flatten(1).mean(1)},
    "measure the perturbation, adversarial - x": lambda d, x: true_sizes(x + d),
    "L2 lacks its root": lambda d, x: true_sizes(d) | {"l2": d.square().flatten(1).sum(1)},
    "For L2 you take the mean": lambda d, x: true_sizes(d) | {"l2": d.square().flatten(1).mean(1).sqrt()},
    "That is L1": lambda d, x: true_sizes(d) | {"l2": d.abs().flatten(1).sum(1)},
    "L0 counts channels": lambda d, x: true_sizes(d) | {"l0": (d != 0).flatten(1).sum(1)},
    "where all channels change": lambda d, x: true_sizes(d) | {"l0": (d != 0).all(1).flatten(1).sum(1)},
    "not a share": lambda d, x: true_sizes(d) | {"l0": (d != 0).any(1).flatten(1).float().mean(1)},
    "pixels that stay the same": lambda d, x: true_sizes(d) | {"l0": (d == 0).all(1).flatten(1).sum(1)},
})
def test_sizes(words, wrong):
    assert words in hint(checks.sizes, lambda x, adversarial: wrong(adversarial - x, x))


@pytest.fixture(scope="module")
def hundred():
    """LeNet and the hundred test digits of the measurements."""
    digits = data.load("digits", "test")[:100]
    return zoo.pretrained("lenet", "digits"), digits.images, digits.labels


# --- 01 ------------------------------------------------------------------------------

def bytes_first(raw):
    return raw.unsqueeze(1) if raw.ndim == 3 else raw.permute(0, 3, 1, 2)


def in_place(raw):
    answer = bytes_first(raw).float() / 255
    raw.zero_()
    return answer


@slips({
    "still lie in [0, 255]": lambda raw: bytes_first(raw).float(),
    "The division cut off": lambda raw: (bytes_first(raw) // 255).float(),
    "whole numbers cut off": lambda raw: bytes_first(raw) // 255,
    "not to 256": lambda raw: bytes_first(raw).float() / 256,
    "largest value of the batch": lambda raw: bytes_first(raw).float() / raw.max(),
    "wrapped around": lambda raw: (bytes_first(raw) * 255).float(),
    "You standardise": lambda raw: (lambda v: (v - v.mean()) / v.std())(bytes_first(raw).float() / 255),
    "You map to [-1, 1]": lambda raw: bytes_first(raw).float() / 127.5 - 1,
    "lack their channel": lambda raw: raw.float() / 255,
    "channels still come last": lambda raw: (raw.unsqueeze(1) if raw.ndim == 3 else raw).float() / 255,
    "reshape and view only cut": lambda raw:
        (raw.unsqueeze(1) if raw.ndim == 3 else raw.reshape(len(raw), 3, 5, 7)).float() / 255,
    "Height and width are exchanged": lambda raw: bytes_first(raw).mT.float() / 255,
    "return float32": lambda raw: bytes_first(raw).double() / 255,
    "in place": in_place,
    "return a tensor": lambda raw: raw.numpy(),
})
def test_to_images(words, wrong):
    assert words in hint(checks.to_images, wrong)


# --- 02 ------------------------------------------------------------------------------

def backward(W1, b1, W2, b2, x, y, factor=2.0, out=True, hidden=True, slope=lambda a: a * (1 - a), through=True):
    a1 = (x @ W1.T + b1).sigmoid()
    a2 = (a1 @ W2.T + b2).sigmoid()
    delta2 = factor * (a2 - y) * (slope(a2) if out else 1)
    delta1 = (delta2 @ W2 if through else delta2.sum(1, keepdim=True)) * (slope(a1) if hidden else 1)
    return delta1.T @ x, delta1.sum(0), delta2.T @ a1, delta2.sum(0)


def by_autograd(W1, b1, W2, b2, x, y):
    leaves = [p.clone().requires_grad_() for p in (W1, b1, W2, b2)]
    out = ((x @ leaves[0].T + leaves[1]).sigmoid() @ leaves[2].T + leaves[3]).sigmoid()
    return torch.autograd.grad((out - y).square().sum(), leaves)


def change(index, function):
    """Right, but for one of the four gradients."""
    return lambda *net: [function(g) if i == index else g for i, g in enumerate(backward(*net))]


@slips({
    "Wrong sign": lambda *net: backward(*net, factor=-2.0),
    "a sum over the batch, not a mean": lambda *net: backward(*net, factor=2 / 5),
    "A factor 2 is missing": lambda *net: backward(*net, factor=1.0),
    "sigma' is missing in the output layer": lambda *net: backward(*net, out=False),
    "sigma' is missing in the hidden layer": lambda *net: backward(*net, hidden=False),
    "sigma' is missing in both": lambda *net: backward(*net, out=False, hidden=False),
    "sigma' is taken at a": lambda *net: backward(*net, slope=lambda a: a.sigmoid() * (1 - a.sigmoid())),
    "does not pass through W2": lambda *net: backward(*net, through=False),
    "asks autograd": by_autograd,
    "gradient of W1 is transposed": change(0, lambda g: g.T),
    "sum over the batch": lambda *net: [*backward(*net)[:3], 2 * torch.ones(5, 2)],
    "they must agree": change(1, lambda g: g[:2]),
    "Return four tensors": lambda *net: backward(*net)[:2],
    "is a float": change(2, lambda g: 0.5),
})
def test_gradients(words, wrong):
    assert words in hint(checks.gradients, wrong)


def counted(n):
    return zoo.count(models.LeNet(n))["total"]


@slips({
    "`first` is not measured yet": lambda: ([counted(n) for n in range(21)], None),
    "without the biases": lambda:
        ([sum(p.numel() for p in models.LeNet(n).parameters() if p.ndim > 1) for n in range(21)], 15),
    "begins with one extra layer": lambda: ([counted(n) for n in range(1, 21)], 15),
    "n runs from 0 to 20": lambda: ([counted(n) for n in range(11)], 15),
    "same for every n": lambda: ([counted(0)] * 21, 15),
    "counts tensors": lambda: ([len(list(models.LeNet(n).parameters())) for n in range(21)], 15),
    "last n below": lambda: ([counted(n) for n in range(21)], 14),
    "counts the nets from 1": lambda: ([counted(n) for n in range(21)], 16),
    "is n, the number of extra layers": lambda: ([counted(n) for n in range(21)], counted(15)),
})
def test_one_million(words, wrong):
    assert words in hint(checks.one_million, *wrong())


# --- 03 ------------------------------------------------------------------------------

def one_step(change):
    """change(x, g, eps) -> images, clamped."""
    return in_evaluation_mode(lambda model, x, y, eps: change(x, gradient(model, x, y), eps).clamp(0, 1))


def forgets_the_mode(model, x, y, eps, *rest):
    model.eval()
    return step(model, x, y, eps)


def pollutes(model, x, y, eps, *rest):
    point = x.clone().requires_grad_()
    F.cross_entropy(model(point), y).backward()
    return (x + eps * point.grad.sign()).clamp(0, 1)


def freezes(model, x, y, eps, *rest):
    model.requires_grad_(False)
    return step(model, x, y, eps)


def marks_x(model, x, y, eps, *rest):
    loss = F.cross_entropy(model(x.requires_grad_()), y)
    return (x + eps * torch.autograd.grad(loss, x)[0].sign()).clamp(0, 1).detach()


def changes_x(model, x, y, eps, *rest):
    return x.add_(eps * gradient(model, x, y).sign()).clamp_(0, 1)


def keeps_the_graph(model, x, y, eps, *rest):
    point = x.clone().requires_grad_()
    return (point + eps * torch.autograd.grad(F.cross_entropy(model(point), y), point)[0].sign()).clamp(0, 1)


BAD_GUESTS = {
    "ran the model in training mode": lambda m, x, y, eps, *rest: step(m, x, y, eps),
    "comes back in another mode": forgets_the_mode,
    "leaves gradients on the parameters": in_evaluation_mode(pollutes),
    "come back with requires_grad = False": in_evaluation_mode(freezes),
    "set requires_grad on the x": in_evaluation_mode(marks_x),
    "changed the images of your caller in place": in_evaluation_mode(changes_x),
    "still hangs on the graph": in_evaluation_mode(keeps_the_graph),
    "The model was never called": lambda model, x, y, eps, *rest: x - eps,
    "return one image for each image": in_evaluation_mode(lambda m, x, y, eps, *rest: step(m, x, y, eps)[:1]),
    "keep the type of x": in_evaluation_mode(lambda m, x, y, eps, *rest: step(m, x, y, eps).double()),
    "holds NaN": in_evaluation_mode(lambda m, x, y, eps, *rest: step(m, x, y, eps) * float("nan")),
    "return a tensor like x": in_evaluation_mode(lambda m, x, y, eps, *rest: step(m, x, y, eps).numpy()),
}


@slips(BAD_GUESTS)
def test_fgsm_as_a_guest(words, wrong):
    assert words in hint(checks.fgsm, wrong)


@slips({
    "in normalised units": one_step(lambda x, g, eps: x + eps * 0.25 * g.sign()),
    "Here it was divided by std": one_step(lambda x, g, eps: x + eps / 0.25 * g.sign()),
    "Wrong sign": one_step(lambda x, g, eps: x - eps * g.sign()),
    "come back unchanged": one_step(lambda x, g, eps: x),
    "the noise alone": in_evaluation_mode(lambda m, x, y, eps: eps * gradient(m, x, y).sign()),
    "do not divide it by 255": one_step(lambda x, g, eps: x + eps / 255 * g.sign()),
    "eps is multiplied in twice": one_step(lambda x, g, eps: x + eps * eps * g.sign()),
    "step along the gradient itself": one_step(lambda x, g, eps: x + eps * g),
    "A mean over the batch": in_evaluation_mode(lambda m, x, y, eps: (x + eps * gradient(m, x, y, "mean")).clamp(0, 1)),
    "That is FGM": one_step(lambda x, g, eps: x + eps * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)),
    "the model's own prediction": in_evaluation_mode(lambda m, x, y, eps: step(m, x, m(x).argmax(1), eps)),
    "a softmax too many":
        in_evaluation_mode(lambda m, x, y, eps: (x + eps * gradient(m, x, y,
                                                                    before=lambda z: z.softmax(1)).sign()).clamp(0, 1)),
    "Pixels leave [0, 1]": in_evaluation_mode(lambda m, x, y, eps: x + eps * gradient(m, x, y).sign()),
    "The result is not x + eps * sign": one_step(lambda x, g, eps: x + 0.3 * eps * g.sign()),
})
def test_fgsm_step(words, wrong):
    assert words in hint(checks.fgsm, wrong)


def measured():
    """The right `smallest` and `sizes`."""
    x, y = (t[5:6] for t in (data.load("digits", "test").images, data.load("digits", "test").labels))
    net = zoo.pretrained("lenet", "digits")
    smallest, sizes = {}, {}
    for name, attack, grid in (("fgsm", attacks.fgsm, checks.ch03.FGSM_GRID),
                               ("fgm", attacks.fgm, checks.ch03.FGM_GRID)):
        smallest[name] = next(e for e in grid if evaluation.logits(net, attack(net, x, y, eps=e)).argmax(1) != y)
        d = attack(net, x, y, eps=smallest[name]) - x
        sizes[name] = (geometry.norm(d, "linf").item(), geometry.norm(d, "l2").item())
    return smallest, sizes


@slips({
    "`smallest` is not measured yet": lambda s, z: ({"fgsm": None, "fgm": None}, z),
    "last eps at which fgsm still fails": lambda s, z: (s | {"fgsm": s["fgsm"] - 0.01}, z),
    "position in the grid: `smallest['fgm']`": lambda s, z: (s | {"fgm": round(10 * s["fgm"]) - 1}, z),
    "position in the grid, counted from 1": lambda s, z: (s | {"fgm": round(10 * s["fgm"])}, z),
    "largest eps at which fgsm": lambda s, z: (s | {"fgsm": 0.5}, z),
    "`smallest['fgm']` is not the first": lambda s, z: (s | {"fgm": s["fgsm"]}, z),
    "the wrong way round": lambda s, z: (s, z | {"fgm": z["fgm"][::-1]}),
    "squared L2": lambda s, z: (s, z | {"fgsm": (z["fgsm"][0], z["fgsm"][1] ** 2)}),
    "divided by the number of pixels": lambda s, z: (s, z | {"fgsm": (z["fgsm"][0], z["fgsm"][1] / 784)}),
    "holds eps twice": lambda s, z: (s, z | {"fgm": (s["fgm"], s["fgm"])}),
    "is a pair": lambda s, z: (s, z | {"fgm": 1.0}),
    "is missing": lambda s, z: ({"fgsm": s["fgsm"]}, z),
    "clamping counts": lambda s, z: (s, z | {"fgm": (z["fgm"][0], s["fgm"])}),
})
def test_smallest_eps(words, wrong):
    assert words in hint(checks.smallest_eps, *wrong(*measured()))


# --- 04 ------------------------------------------------------------------------------

def walker(direction=lambda g: g.sign(), ball=lambda point, x, before, eps: x + (point - x).clamp(-eps, eps),
           box=lambda point: point.clamp(0, 1), sign=1, length=lambda eps, step_size: step_size, rounds=lambda n: n,
           anew=True, forget=True, end=lambda point: point):
    def attack(model, x, y, eps, step_size, steps):
        point = x.clone()
        g = torch.zeros_like(x)
        for i in range(rounds(steps)):
            if anew or i == 0:
                g = gradient(model, point, y) + (0 if forget else g)
            before = point
            point = box(ball(before + sign * length(eps, step_size) * direction(g), x, before, eps))
        return end(point)
    return in_evaluation_mode(attack)


@slips({
    "There is no projection": walker(ball=lambda point, x, before, eps: point),
    "around the previous point": walker(ball=lambda point, x, before, eps: before + (point - before).clamp(-eps, eps)),
    "The projection is around 0": walker(ball=lambda point, x, before, eps: point.clamp(-eps, eps)),
    "Wrong sign": walker(sign=-1),
    "The result leaves the ball": walker(ball=lambda point, x, before, eps: x + (point - x).clamp(-2 * eps, 2 * eps)),
    "With steps longer than eps": walker(ball=lambda point, x, before, eps: x + (point - x).clamp(-eps / 2, eps / 2)),
    "step along the gradient itself": walker(direction=lambda g: g),
    "All images get the same noise": walker(direction=lambda g: g.mean(0, keepdim=True).sign()),
    "those of FGM": walker(direction=lambda g: g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)),
    "taken only once": walker(anew=False),
    "of all steps add up": walker(forget=False),
    "one step too few": walker(rounds=lambda n: n - 1 if n == 5 else n),
    "one step too many": walker(rounds=lambda n: n + 1 if n == 5 else n),
    "Each step has length eps": walker(length=lambda eps, step_size: eps),
    "Pixels leave [0, 1]": walker(box=lambda point: point),
    "only at the end": walker(box=lambda point: point, end=lambda point: point.clamp(0, 1)),
    "come back unchanged": in_evaluation_mode(lambda m, x, y, eps, step_size, steps: x + 0 * m(x).sum().detach()),
})
def test_pgd_walk(words, wrong):
    assert words in hint(checks.pgd, wrong)


@slips(BAD_GUESTS)
def test_pgd_as_a_guest(words, wrong):
    assert words in hint(checks.pgd, wrong)


@pytest.fixture(scope="module")
def restarted(hundred):
    """The robust accuracy of the task with 1, 2 and 5 restarts."""
    def pgd(restarts):
        return lambda model, x, y: attacks.pgd(model, x, y, eps=0.1, steps=3, restarts=restarts,
                                               generator=torch.Generator().manual_seed(0))

    return [evaluation.robust_accuracy(*hundred, pgd(restarts)).value for restarts in (1, 2, 5)]


@slips({
    "`accuracy` is not measured yet": lambda one, two, five: {1: one, 2: None, 5: None},
    "it needs 1, 2 and 5": lambda one, two, five: {1: one, 2: two},
    "in percent": lambda one, two, five: {1: 100 * one, 2: 100 * two, 5: 100 * five},
    "accuracy without an attack": lambda *_: {1: 1.0, 2: 1.0, 5: 1.0},
    "success of the attack": lambda one, two, five: {1: 1 - one, 2: 1 - two, 5: 1 - five},
    "rises with more restarts": lambda one, two, five: {1: two, 2: one, 5: five},
    "All three are the same": lambda one, two, five: {1: one, 2: one, 5: one},
    "are not those of attacks.pgd": lambda *_: {1: 0.6, 2: 0.58, 5: 0.5},
})
def test_restarts(words, wrong, restarted):
    assert words in hint(checks.restarts, wrong(*restarted))


def test_checks_leave_the_readers_random_numbers_alone():
    state = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks.fgsm(in_evaluation_mode(step))
    assert torch.equal(torch.random.get_rng_state(), state)


# --- the closed book -------------------------------------------------------------------

from_before = attacks.fgsm


@slips({
    "calls fgsm, the library's own solution": lambda m, x, y, eps: attacks.fgsm(m, x, y, eps=eps),
    "calls pgd, the library's own": lambda m, x, y, eps: attacks.pgd(m, x, y, eps=eps, steps=1, random_start=False),
    "calls fgsm, ": lambda m, x, y, eps: from_before(m, x, y, eps=eps),
    "calls _gradient, ": lambda m, x, y, eps: x + eps * checks.ch03._gradient(m, x, F.cross_entropy).sign(),
})
def test_an_answer_may_not_call_the_solution(words, wrong):
    assert words in hint(checks.fgsm, wrong)


def test_the_size_of_a_perturbation_is_not_asked_of_the_library():
    assert "calls norm, " in hint(checks.sizes, lambda x, adversarial: {"linf": geometry.norm(adversarial - x, "linf")})


def test_every_attack_is_closed_in_a_check_and_open_after_it(lenet, digits):
    for name in attacks.__all__:
        attack = getattr(attacks, name)
        if not isinstance(attack, type):
            with closed_book(), pytest.raises(checks.CheckFailed, match=f"calls {name}, the library's own"):
                attack()
    few = digits[:2]
    assert attacks.fgsm(lenet, few.images, few.labels, eps=0.1).shape == few.images.shape


def test_every_rule_is_closed_in_a_check_decorated_or_not():
    x, y = torch.ones(2, 3), torch.ones(2, 1)
    rules = {"hebb": lambda: hebbian.hebb(x, y), "learn": lambda: hebbian.learn(x, 4, epochs=1),
             "first_component": lambda: hebbian.first_component(x, epochs=1),
             "update_": lambda: krotov_hopfield.update_(torch.ones(4, 3), x, p=2, k=2, delta=0.4, step=0.1)}
    for name, rule in rules.items():
        with closed_book(), pytest.raises(checks.CheckFailed, match=f"calls {name}, the library's own"):
            rule()
        rule()


def test_what_a_check_hands_over_may_be_called(lenet, digits):
    few = digits[:2]
    with closed_book(attacks.fgsm, lenet):
        attacks.fgsm(lenet, few.images, few.labels, eps=0.1)


# --- the judge in another process ------------------------------------------------------------

MISCHIEF = """
import sys
import torch
from advlens import attacks, geometry
from advlens.course import checks
from advlens.course.checks import hint, remote

hint.close = hint.compare = lambda *_, **__: True
hint.require = lambda *_: None
checks.fgsm = lambda _: print("ok  everything")
attacks.fgsm = lambda model, x, y, eps: x
geometry.norm = lambda *_: 0

def idle(model, x, y, eps):
    return x

def solution(model, x, y, eps):
    was = model.training
    model.eval()
    point = x.clone().requires_grad_()
    gradient, = torch.autograd.grad(torch.nn.functional.cross_entropy(model(point), y), point)
    model.train(was)
    return (x + eps * gradient.sign()).clamp(0, 1)

def forgets(model, x, y, eps):
    model.eval()
    return solution(model, x, y, eps)

def changes(model, x, y, eps):
    x.mul_(0.5)
    model(x)
    return x

def fails(model, x, y, eps):
    raise ZeroDivisionError("by me")

def ends(model, x, y, eps):
    sys.exit()

class Trap:
    def __reduce__(self):
        return print, ("caught",)

    def __eq__(self, other):
        return True

trap, letter, share, pair = Trap(), "b", 0.25, {"fgsm": (0.5, torch.ones(2))}
net = torch.nn.Linear(2, 3)
noisy = lambda n: torch.rand(n)
remote.serve(sys.argv[1], globals())
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """ask(test) -> Verdict: the answers stand in another process, which did all it can to be right."""
    folder = tmp_path_factory.mktemp("judge")
    address = str(folder / "socket")
    with Listener(address) as listener:
        process = subprocess.Popen([sys.executable, "-c", MISCHIEF, address])
        with listener.accept() as connection:
            names = {"torch": torch, "checks": checks, "attacks": attacks, "geometry": geometry}
            yield lambda test: judge(textwrap.dedent(test), names, remote.Answers(connection))
    process.wait(20)


@pytest.mark.parametrize("test, error", {
    "checks.fgsm(solution)": None,
    "checks.fgsm(idle)": "The model was never called",
    "checks.fgsm(forgets)": "comes back in another mode",
    "checks.fgsm(changes)": "changed the images of your caller in place",
    "checks.fgsm(fails)": "fails stopped with ZeroDivisionError: by me",
    "checks.fgsm(unknown)": "name 'unknown' is not defined",
    "assert letter == 'b' and share == 0.25": None,
    "assert pair['fgsm'][0] == 0.5 and pair['fgsm'][1].sum() == 2": None,
    "assert letter == 'c', 'not c'": "not c",
    "assert trap == 'b', 'a trap is no letter'": "a trap is no letter",
    "assert net(torch.zeros(5, 2)).shape == (5, 3)": None,
    "torch.manual_seed(3); a = noisy(4); torch.manual_seed(3); assert torch.equal(a, torch.rand(4))": None,
    "torch.manual_seed(3); assert not torch.equal(noisy(4), noisy(4))": None,
}.items(), ids=lambda value: None if value is None else re.sub(r"\W+", "-", value)[:40])
def test_an_answer_in_another_process_is_judged_like_one_here(elsewhere, test, error, capsys):
    verdict = elsewhere(test)
    if error is None:
        assert verdict.error is None
    else:
        assert error in verdict.error[1]
    assert "everything" not in verdict.printed and "caught" not in capsys.readouterr().out


def test_a_hint_of_the_judge_is_a_hint(elsewhere):
    assert elsewhere("checks.fgsm(idle)").error[0] == "CheckFailed"
    assert elsewhere("checks.fgsm(solution)").printed.count("ok  ") == 3


@pytest.mark.parametrize("forged", [b"", b"\x80\x04N.", b"PK\x03\x04"], ids=["empty", "pickle", "zip"])
def test_what_is_no_plain_data_is_refused(forged):
    here, there = multiprocessing.Pipe()
    there.send_bytes(forged)
    assert judge("assert letter == 'b'", {}, remote.Answers(here)).error is not None


def test_an_answer_that_goes_away_is_an_error():
    here, there = multiprocessing.Pipe()
    there.close()
    assert judge("letter", {}, remote.Answers(here)).error == ("Interrupted", "the answer did not come back")
