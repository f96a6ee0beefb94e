"""The live lab's engine, in a browser, against the library in float64: the same logits, gradients, attacks and bytes.

No site is built: a page of two lines loads book/_static/lab, as every page of the book does.
Images are real ones where $ADVLENS_DATA has them, else embedded: the arithmetic is the same.
"""

import base64
import functools
import importlib.util
import re
import runpy
import shutil
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from advlens import attacks, data, zoo
from advlens.attacks.boundary import succeeds
from advlens.attacks.losses import log_odds
from advlens.jpeg import JPEG, compress
from advlens.models import IdentityBlock
from conftest import ROOT, served

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import lab_assets  # noqa: E402

LAB = ROOT / "book" / "_static" / "lab"
NETS = [(net, trained_on) for net in lab_assets.NETS for trained_on in zoo.NETWORKS[net][1:]]
MAIN = [(net, zoo.NETWORKS[net][1]) for net in lab_assets.NETS]
STAND_IN = {"mnist": "digits", "cifar10": "shapes"}
COUNT = 50
KINKS = 2  # of them
PAGE = '<!doctype html><meta charset="utf-8">%s<title>lab</title><script src="_static/lab/backend.js"></script>'
POLICIES = {  # what a host may forbid -> what is left
    "": {"worker": True, "wasm": True},
    "script-src 'self'; worker-src blob:": {"worker": True, "wasm": False},
    "script-src 'self' 'wasm-unsafe-eval'; worker-src 'none'": {"worker": False, "wasm": True},
    "script-src 'self'": {"worker": False, "wasm": False},
}
HELP = """() => { globalThis.help = {
    floats: (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer),
    text: (numbers) => { const bytes = new Uint8Array(Float32Array.from(numbers).buffer); let s = '';
        for (const byte of bytes) s += String.fromCharCode(byte); return btoa(s); },
    rows: (text, n) => { const all = help.floats(text), size = all.length / n;
        return Array.from({ length: n }, (_, i) => all.slice(i * size, (i + 1) * size)); },
    failure: (promise) => promise.then(() => 'no error', (error) => `${error.name}: ${error.message}`),
}; }"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The lab as the built site has it, and one page for each policy."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(LAB, folder / "_static" / "lab")
    lab_assets.write(folder / "_static" / "lab")
    for i, policy in enumerate(POLICIES):
        told = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
        (folder / f"{i}.html").write_text(PAGE % told)
    return folder


@pytest.fixture(scope="session")
def home(folder):
    with served(folder) as address:
        yield address


@pytest.fixture(scope="session")
def open_page(browser):
    """open_page(address) -> a page with the helpers, whose errors fail the test that looks at page.errors."""
    context = browser.new_context()
    context.set_default_timeout(600_000)

    def open_page(address):
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(address)
        page.evaluate(HELP)
        return page

    yield open_page
    context.close()


@pytest.fixture(scope="session")
def lab(open_page, home):
    """A page with a backend, and with all parts loaded."""
    return with_backend(open_page(f"{home}/0.html"))


@pytest.fixture(scope="session")
def plain_lab(open_page, home):
    """The same where WebAssembly is forbidden."""
    return with_backend(open_page(f"{home}/1.html"))


def with_backend(page):
    page.how = page.evaluate("async () => { globalThis.backend = lensLab.backend(); return await backend.how(); }")
    return page


def packed(images) -> str:
    return base64.b64encode(images.detach().float().numpy().tobytes()).decode()


def unpacked(text: str, *shape) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32).view(*shape).double()


@functools.cache
def sample(name: str) -> data.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", data.StandInWarning)
        return data.load(name, "test", fallback=STAND_IN.get(name)).sample(COUNT, seed=0)


@functools.cache
def exact(net: str, trained_on: str) -> nn.Module:
    return zoo.pretrained(net, trained_on).double()


# --- networks: logits and gradients ---------------------------------------------------

PASSES = """([net, images, seeds, n, convolve, engine]) => {
    const make = engine ? (0, eval)(`(${engine})`) : lensLab.makeEngine, made = make(convolve);
    if (Boolean(convolve) !== made.wasm) throw new Error(`wasm: ${made.wasm}`);
    const compiled = made.compile(net), logits = [], gradients = [], rows = help.rows(seeds, n);
    help.rows(images, n).forEach((x, i) => {
        logits.push(...compiled.forward(x)); gradients.push(...compiled.backward(rows[i])); });
    return [help.text(logits), help.text(gradients)]; }"""


def hold_together(page, net: dict, model: nn.Module, x: torch.Tensor, convolve, engine=None) -> None:
    """Logits of images (N, C, H, W), and gradients of the log-odds against class 3: the engine's against torch's."""
    with torch.no_grad():
        z = model(x.double())
    logits = z.clone().requires_grad_()
    seeds, = torch.autograd.grad(log_odds(logits, torch.full((len(x),), 3)).sum(), logits)
    seeds = seeds.float()
    ours, slope = page.evaluate(PASSES, [net, packed(x), packed(seeds), len(x), convolve, engine])
    slope = unpacked(slope, *x.shape)
    assert (unpacked(ours, *z.shape) - z).abs().max() <= 2e-5
    agree = [agrees(slope[[i]], model, x[[i]].double(), seeds[[i]]) for i in range(len(x))]
    # In float32 a number in some layer may fall on the other side of a kink: rarely, and then it is a slope nearby.
    kinked = [i for i, agreed in enumerate(agree) if not agreed]
    assert len(kinked) <= KINKS
    for i in kinked:
        shifts = torch.randn(40, *x.shape[1:], generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        nearby = [x[[i]] + 1e-6 * shift for shift in shifts]
        assert any(agrees(slope[[i]], model, point, seeds[[i]]) for point in nearby)


def agrees(slope, model, point, seeds) -> bool:
    """Is it torch's gradient at the point (1, C, H, W): to 1e-5 of the largest entry, all clear signs alike?"""
    point.requires_grad_()
    expected, = torch.autograd.grad(model(point), point, seeds.double())
    largest, clear = expected.abs().max(), expected.abs() > 2e-5 * expected.abs().max()
    return bool((slope - expected).abs().max() <= 1e-5 * largest
                and largest > 0 and slope.sign()[clear].eq(expected.sign()[clear]).all())


