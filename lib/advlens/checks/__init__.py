"""Behavioural checks of the exercises: they run an answer, and say "ok" or give one hint.

>>> checks.fgsm(my_fgsm)          # doctest: +SKIP
ok  returns images
...

A check looks at what a function does, never at its text.  An answer that is not right
raises `CheckFailed`, whose message names the likely mistake.
"""

from advlens.checks.ch03 import fgsm, smallest_eps
from advlens.checks.hint import CheckFailed

