"""The HTML of the live lab: native controls that lab.js fills with life, and what stands there without it."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Mapping, Sequence

HINTS = {"fgsm": "One step: every pixel moves by ε, up or down.",
         "fgm": "One step of length ε along the gradient.",
         "pgd": "Many small steps, kept within ε.",
         "ddn": "Looks for the shortest change; ε is what it finds."}
GROUPS = {"mnist": "Digits", "digits": "Digits", "cifar10": "Photographs", "shapes": "Shapes"}
GOALS = {"fooled": "LeNet is fooled", "kept": "the residual net, shown the same picture, is right",
         "small": "no pixel changed by more than 0.05"}
# Shows the live form instead of the picture while the page is still being read: nothing moves later.
SWAP = ("{const e=document.currentScript.parentNode;e.children[0].hidden=true;e.children[1].hidden=false;"
        "for(const d of e.querySelectorAll('details[data-wide]'))d.open=innerWidth>=1000}")


def whole(key: str, spec: dict, pictures: Sequence[tuple[str, str, str]], words: str) -> str:
    """The lab: what stands there without JavaScript, the form, what lab.js must know, and a line that swaps the two.

    key: begins every id and name.  spec: see lab.py.  pictures: (caption,
    alternative text, address of an image), which `words` describe.
    """
    told = json.dumps(spec, separators=(",", ":")).replace("</", "<\\/")
    return _one_line(f"""
        <div class="lens-lab{' lens-lab-full' if spec['full'] else ''}" data-lens="lab"
             data-nets="{len(spec['start']['nets'])}">
        <div class="lens-lab-still"><div class="lens-lab-view">{"".join(_still(*picture) for picture in pictures)}</div>
        <p class="lens-lab-verdict">{escape(words)}</p>
        <p class="lens-lab-hint">With JavaScript, or in a notebook, you choose the image and move epsilon yourself.</p>
        </div>
        <div class="lens-lab-live" hidden>{_live(key, spec)}</div>
        <script type="application/json" class="lens-lab-spec">{told}</script>
        <script>{SWAP}</script></div>""")


def _one_line(html: str) -> str:
    return re.sub(r"\s*\n\s*", " ", html).strip()


def _still(caption: str, alt: str, address: str) -> str:
    return f"""<div class="lens-lab-tile"><p class="lens-lab-caption">{escape(caption)}</p>
        <div class="lens-lab-frame">
        <img class="lens-lab-pixels" alt="{escape(alt)}" src="{address}"></div></div>"""


def _live(key: str, spec: dict) -> str:
    full, choice = spec["full"], spec["attacks"]
    parts = [_view(key, spec), _epsilon(key, spec)]
    if len(choice) > 1:
        parts += [_segments(key, "attack", "Attack", choice, spec["start"]["attack"]),
                  f'<p class="lens-lab-hint" data-lab="about">{HINTS[spec["start"]["attack"]]}</p>']
    if {"pgd", "ddn"} & set(choice):
        parts.append(_walk(key, spec))
    parts.append(_tools(full))
    return "".join(parts + [_settings(key, spec), _challenge()] if full else parts)


# --- the image; then for each network the noise, the sum, the answers and the verdict -------------


def _view(key: str, spec: dict) -> str:
    ink = '<canvas class="lens-lab-ink" data-lab="ink" width="280" height="280" aria-hidden="true"></canvas>'
    pad = _tile("pad", "the image", _canvas("original", spec, "the image") + ink)
    return f"""<div class="lens-lab-view">{_pick(key, spec)}{pad}
        {"".join(_net(net, spec) for net in spec["nets"])}</div>"""


def _pick(key: str, spec: dict) -> str:
    """Radio buttons: an empty page to draw on, and ten images."""
    group = spec["groups"][spec["start"]["data"]]
    channels, height, width = group["shape"]
    choices = []
    if channels == 1 or spec["full"]:
        choices.append(f"""<label class="lens-lab-thumb" title="draw your own" data-lab="blank">
            <input type="radio" name="{key}-image" value="draw" aria-label="an empty page to draw on">
            <span aria-hidden="true"><svg viewBox="0 0 24 24"><path d="M4 20l1-4L16 5l3 3L8 19z M14 7l3 3"/></svg>
            </span></label>""")
    for k, label in enumerate(group["labels"]):
        checked = " checked" if k == spec["start"]["image"] else ""
        choices.append(f"""<label class="lens-lab-thumb"><input type="radio" name="{key}-image" value="{k}"
            aria-label="test image: {escape(group["classes"][label])}"{checked}>
            <canvas width="{width}" height="{height}" aria-hidden="true"></canvas></label>""")
    return f"""<fieldset class="lens-lab-pick"><legend class="lens-lab-hidden">Image</legend>
        {"".join(choices)}</fieldset>"""


def _net(net: str, spec: dict) -> str:
    group = next(group for group in spec["groups"].values() if net in group["nets"])
    limit = f'{group["limits"]["noise"]:g}'
    bars = "".join(f'<div class="lens-lab-bar"><span>{escape(name)}</span><i></i><b></b></div>'
                   for name in group["classes"])
    bars = f'<div class="lens-lab-bars" data-lab="bars" role="img" aria-label="answers">{bars}</div>'
    scale = f'−{limit} <span class="lens-lab-scale" aria-hidden="true"></span> +{limit}'
    return f"""<section class="lens-lab-net" data-net="{net}" aria-label="{escape(spec["nets"][net])}"
        {"" if net in spec["start"]["nets"] else "hidden"}>
        <p class="lens-lab-verdict" data-lab="verdict" role="status">&nbsp;</p>
        {_tile("noise", "+ noise", _canvas("noise", spec, "no noise yet"), scale)}
        {_tile("seen", "= <span>what the net </span>sees", _canvas("seen", spec, "what the network sees"))}
        {_tile("answers", "→ <span>what it </span>says", bars)}</section>"""


def _tile(name: str, caption: str, inside: str, foot: str = "&nbsp;") -> str:
    return f"""<div class="lens-lab-tile lens-lab-{name}">
        <p class="lens-lab-caption" data-lab="{name}-caption">{caption}</p>
        <div class="lens-lab-frame">{inside}</div><p class="lens-lab-foot" data-lab="{name}-foot">{foot}</p></div>"""


def _canvas(name: str, spec: dict, label: str) -> str:
    _, height, width = spec["groups"][spec["start"]["data"]]["shape"]
    return f"""<canvas class="lens-lab-pixels" data-lab="{name}" width="{width}" height="{height}" role="img"
        aria-label="{label}"></canvas>"""


# --- controls --------------------------------------------------------------------------------------


def _slider(key: str, name: str, label: str, low: float, high: float, step: float, value: float, *,
            mark: str = "", ends: str = "") -> str:
    """A range input with its label and its value above, a mark on it, and what stands below its ends."""
    flip = f'<span class="lens-lab-flip" data-lab="{mark}" hidden aria-hidden="true"></span>' if mark else ""
    return f"""<div class="lens-lab-slider">
        <div class="lens-lab-line"><label for="{key}-{name}">{label}</label>
        <b data-lab="{name}-value" aria-hidden="true">{value:g}</b></div>
        <div class="lens-lab-track"><input type="range" id="{key}-{name}" data-lab="{name}"
        min="{low:g}" max="{high:g}" step="{step:g}" value="{value:g}">{flip}</div>{ends}</div>"""


def _epsilon(key: str, spec: dict) -> str:
    start = spec["start"]
    far, step = spec["groups"][start["data"]]["limits"][start["norm"]]
    ends = f"""<div class="lens-lab-ends"><span>0</span><span data-lab="found"></span>
        <span data-lab="far">{far:g}</span></div>"""
    return _slider(key, "eps", 'epsilon <span data-lab="unit">the most a pixel may change</span>', 0, far, step,
                   start["eps"], mark="flip", ends=ends)


def _walk(key: str, spec: dict) -> str:
    """The walk, step by step: a slider, and the loss along the way."""
    hidden = "" if spec["start"]["attack"] in ("pgd", "ddn") else " hidden"
    slider = _slider(key, "step", "step of the walk", 0, spec["start"]["steps"], 1, 0, mark="turn")
    return f"""<div class="lens-lab-walk" data-lab="walk"{hidden}>{slider}
        <div class="lens-lab-loss"><svg viewBox="0 0 300 72" preserveAspectRatio="none" data-lab="loss" role="img"
        aria-label="the loss along the walk"></svg></div>
        <p class="lens-lab-hint">The loss that the attack climbs:
        <span data-lab="loss-words">the log-odds of a wrong answer</span>. Dashed: as likely as not.</p></div>"""


def _segments(key: str, name: str, legend: str, options: Mapping[str, str], chosen: str) -> str:
    """A few choices side by side, of which one holds."""
    radios = "".join(f"""<label><input type="radio" name="{key}-{name}" value="{value}"
        {"checked" if value == chosen else ""}><span>{escape(text)}</span></label>"""
                     for value, text in options.items())
    return f'<fieldset class="lens-lab-segments"><legend>{legend}</legend><div>{radios}</div></fieldset>'


def _checks(legend: str, boxes: Sequence[str]) -> str:
    """A few choices side by side, each for itself; boxes: the attributes of each input, and its text."""
    return f'<fieldset class="lens-lab-segments"><legend>{legend}</legend><div>{"".join(boxes)}</div></fieldset>'


def _check(attributes: str, text: str) -> str:
    return f'<label><input type="checkbox" {attributes}><span>{escape(text)}</span></label>'


def _select(name: str, label: str, first: str) -> str:
    return f"""<label class="lens-lab-field"><span>{label}</span>
        <select data-lab="{name}"><option value="">{first}</option></select></label>"""


def _tools(full: bool) -> str:
    smallest = '<button type="button" data-lab="smallest">Smallest ε</button>'
    share = '<button type="button" data-lab="share">Copy link</button>'
    undo = '<button type="button" data-lab="undo" disabled>Undo</button>'
    link = '<a data-lab="open" hidden>Open in the lab</a>'
    return f"""<div class="lens-lab-tools">{undo + smallest + share if full else smallest + link}</div>
        <p class="lens-lab-hint" data-lab="note" role="status"></p>"""


def _settings(key: str, spec: dict) -> str:
    start = spec["start"]
    nets = [_check(f'name="{key}-nets" value="{net}" {"checked" if net in start["nets"] else ""}', text)
            for net, text in spec["nets"].items()]
    jpeg = [_check('data-lab="jpeg"', "switch it on"), _check('data-lab="adaptive"', "the attack knows")]
    norms = {"linf": "largest pixel", "l2": "length"}
    return f"""<details class="lens-lab-more" data-wide><summary>Networks, norm, steps, target, JPEG</summary>
        <div class="lens-lab-grid">
        {_segments(key, "data", "Images", {name: GROUPS[name] for name in spec["groups"]}, start["data"])}
        {_checks("Networks, side by side", nets)}
        {_select("source", "Noise", "each network its own")}{_select("target", "Aim", "any other answer")}
        {_segments(key, "norm", "PGD measures a change by its", norms, start["norm"])}
        {_slider(key, "steps", "steps of PGD", 1, 40, 1, start["steps"])}
        {_checks("JPEG in front of the network", jpeg)}
        {_slider(key, "quality", "quality of the JPEG", 5, 95, 5, 50)}</div></details>"""


def _challenge() -> str:
    goals = "".join(f"""<li data-lab="goal-{name}"><span class="lens-lab-hidden" data-said>not yet: </span>
                    {text}</li>""" for name, text in GOALS.items())
    return f"""<details class="lens-lab-more lens-lab-challenge">
        <summary>Challenge: fool one network and not the other</summary>
        <p>Fool LeNet at ε = 0.05 and keep the residual net right. The noise is made on LeNet; both see the same
        picture. A few of the ten digits give in at once. For how many can you do it?</p>
        <ul>{goals}</ul><p data-lab="solved" role="status"></p>
        <div class="lens-lab-tools"><button type="button" data-lab="challenge">Take the challenge</button></div>
        </details>"""