def network(page, net: str, trained_on: str) -> dict:
    key = f"{net}-{trained_on}"
    return page.evaluate("""async (key) => {
        const script = Object.assign(document.createElement('script'), { src: `_static/lab/weights-${key}.js` });
        await new Promise((resolve) => { script.onload = resolve; document.head.append(script); });
        return lensLab.weights[key]; }""", key)


def kernel(page) -> str:
    return page.evaluate("lensLab.convolve")


@pytest.mark.parametrize("fast", [True, False], ids=["wasm", "plain"])
@pytest.mark.parametrize("net, trained_on", NETS)
def test_logits_and_gradients_are_those_of_torch(lab, net, trained_on, fast):
    hold_together(lab, network(lab, net, trained_on), exact(net, trained_on), sample(trained_on).images,
                  kernel(lab) if fast else None)


def small_nets() -> dict[str, tuple[nn.Module, tuple]]:
    """Every layer at sizes that divide nothing, behind layers that make ties and zeros; weights in float16."""
    torch.manual_seed(0)
    nets = {
        "odd convolutions": (nn.Sequential(nn.Conv2d(2, 5, 3), nn.Conv2d(5, 3, 5, padding=1), nn.Conv2d(3, 9, 1),
                                           nn.Flatten(), nn.Linear(9 * 7 * 4, 6)), (2, 11, 8)),
        "ties": (nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * 5 * 4, 6)), (2, 11, 8)),
        "zeros": (nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(36, 6)), (1, 6, 6)),
        "mixed": (nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Sigmoid(), nn.AvgPool2d(3),
                                IdentityBlock(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 6)), (3, 11, 11)),
    }
    for module, _ in nets.values():
        for layer in module.modules():
            norm = isinstance(layer, nn.BatchNorm2d)  # fresh ones do nothing
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
                if tensor.is_floating_point():
                    tensor.data = (torch.rand_like(tensor) + 0.5 if norm else tensor).half().double()
    return {name: (module.eval(), shape) for name, (module, shape) in nets.items()}


