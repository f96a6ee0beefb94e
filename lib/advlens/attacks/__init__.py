"""Attacks: functions (model, x, y, *, ...) -> images."""

from advlens.attacks.gradient import bim, fgm, fgsm, pgd

__all__ = ["bim", "fgm", "fgsm", "pgd"]
