"""The HTML of the live lab: native controls that lab.js fills with life, and what stands there without it."""

from __future__ import annotations

import json
from html import escape
from typing import Sequence

ABOUT = {"fgsm": "One step: every pixel moves by ε, up or down.",
         "fgm": "One step of length ε along the gradient.",
         "pgd": "Many small steps, kept within ε.",
         "ddn": "Looks for the shortest change; ε is what it finds."}
# Shows the live form instead of the picture while the page is still being read: nothing moves later.
SWAP = ("{const e=document.currentScript.parentNode;e.children[0].hidden=true;e.children[1].hidden=false;"
        "for(const d of e.querySelectorAll('details[data-wide]'))d.open=innerWidth>=1000}")


def whole(key: str, spec: dict, still: str) -> str:
    """The lab: the still picture, the hidden live form, what lab.js must know, and a line that swaps the two."""
    told = json.dumps(spec, separators=(",", ":")).replace("</", "<\\/")
    full = " lens-lab-full" if spec["full"] else ""
    return (f'<div class="lens-lab{full}" data-lens="lab" data-nets="{len(spec["start"]["nets"])}">{still}'
            f'<div class="lens-lab-live" hidden>{_live(key, spec)}</div>'
            f'<script type="application/json" class="lens-lab-spec">{told}</script><script>{SWAP}</script></div>')


def still(pictures: Sequence[tuple[str, str]], words: str) -> str:
    """pictures: (caption, address of the image); words: what they show."""
    tiles = "".join(f'<div class="lens-lab-tile"><p class="lens-lab-caption">{escape(caption)}</p><div class="lens-lab-frame">'
                    f'<img class="lens-lab-pixels" alt="{escape(caption.strip("+= "))}" src="{address}"></div></div>'
                    for caption, address in pictures)
    return (f'<div class="lens-lab-still"><div class="lens-lab-view">{tiles}</div>'
            f'<p class="lens-lab-verdict">{escape(words)}</p></div>')


def _live(key: str, spec: dict) -> str:
    full = spec["full"]
    parts = [_pick(key, spec), _view(spec), _epsilon(key, spec)]
    if full or len(spec["attacks"]) > 1:
        parts.append(_segments(key, "attack", "Attack", spec["attacks"], spec["start"]["attack"]))
        parts.append(f'<p class="lens-lab-hint" data-lab="about">{ABOUT[spec["start"]["attack"]]}</p>')
    if full or {"pgd", "ddn"} & set(spec["attacks"]):
        parts.append(_walk(key, spec))
    parts.append(_tools(full))
    if full:
        parts += [_settings(key, spec), _challenge()]
    return "".join(parts)


def _pick(key: str, spec: dict) -> str:
    """Radio buttons: an empty page to draw on, and ten images."""
    group = spec["groups"][spec["start"]["data"]]
    choices = []
    if group["shape"][0] == 1 or spec["full"]:
        choices.append(f'<label class="lens-lab-thumb" title="draw your own" data-lab="blank"><input type="radio" name="{key}-image" '
                       'value="draw" aria-label="an empty page to draw on"><span aria-hidden="true">'
                       '<svg viewBox="0 0 24 24"><path d="M4 20l1-4L16 5l3 3L8 19z M14 7l3 3"/></svg></span></label>')
    _, height, width = group["shape"]
    for k, label in enumerate(group["labels"]):
        name = f'test image: {group["classes"][label]}'
        choices.append(f'<label class="lens-lab-thumb"><input type="radio" name="{key}-image" value="{k}" '
                       f'aria-label="{escape(name)}"{" checked" if k == spec["start"]["image"] else ""}>'
                       f'<canvas width="{width}" height="{height}" aria-hidden="true"></canvas></label>')
    return ('<fieldset class="lens-lab-pick"><legend class="lens-lab-hidden">Image</legend>'
            f'{"".join(choices)}</fieldset>')


def _tile(name: str, caption: str, inside: str, foot: str) -> str:
    return (f'<div class="lens-lab-tile lens-lab-{name}"><p class="lens-lab-caption" data-lab="{name}-caption">{caption}</p>'
            f'<div class="lens-lab-frame">{inside}</div><p class="lens-lab-foot" data-lab="{name}-foot">{foot}</p></div>')