SMALL = small_nets()


def described(module: nn.Module, shape: tuple) -> dict:
    layers, tensors = lab_assets.layers(module)
    numbers = b"".join(t.detach().numpy().astype("<f2").tobytes() for t in tensors)
    return {"shape": list(shape), "classes": list("abcdef"), "layers": layers,
            "numbers": base64.b64encode(numbers).decode()}


def few_levels(shape: tuple) -> torch.Tensor:
    """Images of three levels around 0: windows full of ties, and many zeros."""
    return torch.randint(-1, 2, (20, *shape), generator=torch.Generator().manual_seed(0)) / 2


@pytest.mark.parametrize("fast", [True, False], ids=["wasm", "plain"])
@pytest.mark.parametrize("name", SMALL)
def test_every_layer_is_torchs_also_where_pixels_tie_and_at_zero(lab, name, fast):
    module, shape = SMALL[name]
    hold_together(lab, described(module, shape), module, few_levels(shape), kernel(lab) if fast else None)


@pytest.mark.parametrize("place", range(8))
def test_a_spoilt_kernel_is_noticed(lab, place):
    """One of its eight sums subtracts (or multiplies what it should add): the parity test must fail."""
    code = base64.b64decode(kernel(lab))
    add, subtract = b"\xfd\xe4\x01", b"\xfd\xe5\x01"
    places = [found.start() for found in re.finditer(re.escape(add), code)]
    assert len(places) == 8
    spoilt = code[:places[place]] + subtract + code[places[place] + len(add):]
    module, shape = SMALL["odd convolutions"]
    with pytest.raises(AssertionError):
        hold_together(lab, described(module, shape), module, few_levels(shape), base64.b64encode(spoilt).decode())


@pytest.mark.parametrize("name, right, wrong", [
    ("ties", "x[p] > x[best]", "x[p] >= x[best]"),
    ("zeros", "y[i] > 0 ? g", "y[i] >= 0 ? g"),
    ("mixed", "add(d, f.backward(g), g)", "f.backward(g)"),
    ("mixed", "value / (1 + Math.exp(x[i]))", "value"),
    ("odd convolutions", "at(o, c, side - 1 - u, side - 1 - v)", "at(o, c, side - 1 - v, side - 1 - u)"),
    ("odd convolutions", "d0 += w[p + 3] * left", "d0 += w[p + 2] * left"),
])
def test_a_spoilt_layer_is_noticed(lab, name, right, wrong):
    text = lab.evaluate("lensLab.makeEngine.toString()")
    assert text.count(right) == 1
    module, shape = SMALL[name]
    with pytest.raises(AssertionError):
        hold_together(lab, described(module, shape), module, few_levels(shape), None, text.replace(right, wrong))


def test_the_compiled_bytes_are_those_of_the_source():
    if importlib.util.find_spec("wasmtime") is None:
        pytest.skip("wasmtime is not installed (extra `test`), so convolve.wat cannot be compiled here")
    built = runpy.run_path(str(LAB / "build_wasm"))["script"]()
    assert built == (LAB / "convolve.js").read_text(), "run book/_static/lab/build_wasm"


def test_a_layer_that_the_engine_lacks_stops_the_build():
    for layer in (nn.Conv2d(1, 1, 3, stride=2), nn.MaxPool2d(3, stride=2), nn.Tanh()):
        with pytest.raises(ValueError, match="no layer for"):
            lab_assets.layers(nn.Sequential(layer))


# --- attacks, through the worker -------------------------------------------------------

ALL = """async ([request, images, labels, targets]) => {
    const rows = help.rows(images, labels.length), found = [];
    for (let i = 0; i < rows.length; i++)
        found.push(await backend.run({ ...request, x: rows[i], label: labels[i], target: targets?.[i] }));
    const flat = (key) => help.text(found.flatMap((r) => Array.from(r[key])));
    return { adversarial: flat('adversarial'), seen: flat('seen'), clean: found.map((r) => r.clean.prediction),
             predictions: found.map((r) => r.attacked.prediction), success: found.map((r) => r.success),
             norms: found.map((r) => r.norms), work: found.map((r) => r.work),
             milliseconds: found.map((r) => r.milliseconds).sort((a, b) => a - b)[found.length >> 1] }; }"""


