"""Attacks: functions (model, x, y, *, ...) -> images."""

from advlens.attacks.gradient import bim, fgm, fgsm, pgd
from advlens.attacks.jsma import jsma
from advlens.attacks.one_pixel import one_pixel, one_pixel_exhaustive

__all__ = ["bim", "fgm", "fgsm", "jsma", "one_pixel", "one_pixel_exhaustive", "pgd"]
