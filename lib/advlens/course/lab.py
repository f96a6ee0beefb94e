"""The live lab: the book's own networks, attacked while the reader looks.

One page holds the form of it (this module writes it as HTML), one ES module brings it to
life (lab.js), and two homes compute: in a notebook `answer` below does, with
`advlens.attacks`; on the site the same requests go to the engine in book/_static/lab,
whose backend.js documents what is asked and answered.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import zlib
from functools import partial
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry, jpeg, zoo
from advlens.attacks.losses import log_odds
from advlens.course import lab_form
from advlens.course.widgets import Lens
from advlens.inputs import check_known

HERE = Path(__file__).parent
NETS = {"lenet": "LeNet", "mnist_resnet": "Residual net", "fully_connected": "Fully connected", "cifar_net": "CifarNet"}
ATTACKS = {"fgsm": "FGSM", "fgm": "FGM", "pgd": "PGD", "ddn": "DDN"}
NORM = {"fgsm": "linf", "fgm": "l2", "ddn": "l2"}  # pgd chooses
# How far the slider goes and its step, for each norm; the noise is drawn at one scale throughout.
LIMITS = {"grey": {"linf": [0.3, 0.005], "l2": [4.0, 0.05], "noise": 0.2},
          "colour": {"linf": [0.1, 0.002], "l2": [2.0, 0.02], "noise": 0.05}}
DDN_STEPS = 50
BISECTIONS = 12


def lab(net: str | Sequence[str] = "lenet", attack: str | Sequence[str] = "fgsm", *, eps: float | None = None,
        steps: int = 10, data: str | None = None, index: int = 0, target: int | None = None):
    """A small live lab: choose an image, move a slider, and see what the network says.

    net: one of NETS, or several to stand side by side.  attack: one of ATTACKS, or several
    to choose from.  eps: where the slider starts, in pixel units; by default at 0, and for
    pgd at a third of the slider with the walk before its first step.  steps: of pgd, 1 to
    40.  data: "mnist" or "digits" ("cifar10" or "shapes" for cifar_net); by default the
    real one, or the embedded one where that is not at hand.  index: which of the ten
    images (one of each class) is chosen at first.  target: the class to reach, or None.
    Raises ValueError for a name or number outside of these.
    """
    return _widget([_group(net, data)], attack, eps=eps, steps=steps, index=index, target=target, full=False)


def page(*names: str):
    """The whole lab, with everything that there is to choose.

    names: data sets, by default "mnist" and "cifar10"; each brings the networks that were
    trained on it.  Where one is not at hand, its embedded stand-in is taken.
    """
    groups = [_group([net for net in NETS if name in zoo.NETWORKS[net]], name)
              for name in names or ("mnist", "cifar10")]
    return _widget(groups, list(ATTACKS), full=True)


class Group(NamedTuple):
    """Networks that see the same images."""

    nets: list[str]
    images: data.Dataset  # ten, one of each class


def _group(nets: str | Sequence[str], name: str | None) -> Group:
    nets = [nets] if isinstance(nets, str) else list(nets)
    for net in nets:
        check_known("net", net, NETS)
    real, embedded = zoo.NETWORKS[nets[0]][1:]
    if {zoo.NETWORKS[net][1:] for net in nets} != {(real, embedded)}:
        raise ValueError(f"{', '.join(nets)} do not see the same images: put only nets of the same data side by side")
    name = name or real
    check_known("data", name, (real, embedded))
    loaded = data.load(name, "test", fallback=embedded) if name == real else data.load(name, "test")
    first = [int((loaded.labels == k).nonzero()[0]) for k in range(len(loaded.classes))]
    return Group(nets, loaded[first])


def _widget(groups: list[Group], attack: str | Sequence[str], *, eps: float | None = None, steps: int = 10,
            index: int = 0, target: int | None = None, full: bool):
    names = [attack] if isinstance(attack, str) else list(attack)
    for name in names:
        check_known("attack", name, ATTACKS)
    first, images = groups[0].nets, groups[0].images
    if not 1 <= steps <= 40:
        raise ValueError(f"steps = {steps}; give 1 to 40")
    if not 0 <= index < len(images):
        raise ValueError(f"index = {index}; there are {len(images)} images, counted from 0")
    if target is not None and not 0 <= target < len(images.classes):
        raise ValueError(f"target = {target}; classes are counted from 0 to {len(images.classes) - 1}")
    norm = NORM.get(names[0], "linf")
    far = LIMITS[_kind(images)][norm][0]
    before = eps is None and names[0] == "pgd"  # the walk is the event, so it starts at its step 0
    eps = (round(far / 3, 3) if before else 0.0) if eps is None else float(eps)
    if not 0 <= eps <= far:
        raise ValueError(f"eps = {eps}; the slider goes from 0 to {far}")
    start = {"data": images.name, "nets": first[:1] if full else first, "source": "", "attack": names[0], "norm": norm,
             "eps": eps, "steps": steps, "target": target, "jpeg": None, "adaptive": False, "image": index,
             "step": 0 if before else None}
    spec = {"full": full, "start": start, "attacks": {k: ATTACKS[k] for k in names},
            "nets": {net: NETS[net] for group in groups for net in group.nets}, "ddn": DDN_STEPS,
            "hints": lab_form.HINTS, "groups": {group.images.name: _described(group) for group in groups}}
    return Lab(spec, _html(spec, groups[0]))


def _described(group: Group) -> dict:
    """What the page knows of a group before anything is computed: the images, and what the nets say to them."""
    levels = group.images.images.mul(255).round().to(torch.uint8).numpy()
    return {"nets": group.nets, "shape": list(levels.shape[1:]), "classes": list(group.images.classes),
            "labels": group.images.labels.tolist(), "source": group.images.source,
            "limits": LIMITS[_kind(group.images)], "pixels": base64.b64encode(levels.tobytes()).decode(),
            "clean": {net: [[round(p, 4) for p in row] for row in evaluation.logits(
                _net(net, group.images.name), group.images.images).softmax(1).tolist()] for net in group.nets}}


def _kind(images: data.Dataset) -> str:
    return "grey" if images.images.shape[1] == 1 else "colour"


@functools.lru_cache(maxsize=8)
def _net(name: str, on: str) -> nn.Module:
    return zoo.pretrained(name, on)


# --- what lab.js asks, answered by advlens.attacks ---------------------------------------


class Watched(nn.Module):
    """The model, and every point at which an attack asked it, with the answer: the walk."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.points, self.logits = model, [], []

    def forward(self, x: Tensor) -> Tensor:
        z = self.model(x)
        self.points.append(x.detach())
        self.logits.append(z.detach())
        return z