def attacked(page, net, trained_on, images, labels, targets=None, **request) -> dict:
    found = page.evaluate(ALL, [{"net": net, "data": trained_on, **request}, packed(images), labels.tolist(),
                                None if targets is None else targets.tolist()])
    for key in ("adversarial", "seen"):
        found[key] = unpacked(found[key], *images.shape)
    print(f"{net}-{trained_on} {request}: {found['milliseconds']:.1f} ms an image, work {found['work'][0]}")
    return found


@pytest.fixture(params=["wasm", "plain"])
def either(request, lab, plain_lab):
    """A page with WebAssembly, or one without, and how many images to attack in it (large networks take long there)."""
    page = lab if request.param == "wasm" else plain_lab
    assert page.how == {"worker": True, "wasm": request.param == "wasm"}
    few = request.param == "plain" and request.node.callspec.params["net"] in ("mnist_resnet", "cifar_net")
    return page, 3 if few else COUNT


@pytest.mark.parametrize("attack", ["fgsm", "fgm"])
@pytest.mark.parametrize("net, trained_on", MAIN)
@pytest.mark.parametrize("targeted", [False, True], ids=["away", "to a target"])
def test_one_step_makes_the_same_pixels(either, net, trained_on, attack, targeted):
    lab, count = either
    model, chosen = exact(net, trained_on), sample(trained_on)[:count]
    x, y, eps = chosen.images.double(), chosen.labels, {"fgsm": 0.05, "fgm": 1.5}[attack]
    goal = (y + 1) % 10 if targeted else y
    found = attacked(lab, net, trained_on, chosen.images, y, goal if targeted else None, attack=attack, eps=eps)
    with torch.no_grad():
        expected = getattr(attacks, attack)(model, x, goal, eps=eps, targeted=targeted)
        clear = (found["adversarial"] - expected).abs() <= 1e-5
        if attack == "fgsm":  # where the slope is next to nothing its sign is nobody's
            assert clear.float().mean() > 0.9999
        else:
            assert (~clear.flatten(1).all(1)).sum() <= KINKS
        logits = model(found["adversarial"])
    assert found["predictions"] == logits.argmax(1).tolist()
    assert found["success"] == succeeds(logits, goal, targeted).tolist()
    assert found["clean"] == model(x).argmax(1).tolist()
    assert all(work == {"forward": 2, "backward": 1} for work in found["work"])


WALKS = {
    "pgd linf": (dict(attack="pgd", norm="linf", eps=0.05, steps=10), False),
    "pgd l2": (dict(attack="pgd", norm="l2", eps=1.0, steps=10), False),
    "pgd linf to a target": (dict(attack="pgd", norm="linf", eps=0.1, steps=10), True),
    "ddn": (dict(attack="ddn", steps=20), False),
    "ddn to a target": (dict(attack="ddn", steps=20), True),
}


@pytest.mark.parametrize("net, trained_on, name", [
    (net, trained_on, name) for net, trained_on in MAIN for name in WALKS
    if net != "cifar_net" or not WALKS[name][1]])  # torch takes a minute for each; targets are the same code
def test_many_steps_end_at_the_same_answer_and_length(either, net, trained_on, name):
    (lab, count), (request, targeted) = either, WALKS[name]
    model, chosen = exact(net, trained_on), sample(trained_on)[:count]
    x, y = chosen.images.double(), chosen.labels
    goal = (y + 1) % 10 if targeted else y
    found = attacked(lab, net, trained_on, chosen.images, y, goal if targeted else None, **request)
    settings = {key: value for key, value in request.items() if key != "attack"}
    if request["attack"] == "pgd":
        settings["random_start"] = False
    expected = getattr(attacks, request["attack"])(model, x, goal, targeted=targeted, **settings)
    with torch.no_grad():
        assert found["predictions"] == model(expected).argmax(1).tolist()
    for norm, order in (("l2", 2), ("linf", torch.inf)):
        if norm == request.get("norm", "l2"):
            lengths = torch.tensor([norms[norm] for norms in found["norms"]])
            theirs = torch.linalg.vector_norm(expected - x, order, (1, 2, 3))
            assert (lengths - theirs).abs().le(0.02 * theirs).all(), (lengths / theirs)
    steps = request["steps"]
    # ddn leaves alone what succeeds already
    assert all(work in ({"forward": steps + 1, "backward": steps}, {"forward": 1, "backward": 0})
               for work in found["work"])


