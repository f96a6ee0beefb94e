"""Behavioural checks of the exercises: they run an answer, and say "ok" or give one hint.

>>> checks.fgsm(my_fgsm)          # doctest: +SKIP
ok  returns images
...

A check looks at what a function does, never at its text.  An answer that is not right
raises `CheckFailed`, whose message names the likely mistake.
"""

from advlens.course.checks.ch00 import four_pixels, louder, shifts, sizes
from advlens.course.checks.ch01 import accident, colours, to_images, units
from advlens.course.checks.ch02 import gradients, one_million, silenced, two_neurons
from advlens.course.checks.ch03 import both_steps, fgsm, largest_value, smallest_eps
from advlens.course.checks.ch04 import Rounded, pgd, restarts, rounded, two_steps
from advlens.course.checks.ch05 import deepfool_step, shorten, three_classes, two_searches
from advlens.course.checks.ch06 import Box, crossings, differences, few_pixels, to_boundary
from advlens.course.checks.ch07 import BlackAndWhite, Sealed, Shaky, black_and_white, eot, masks, sealed
from advlens.course.checks.ch09 import LowPass, four_frequencies, high_share, low_pass, under_the_filter
from advlens.course.checks.hint import CheckFailed

__all__ = ["BlackAndWhite", "Box", "CheckFailed", "LowPass", "Rounded", "Sealed", "Shaky", "accident",
           "black_and_white", "both_steps", "colours", "crossings", "deepfool_step", "differences", "eot", "few_pixels",
           "fgsm", "four_frequencies", "four_pixels", "gradients", "high_share", "largest_value", "louder", "low_pass",
           "masks", "one_million", "pgd", "restarts", "rounded", "sealed", "shifts", "shorten", "silenced", "sizes",
           "smallest_eps", "three_classes", "to_boundary", "to_images", "two_neurons", "two_searches", "two_steps",
           "under_the_filter", "units"]