def answer(request: dict, x: Tensor) -> tuple[dict, list[Tensor]]:
    """The response to one request of the lab's protocol (book/_static/lab/backend.js).

    x: the image, (1, C, H, W) in [0, 1].  Returns what JSON can say, and images (n, C, H, W):
    for "run" the adversarial one, what the network sees of it, then every point of the walk;
    for "smallest" the adversarial one, or nothing where nothing fools.
    """
    check_known("kind", request["kind"], ("run", "smallest"))
    net = _net(request["net"], request["data"])
    defended = _defended(net, request["jpeg"])
    clean = _said(defended, x)
    label = clean["prediction"] if request["label"] is None else request["label"]
    request = request | {"label": label}
    asked = Watched(defended if request["adaptive"] else net)
    return (_run if request["kind"] == "run" else _smallest)(request, x, asked, defended, clean)


def _run(request: dict, x: Tensor, asked: Watched, defended: nn.Module, clean: dict) -> tuple[dict, list[Tensor]]:
    adversarial = _attack(request, asked, x)
    if request["attack"] in ("none", "fgsm", "fgm") or len(asked.points) == 1:  # nobody judged the result yet
        asked(adversarial)
    points, logits = asked.points, torch.cat(asked.logits)
    best = min(range(len(points)), key=lambda k: float((points[k] - adversarial).abs().max()))
    attacked, d = _said(defended, adversarial), adversarial - x
    sign = 1 if request["target"] is None else -1
    goal = torch.tensor([request["label"] if request["target"] is None else request["target"]]).expand(len(points))
    walk = [{"loss": loss, "probabilities": p} for loss, p in
            zip((sign * log_odds(logits, goal)).tolist(), logits.softmax(1).tolist())]
    seen = _coded(adversarial, request["jpeg"])
    return ({"clean": clean, "attacked": attacked, "walk": walk, "best": best, "label": request["label"],
             "norms": {p: float(geometry.norm(d, p)) for p in ("l2", "linf")},
             "success": _fools(attacked["prediction"], request)}, [adversarial, seen, *points])


def _smallest(request: dict, x: Tensor, asked: Watched, defended: nn.Module, clean: dict) -> tuple[dict, list[Tensor]]:
    """The least eps at which the chosen attack fools, by bisection; ddn says it itself."""
    norm = request["norm"] if request["attack"] == "pgd" else NORM[request["attack"]]

    def tried(eps: float) -> Tensor | None:
        adversarial = _attack(request | {"eps": eps}, asked, x)
        return adversarial if _fools(_said(defended, adversarial)["prediction"], request) else None

    said = {"norm": norm, "label": request["label"], "success": True}
    nothing = said | {"eps": None, "success": False}, []
    if _fools(clean["prediction"], request):
        return said | {"eps": 0.0}, [x]
    if request["attack"] == "ddn":
        found = tried(0.0)
        return nothing if found is None else (said | {"eps": float(geometry.norm(found - x, "l2"))}, [found])
    farthest = 1.0 if norm == "linf" else x.numel() ** 0.5
    low, high = 0.0, farthest / 256
    while (found := tried(high)) is None and high < farthest:
        low, high = high, min(2 * high, farthest)
    if found is None:
        return nothing
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        better = tried(middle)
        low, high, found = (middle, high, found) if better is None else (low, middle, better)
    return said | {"eps": high}, [found]