# --- JPEG ------------------------------------------------------------------------------

SHAPES = [(1, 28, 28), (3, 32, 32), (3, 17, 23), (1, 5, 13), (3, 9, 4), (3, 1, 3), (3, 16, 50)]
CODEC = """([images, n, shape, quality, g]) => {
    const codec = lensLab.makeCodec(), rows = help.rows(images, n), slopes = help.rows(g, n);
    return [help.text(rows.flatMap((x) => Array.from(codec.roundTrip(x, shape, quality)))),
            help.text(slopes.flatMap((slope) => Array.from(codec.pullBack(slope, shape))))]; }"""


@pytest.mark.parametrize("quality", [1, 10, 25, 50, 75, 90, 97, 100])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_jpeg_gives_libjpegs_bytes_and_the_straight_through_gradient(lab, shape, quality):
    random = torch.Generator().manual_seed(quality)
    smooth = nn.functional.interpolate(torch.rand(20, shape[0], 3, 3, generator=random), shape[1:], mode="bilinear")
    images = torch.cat([smooth, torch.rand(20, *shape, generator=random), few_levels(shape).abs()])
    if shape in ((1, 28, 28), (3, 32, 32)):
        images = torch.cat([images, sample({1: "mnist", 3: "cifar10"}[shape[0]]).images])
    g = torch.randn(images.shape, generator=random)
    coded, slope = lab.evaluate(CODEC, [packed(images), len(images), shape, quality, packed(g)])
    wrong = (unpacked(coded, *images.shape) * 255).round().ne((compress(images, quality).double() * 255).round())
    assert wrong.sum() == 0
    point = images.double().requires_grad_()
    expected, = torch.autograd.grad(JPEG(quality)(point), point, g.double())
    assert (unpacked(slope, *images.shape) - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("net, trained_on", [("lenet", "mnist"), ("cifar_net", "cifar10")])
@pytest.mark.parametrize("adaptive", [False, True], ids=["bare gradient", "through JPEG"])
def test_behind_jpeg_the_network_sees_the_coded_image(lab, net, trained_on, adaptive):
    model, codec, chosen = exact(net, trained_on), JPEG(30), sample(trained_on)
    x, y = chosen.images.double(), chosen.labels
    defended = nn.Sequential(codec, model)
    found = attacked(lab, net, trained_on, chosen.images, y, attack="fgm", eps=1.5, jpeg=30, adaptive=adaptive)
    expected = attacks.fgm(defended if adaptive else model, x, y, eps=1.5)
    assert ((found["adversarial"] - expected).abs().amax((1, 2, 3)) > 1e-5).sum() <= KINKS
    seen = compress(found["adversarial"].float(), 30).double()
    assert (found["seen"] - seen).abs().max() < 1e-6
    with torch.no_grad():
        assert found["predictions"] == model(seen).argmax(1).tolist()
        assert found["clean"] == defended(x).argmax(1).tolist()
    assert all(work == ({"forward": 2, "backward": 1} if adaptive else {"forward": 4, "backward": 1})
               for work in found["work"])


# --- the response, and the smallest budget --------------------------------------------

def test_the_walk_is_told_as_it_is_made_and_holds_the_result(lab):
    x = sample("digits").images[0]
    response, told, labels = lab.evaluate("""async (x) => { const told = [], at = help.floats(x);
        const request = { net: 'lenet', data: 'digits', x: at, attack: 'pgd', norm: 'l2', eps: 2, steps: 7, seed: 5 };
        const onstep = ({ step, steps, point }) => told.push([step, steps, point.loss]);
        const response = await backend.run(request, { onstep }), again = await backend.run(request);
        const other = await backend.run({ ...request, seed: 6 });
        const same = (a, b) => a.every((v, i) => v === b[i]), long = (a) => Math.hypot(...a.map((v, i) => v - at[i]));
        return [{ losses: response.walk.map((p) => p.loss), best: response.best, success: response.success,
                  probabilities: response.walk.map((p) => p.probabilities), start: long(response.walk[0].x),
                  holds: same(response.walk[response.best].x, response.adversarial),
                  repeats: same(response.adversarial, again.adversarial),
                  differs: !same(response.adversarial, other.adversarial),
                  reach: Math.max(...response.walk.map((p) => long(p.x))) }, told,
                 [response.label, response.clean.prediction]]; }""", packed(x))
    assert told == [[i, 7, loss] for i, loss in enumerate(response["losses"])]
    assert response["holds"] and response["repeats"] and response["differs"]
    assert 0 < response["start"] <= 2 and response["reach"] <= 2 + 1e-5
    assert labels[0] == labels[1]
    for loss, probabilities in zip(response["losses"], response["probabilities"]):
        p = probabilities[labels[0]]
        assert sum(probabilities) == pytest.approx(1)
        assert loss == pytest.approx(torch.tensor((1 - p) / p).log().item(), abs=1e-3, rel=1e-3)
    if response["success"]:
        assert response["losses"][response["best"]] == max(response["losses"])


@pytest.mark.parametrize("attack, norm", [("fgsm", "linf"), ("fgm", "l2"), ("pgd", "linf"), ("pgd", "l2")])
def test_the_smallest_budget_fools_and_a_little_less_does_not(lab, attack, norm):
    model, chosen = exact("lenet", "digits"), sample("digits")
    y = model(chosen.images.double()).argmax(1)
    settings = {"steps": 5} if attack == "pgd" else {}
    found = lab.evaluate("""async ([request, images, n]) => { const found = [];
        for (const x of help.rows(images, n)) found.push(await backend.smallest({ ...request, x }));
        return found.map((r) => [r.eps, r.norm, r.success, r.label, Array.from(r.adversarial ?? [])]); }""",
        [{"net": "lenet", "data": "digits", "attack": attack, "norm": norm, **settings}, packed(chosen.images), COUNT])
    eps, norms, success, labels, images = zip(*found)
    reached = torch.tensor(success)
    assert set(norms) == {norm} and list(labels) == y.tolist() and reached.sum() > 0.8 * COUNT
    assert [e is None for e in eps] == [not s for s in success]
    x, y, eps = chosen.images.double()[reached], y[reached], torch.tensor([e for e in eps if e is not None])
    images = torch.tensor([image for image in images if image]).view_as(x).double()
    run = getattr(attacks, attack)
    if attack == "pgd":
        settings |= {"norm": norm, "random_start": False}
    fooled = lambda budget: run(model, x, y, eps=budget.double(), **settings)
    length = torch.linalg.vector_norm(images - x, {"linf": torch.inf, "l2": 2}[norm], (1, 2, 3))
    assert (length <= eps * (1 + 1e-5)).all() and (model(images).argmax(1) != y).all()
    # On the very edge the last bit decides.
    assert (model(fooled(eps * 1.0001)).argmax(1) != y).float().mean() >= 0.95
    assert (model(fooled(eps / 1.0101)).argmax(1) == y).float().mean() >= 0.95


def test_the_smallest_budget_is_zero_for_a_mistake_and_ddns_is_the_length_that_it_finds(lab):
    chosen = sample("digits")
    zero, ddn, run = lab.evaluate("""async (x) => { const at = help.floats(x), net = 'lenet', data = 'digits';
        const { clean } = await backend.run({ net, data, x: at, attack: 'none' });
        const zero = await backend.smallest({ net, data, x: at, attack: 'pgd', label: (clean.prediction + 1) % 10 });
        const ddn = await backend.smallest({ net, data, x: at, attack: 'ddn', steps: 30 });
        const run = await backend.run({ net, data, x: at, attack: 'ddn', steps: 30 });
        return [[zero.eps, zero.success], [ddn.eps, ddn.norm, ddn.work], [run.norms.l2, run.work]]; }""",
        packed(chosen.images[1]))
    assert zero == [0, True]
    assert ddn[0] == run[0] > 0 and ddn[1] == "l2"
    assert ddn[2] == run[1] == {"forward": 31, "backward": 30}


def test_a_vanished_gradient_gives_a_random_step_inside_the_ball(lab):
    """As geometry.steepest: no direction, but no NaN either."""
    low, high, moved = lab.evaluate("""() => { const x = new Float32Array(16).fill(0.5);
        const net = { shape: [1, 4, 4], classes: ['a', 'b'], forward: () => [1, 0],
                      backward: () => new Float32Array(16) };
        const steps = lensLab.makeAttacks(null).run(net, { x, attack: 'pgd', eps: 0.1, steps: 3 });
        let next = steps.next(), last; for (; !next.done; next = steps.next()) last = next.value.point.x;
        return [Math.min(...last), Math.max(...last), last.filter((v) => v !== 0.5).length]; }""")
    assert 0.4 - 1e-6 <= low < high <= 0.6 + 1e-6 and moved == 16


# --- the worker ------------------------------------------------------------------------

SAME = """async (x) => { const backend = lensLab.backend(), at = help.floats(x), found = [];
    const requests = [{ attack: 'fgsm', eps: 0.1 }, { attack: 'pgd', eps: 0.1, steps: 5 }, { attack: 'ddn', steps: 5 }];
    for (const request of requests)
        found.push(await backend.run({ net: 'lenet', data: 'digits', x: at, label: null, ...request }));
    const adversarial = help.text(found.flatMap((r) => Array.from(r.adversarial)));
    return [await backend.how(), adversarial, found.map((r) => r.attacked.prediction)]; }"""


@pytest.mark.parametrize("number, policy", list(enumerate(POLICIES)), ids=[policy or "open" for policy in POLICIES])
def test_where_workers_or_webassembly_are_forbidden_the_result_is_the_same(open_page, lab, home, number, policy):
    x = packed(sample("digits").images[2])
    _, expected, predictions = lab.evaluate(SAME, x)
    page = open_page(f"{home}/{number}.html")
    how, images, ours = page.evaluate(SAME, x)
    assert how == POLICIES[policy] and not page.errors
    assert ours == predictions
    assert (unpacked(images, -1) - unpacked(expected, -1)).abs().max() < 1e-4
    page.close()


def test_it_works_from_a_file_and_below_a_sub_path(open_page, folder, lab, tmp_path):
    x = packed(sample("digits").images[2])
    expected = lab.evaluate(SAME, x)
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "v1").symlink_to(folder, target_is_directory=True)
    with served(tmp_path) as address:
        for place in ((folder / "0.html").as_uri(), f"{address}/course/v1/0.html"):
            page = open_page(place)
            assert page.evaluate(SAME, x) == expected and not page.errors
            page.close()


