"""Fonts with no more glyphs than the book needs."""

import logging

from fontTools import subset
from fontTools.ttLib import TTFont

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports every table of a font to the build's log


def save_cut(font: TTFont, characters: set[int], target) -> None:
    """Write what a font needs to draw some code points, as WOFF, to a path or a file; the font itself is changed."""
    options = subset.Options(flavor="woff", hinting=False, layout_features=["*"])
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=characters)
    cutter.subset(font)
    subset.save_font(font, target, options)