def _attack(request: dict, model: nn.Module, x: Tensor) -> Tensor:
    targeted = request["target"] is not None
    y = torch.tensor([request["target"] if targeted else request["label"]])
    eps, steps = request["eps"], request["steps"]
    seed = request["seed"]
    run: dict[str, Callable[[], Tensor]] = {
        "none": lambda: x,
        "fgsm": lambda: attacks.fgsm(model, x, y, eps=eps, targeted=targeted),
        "fgm": lambda: attacks.fgm(model, x, y, eps=eps, targeted=targeted),
        "pgd": lambda: attacks.pgd(model, x, y, eps=eps, norm=request["norm"], steps=steps or 40, targeted=targeted,
                                   step_size=request["stepSize"], random_start=seed is not None,
                                   generator=None if seed is None else torch.Generator().manual_seed(seed)),
        "ddn": lambda: attacks.ddn(model, x, y, steps=steps or 100, targeted=targeted)}
    check_known("attack", request["attack"], run)
    return run[request["attack"]]()


def _defended(net: nn.Module, quality: int | None) -> nn.Module:
    return net if quality is None else attacks.BPDA(net, partial(jpeg.compress, quality=quality))


def _coded(x: Tensor, quality: int | None) -> Tensor:
    return x if quality is None else jpeg.compress(x, quality)


@torch.no_grad()
def _said(model: nn.Module, x: Tensor) -> dict:
    z = model(x)[0]
    return {"logits": z.tolist(), "probabilities": z.softmax(0).tolist(), "prediction": int(z.argmax())}


def _fools(prediction: int, request: dict) -> bool:
    return prediction == request["target"] if request["target"] is not None else prediction != request["label"]


# --- its two homes ---------------------------------------------------------------------------


class Lab(Lens):
    """In a notebook Python answers; what is stored, and what the site shows, is the HTML."""

    _esm = (HERE / "lab.js").read_text(encoding="utf-8")
    _css = (HERE / "lab.css").read_text(encoding="utf-8")

    def __init__(self, spec: dict, html: str):
        super().__init__(html, words=f"The live lab: {', '.join(spec['nets'].values())}")
        self.on_msg(self._asked)

    def _asked(self, _, content: dict, buffers: list) -> None:
        """One request of lab.js: {id, kind, ..., shape} and the pixels.  The id comes back with the response."""
        try:
            x = torch.from_numpy(np.frombuffer(buffers[0], "float32").copy()).view(1, *content["shape"])
            said, images = answer(content, x)
        except Exception as error:  # the page says so, and the next request finds a kernel that still answers
            self.send({"id": content["id"], "error": f"{type(error).__name__}: {error}"})
            return
        pixels = torch.cat(images).numpy().astype("float32").tobytes() if images else b""
        self.send({"id": content["id"], "response": said}, [pixels])


def _html(spec: dict, group: Group) -> str:
    """The lab as it stands in the page: a form for lab.js, and what stands there without it."""
    key = f"lens-lab-{zlib.crc32(json.dumps([spec['start'], spec['attacks'], spec['nets']]).encode()):08x}"
    return lab_form.whole(key, spec, *_still(spec, group))


def _still(spec: dict, group: Group) -> tuple[list[tuple[str, str, str]], str]:
    """The chosen image, the noise and their sum where the first net just gives in, and what the net then says."""
    start, image = spec["start"], group.images[spec["start"]["image"]]
    name, attack = start["nets"][0], start["attack"]
    request = {"kind": "smallest", "net": name, "data": image.name, "label": int(image.labels[0]), "seed": None,
               "attack": attack, "norm": start["norm"], "eps": 0.0, "stepSize": None, "target": start["target"],
               "steps": DDN_STEPS if attack == "ddn" else start["steps"], "jpeg": None, "adaptive": False}
    said, found = answer(request, image.images)
    adversarial = found[0] if found else image.images
    after = _said(_net(name, image.name), adversarial)
    limit = LIMITS[_kind(image)]["noise"]
    largest, length = (float(geometry.norm(adversarial - image.images, p)) for p in ("linf", "l2"))
    words = (f"{NETS[name]} reads this {image.classes[int(image.labels[0])]} as {image.classes[after['prediction']]} "
             f"({max(after['probabilities']):.0%}) after {ATTACKS[attack]}: no pixel changed by more than "
             f"{largest:.2g}, the whole change has length {length:.2g}.")
    return [("the image", "the image", _png(image.images[0])),
            (f"+ noise, ±{limit:g}", "the noise", _png(_signed((adversarial - image.images)[0], limit))),
            ("= it sees", "what the network sees", _png(adversarial[0]))], words


def _signed(d: Tensor, limit: float) -> Tensor:
    """Noise (C, H, W) as colours with opacity, (4, H, W): orange up, blue down, nothing where nothing changed."""
    t = d.mean(0).div(limit).clamp(-1, 1)
    up, down = torch.tensor([213, 94, 0]) / 255, torch.tensor([0, 114, 178]) / 255
    colour = torch.where(t[None] > 0, up.view(3, 1, 1), down.view(3, 1, 1))
    return torch.cat([colour, t.abs()[None]])


def _png(x: Tensor) -> str:
    """(C, H, W) in [0, 1] with C = 1, 3 or 4 as a data address."""
    levels = x.mul(255).round().to(torch.uint8).permute(1, 2, 0).squeeze(-1).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
