"""The feedback page: nbgrader's, in which nothing that a student wrote can run or load anything."""

from __future__ import annotations

import html
import re

# No script, no style sheet, no picture from elsewhere, no form: the browser's own lock behind the cleaning.
POLICY = ('<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
          'style-src \'unsafe-inline\'; form-action \'none\'; base-uri \'none\'">')

TEXT = """a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5
h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr tt u ul
var""".split()
DRAWING = """svg g path rect circle ellipse line polyline polygon text tspan defs desc clipPath linearGradient
radialGradient stop pattern marker use symbol""".split()
ATTRIBUTES = set("""class id name title alt colspan rowspan scope align width height open start role aria-label
aria-hidden d x y x1 x2 y1 y2 cx cy r rx ry dx dy points viewBox preserveAspectRatio transform fill fill-opacity
fill-rule stroke stroke-width stroke-opacity stroke-dasharray stroke-linecap stroke-linejoin opacity clip-path
clip-rule offset stop-color stop-opacity gradientUnits gradientTransform patternUnits markerWidth markerHeight refX
refY orient font-size font-family font-weight font-style text-anchor dominant-baseline""".split())
PROPERTIES = """background-color border border-bottom border-collapse border-color border-left border-radius
border-right border-style border-top border-width color display fill fill-opacity flex-wrap font font-family font-size
font-style font-weight gap grid-template-columns height image-rendering line-height margin margin-bottom margin-left
margin-right margin-top max-width min-width opacity padding padding-bottom padding-left padding-right padding-top
stroke stroke-dasharray stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width
text-align text-anchor text-decoration vertical-align white-space width""".split()
DATA_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*$")


def inert(page: str) -> str:
    """nbgrader's page with its body cleaned, its scripts taken out and the policy at its top."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer

    head, body = re.split(r"<body[^>]*>", page, maxsplit=1)  # what is above stands in nbgrader's template
    body = body.rsplit("</body>", 1)[0]
    head = re.sub(r"<script\b.*?</script>", "", head, flags=re.S | re.I).replace("<head>", f"<head>\n{POLICY}", 1)
    tags = {tag for name in (*TEXT, *DRAWING) for tag in (name, name.lower())}  # the parser lowers clipPath first
    cleaner = bleach.Cleaner(tags=tags, attributes=_allowed, strip=True, protocols={"http", "https", "data"},
                             css_sanitizer=CSSSanitizer(allowed_css_properties=PROPERTIES))
    return f"{head}<body>{cleaner.clean(body)}</body></html>"


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and bool(DATA_IMAGE.match(value))
    if name in ("href", "xlink:href"):
        return value.startswith("#") or (tag == "a" and value.startswith(("http://", "https://")))
    return name == "style" or (name in ATTRIBUTES and "url(" not in value.lower().replace("url(#", ""))


def unable(student: str, message: str) -> str:
    """A page where nbgrader made none."""
    return (f'<!DOCTYPE html><html lang="en"><head>{POLICY}<meta charset="utf-8"><title>Feedback</title></head>'
            '<body style="font-family: sans-serif; margin: 3em">'
            f"<h1>{html.escape(student)}</h1><p>This submission could not be graded: {html.escape(message)}.</p>"
            "</body></html>")