LONG = "{ net: 'lenet', data: 'digits', x, attack: 'ddn', steps: 10000000 }"
SHORT = "{ net: 'lenet', data: 'digits', x, attack: 'fgsm', eps: 0.1 }"


@pytest.mark.parametrize("number", [0, len(POLICIES) - 1], ids=["worker", "page"])
def test_the_latest_wins_and_the_page_stays_alive(open_page, home, number):
    page = open_page(f"{home}/{number}.html")
    first, second, third, cancelled, after, alone = page.evaluate(f"""async (x) => {{
        x = help.floats(x); const backend = lensLab.backend(); await backend.warm('lenet', 'digits');
        const calls = [backend.run({LONG}), backend.run({LONG}), backend.run({SHORT})];
        const early = await Promise.all([help.failure(calls[0]), help.failure(calls[1]), calls[2].then((r) => r.work)]);
        const long = backend.smallest({LONG}), waiting = backend.run({SHORT}); backend.cancel();
        const given = await Promise.all([help.failure(long), help.failure(waiting)]);
        const after = (await backend.run({SHORT})).work, alone = backend.run({LONG});
        // If the page stood still this would never end.
        for (let i = 0; i < 10; i++) await new Promise((tick) => setTimeout(tick, 0));
        backend.cancel();
        return [...early, given, after, await help.failure(alone)]; }}""", packed(sample("digits").images[0]))
    assert all(given.startswith("AbortError") for given in (first, second, alone, *cancelled))
    assert third == after == {"forward": 2, "backward": 1}
    page.close()


