"""Behavioural checks of the exercises: they run an answer, and say "ok" or give one hint.

>>> checks.fgsm(my_fgsm)          # doctest: +SKIP
ok  returns images
...

A check looks at what a function does, never at its text.  An answer that is not right
raises `CheckFailed`, whose message names the likely mistake.
"""

from advlens.course.checks.ch00 import noise_against_fgsm, sizes
from advlens.course.checks.ch01 import statistics, to_images
from advlens.course.checks.ch02 import gradients, one_million
from advlens.course.checks.ch03 import fgsm, smallest_eps
from advlens.course.checks.ch04 import Rounded, pgd, restarts, rounded, two_steps
from advlens.course.checks.hint import CheckFailed

__all__ = ["CheckFailed", "Rounded", "fgsm", "gradients", "noise_against_fgsm", "one_million", "pgd", "restarts",
           "rounded", "sizes", "smallest_eps", "statistics", "to_images", "two_steps"]