def _canvas(name: str, spec: dict, label: str) -> str:
    _, height, width = spec["groups"][spec["start"]["data"]]["shape"]
    return (f'<canvas class="lens-lab-pixels" data-lab="{name}" width="{width}" height="{height}" role="img" '
            f'aria-label="{label}"></canvas>')


def _view(spec: dict) -> str:
    """The image; then for each network the noise, the sum, the answers and the verdict."""
    ink = '<canvas class="lens-lab-ink" data-lab="ink" width="280" height="280" aria-hidden="true"></canvas>'
    pad = _tile("pad", "your image", _canvas("original", spec, "the image") + ink, "&nbsp;")
    return f'<div class="lens-lab-view">{pad}{"".join(_net(net, spec) for net in spec["nets"])}</div>'


def _net(net: str, spec: dict) -> str:
    group = next(group for group in spec["groups"].values() if net in group["nets"])
    rows = "".join(f'<div class="lens-lab-bar"><span>{escape(name)}</span><i></i><b></b></div>' for name in group["classes"])
    limit = group["limits"]["noise"]
    tiles = (_tile("noise", "+ noise", _canvas("noise", spec, "no noise yet"),
                   f'−{limit:g} <span class="lens-lab-scale" aria-hidden="true"></span> +{limit:g}')
             + _tile("seen", "= what the net sees", _canvas("seen", spec, "what the network sees"), "&nbsp;")
             + _tile("answers", "→ what it says", f'<div class="lens-lab-bars" data-lab="bars" role="img" aria-label="answers">{rows}</div>',
                     '&nbsp;'))
    return (f'<section class="lens-lab-net" data-net="{net}" aria-label="{spec["nets"][net]}"'
            f'{"" if net in spec["start"]["nets"] else " hidden"}>'
            f'<p class="lens-lab-verdict" data-lab="verdict" role="status">&nbsp;</p>{tiles}</section>')


def _epsilon(key: str, spec: dict) -> str:
    start = spec["start"]
    far, step = spec["groups"][start["data"]]["limits"][start["norm"]]
    return (f'<div class="lens-lab-slider lens-lab-eps"><div class="lens-lab-line"><label for="{key}-eps">epsilon '
            f'<span data-lab="unit">the most a pixel may change</span></label><output data-lab="eps-value" for="{key}-eps">{start["eps"]:g}</output></div>'
            f'<div class="lens-lab-track"><input type="range" id="{key}-eps" data-lab="eps" min="0" max="{far}" step="{step}" '
            f'value="{start["eps"]}"><span class="lens-lab-flip" data-lab="flip" hidden aria-hidden="true"></span></div>'
            f'<div class="lens-lab-ends"><span>0</span><span data-lab="found"></span><span data-lab="far">{far:g}</span></div></div>')


def _segments(key: str, name: str, legend: str, options: dict, chosen) -> str:
    radios = "".join(f'<label><input type="radio" name="{key}-{name}" value="{value}"{" checked" if value == chosen else ""}>'
                     f'<span>{escape(text)}</span></label>' for value, text in options.items())
    return (f'<fieldset class="lens-lab-segments" data-lab="{name}"><legend>{legend}</legend><div>{radios}</div></fieldset>')


def _walk(key: str, spec: dict) -> str:
    """The walk, step by step: a slider, and the loss along the way."""
    hidden = "" if spec["start"]["attack"] in ("pgd", "ddn") else " hidden"
    return (f'<div class="lens-lab-walk" data-lab="walk"{hidden}><div class="lens-lab-slider"><div class="lens-lab-line">'
            f'<label for="{key}-step">step of the walk</label><output data-lab="step-value" for="{key}-step">0</output></div>'
            f'<div class="lens-lab-track"><input type="range" id="{key}-step" data-lab="step" min="0" max="{spec["start"]["steps"]}" step="1" value="0">'
            '<span class="lens-lab-flip" data-lab="turn" hidden aria-hidden="true"></span></div></div>'
            '<div class="lens-lab-loss"><svg viewBox="0 0 300 72" preserveAspectRatio="none" data-lab="loss" role="img" '
            'aria-label="the loss along the walk"></svg><span class="lens-lab-zero" data-lab="zero">wrong is as likely as right</span></div>'
            '<p class="lens-lab-hint">The loss that the attack climbs, step by step: <span data-lab="loss-words">log-odds of a wrong answer</span>.</p></div>')