def test_a_slider_that_is_dragged_shows_its_last_place(lab):
    """Thirty requests in a row: each is answered or given up, in their order, and the last is answered."""
    order, failures, last = lab.evaluate("""async (x) => {
        x = help.floats(x); const order = [], failures = []; let last;
        const calls = Array.from({ length: 30 }, async (_, i) => { await new Promise((r) => setTimeout(r, 10 * i));
            await backend.run({ net: 'lenet', data: 'digits', x, attack: 'fgsm', eps: i / 100 }).then(
                (r) => { order.push(i); last = r.norms.linf; }, (error) => failures.push(error.name)); });
        await Promise.all(calls); return [order, failures, last]; }""", packed(sample("digits").images[0]))
    assert order == sorted(order) and order[-1] == 29 and last == pytest.approx(0.29, abs=1e-6)
    assert len(order) + len(failures) == 30 and set(failures) <= {"AbortError"}


@pytest.mark.parametrize("change, says", [
    ("net: 'alexnet'", "Error: the lab cannot load .*weights-alexnet-digits.js"),
    ("x: new Float32Array(5)", "RangeError: x has 5 numbers; this network needs 1 x 28 x 28 = 784"),
    ("x: new Float32Array(784).fill(2)", r"RangeError: x holds numbers outside \[0, 1\]"),
    ("x: new Float32Array(784).fill(NaN)", r"RangeError: x holds numbers outside \[0, 1\]"),
    ("attack: 'bim'", "RangeError: attack = bim; known: none, fgsm"),
    ("attack: 'pgd', norm: 'l1'", "RangeError: norm = l1; known: linf, l2"),
    ("eps: -1", "RangeError: eps = -1; give a number that is at least 0"),
    ("eps: null", "RangeError: eps = null; fgsm needs a budget"),
    ("label: 10", "RangeError: label = 10; give a class from 0 to 9"),
    ("target: -1", "RangeError: target = -1; give a class from 0 to 9"),
    ("attack: 'pgd', steps: 0", "RangeError: steps = 0"),
    ("jpeg: 101", "RangeError: jpeg = 101; give a whole number from 1 to 100"),
])
def test_a_wrong_request_is_refused_with_a_reason(lab, change, says):
    x = packed(sample("digits").images[0])
    found = lab.evaluate(f"""(x) => {{ x = help.floats(x); return help.failure(backend.run({{
        net: 'lenet', data: 'digits', x, attack: 'fgsm', eps: 0.1, {change} }})); }}""", x)
    assert re.match(says, found)


