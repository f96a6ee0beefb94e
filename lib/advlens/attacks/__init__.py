"""Attacks: functions (model, x, y, *, ...) -> images."""

from advlens.attacks.adaptive import BPDA, EOT
from advlens.attacks.apgd import apgd
from advlens.attacks.carlini_wagner import carlini_wagner
from advlens.attacks.ddn import ddn
from advlens.attacks.decision import hop_skip_jump
from advlens.attacks.deepfool import deepfool
from advlens.attacks.fast_minimum_norm import fmn
from advlens.attacks.gradient import bim, fgm, fgsm, pgd
from advlens.attacks.jsma import jsma
from advlens.attacks.lbfgs import lbfgs
from advlens.attacks.noise import noise
from advlens.attacks.one_pixel import one_pixel, one_pixel_exhaustive
from advlens.attacks.square import square
from advlens.attacks.strongest import felled_by, strongest
from advlens.attacks.universal import mask_image

__all__ = ["BPDA", "EOT", "apgd", "bim", "carlini_wagner", "ddn", "deepfool", "felled_by", "fgm", "fgsm", "fmn",
           "hop_skip_jump", "jsma", "lbfgs", "mask_image", "noise", "one_pixel", "one_pixel_exhaustive", "pgd",
           "square", "strongest"]