def _tools(full: bool) -> str:
    buttons = '<button type="button" data-lab="smallest">Find the smallest ε</button>'
    if full:
        buttons = '<button type="button" data-lab="undo" disabled>Undo</button>' + buttons
        buttons += '<button type="button" data-lab="share">Copy link</button>'
    else:
        buttons += '<a data-lab="open" hidden>Open in the lab</a>'
    return f'<div class="lens-lab-tools">{buttons}</div><p class="lens-lab-hint lens-lab-note" data-lab="note" role="status"></p>'


def _settings(key: str, spec: dict) -> str:
    nets = "".join(f'<label class="lens-lab-check" data-for="{net}"><input type="checkbox" name="{key}-nets" value="{net}"'
                   f'{" checked" if net in spec["start"]["nets"] else ""}><span>{escape(name)}</span></label>'
                   for net, name in spec["nets"].items())
    named = {"mnist": "Digits", "digits": "Digits", "cifar10": "Photographs", "shapes": "Shapes"}
    groups = {name: named[name] for name in spec["groups"]}
    start = spec["start"]
    return ('<details class="lens-lab-more" data-wide><summary>Networks, norm, steps, target, JPEG</summary>'
            '<div class="lens-lab-grid">'
            + _segments(key, "data", "Images", groups, start["data"])
            + f'<fieldset class="lens-lab-segments lens-lab-nets" data-lab="nets"><legend>Networks, side by side</legend><div>{nets}</div></fieldset>'
            + f'<label class="lens-lab-field"><span>Noise</span><select data-lab="source"><option value="">each network its own</option></select></label>'
            + '<label class="lens-lab-field"><span>Aim</span><select data-lab="target"><option value="">any other answer</option></select></label>'
            + _segments(key, "norm", "Size of PGD’s steps is measured by", {"linf": "largest pixel", "l2": "length"}, start["norm"])
            + f'<div class="lens-lab-slider" data-lab="steps-box"><div class="lens-lab-line"><label for="{key}-steps">steps of PGD</label>'
              f'<output data-lab="steps-value" for="{key}-steps">{start["steps"]}</output></div>'
              f'<input type="range" id="{key}-steps" data-lab="steps" min="1" max="40" step="1" value="{start["steps"]}"></div>'
            + '<fieldset class="lens-lab-segments" data-lab="jpeg-box"><legend>JPEG in front of the network</legend><div>'
              '<label class="lens-lab-check"><input type="checkbox" data-lab="jpeg"><span>switch it on</span></label>'
              '<label class="lens-lab-check"><input type="checkbox" data-lab="adaptive"><span>the attack knows</span></label></div></fieldset>'
            + f'<div class="lens-lab-slider"><div class="lens-lab-line"><label for="{key}-quality">quality of the JPEG</label>'
              f'<output data-lab="quality-value" for="{key}-quality">50</output></div>'
              f'<input type="range" id="{key}-quality" data-lab="quality" min="5" max="95" step="5" value="50"></div>'
            '</div></details>')


def _challenge() -> str:
    items = {"fooled": "LeNet is fooled", "kept": "the residual net, shown the same picture, is right",
             "small": "no pixel changed by more than 0.05"}
    rows = "".join(f'<li data-lab="goal-{name}"><span class="lens-lab-hidden" data-said>not yet: </span>{text}</li>' for name, text in items.items())
    return ('<details class="lens-lab-more lens-lab-challenge"><summary>Challenge: fool one network and not the other</summary>'
            '<p>Fool LeNet at ε = 0.05 and keep the residual net right. The noise is made on LeNet; both see the same picture. '
            'Choose an attack and a digit, or draw one.</p>'
            f'<ul>{rows}</ul><p data-lab="solved" role="status"></p>'
            '<div class="lens-lab-tools"><button type="button" data-lab="challenge">Take the challenge</button></div></details>')