@pytest.mark.parametrize("net, trained_on, shape", [("lenet", "mnist", [1, 28, 28]),
                                                    ("cifar_net", "shapes", [3, 32, 32])])
def test_warm_says_what_a_network_takes(lab, net, trained_on, shape):
    told = lab.evaluate("([net, data]) => backend.warm(net, data)", [net, trained_on])
    assert told == {"net": net, "data": trained_on, "shape": shape, "classes": list(data.CLASSES[trained_on])}


@pytest.mark.parametrize("form, error, written", [("html", None, True), ("html", ValueError(), False),
                                                  ("dummy", None, False)])
def test_the_build_writes_the_scripts_beside_the_lab(tmp_path, monkeypatch, form, error, written):
    folders = []
    monkeypatch.setattr(lab_assets, "write", folders.append)
    app = SimpleNamespace(outdir=str(tmp_path), builder=SimpleNamespace(format=form))
    lab_assets.write_into_site(app, error)
    assert folders == ([tmp_path / "_static" / "lab"] if written else [])


def test_weights_that_float16_would_change_stop_the_build(monkeypatch):
    net = zoo.pretrained("lenet", "digits")
    net[1].weight[0, 0, 0, 0] += 1e-5
    monkeypatch.setattr(zoo, "pretrained", lambda *_: net)
    with pytest.raises(ValueError, match="lenet-digits: the checkpoint is not in float16"):
        lab_assets.weights("lenet", "digits")
