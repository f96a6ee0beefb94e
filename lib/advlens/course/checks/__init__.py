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
from advlens.course.checks.ch08 import Lottery, coefficients, lottery, stand_ins, there_and_back
from advlens.course.checks.ch09 import Alarm, four_frequencies, ring_energy, silent, three_spectra
from advlens.course.checks.ch10 import Memory, memory, sure, temperature, trained, trainings
from advlens.course.checks.ch11 import face, plasticity, sanger, taught, three_steps
from advlens.course.checks.ch12 import at_work, beginnings, rank_rule, three_units
from advlens.course.checks.hint import CheckFailed

__all__ = ["Alarm", "BlackAndWhite", "Box", "CheckFailed", "Lottery", "Memory", "Rounded", "Sealed", "Shaky",
           "accident", "at_work", "beginnings", "black_and_white", "both_steps", "coefficients", "colours", "crossings",
           "deepfool_step", "differences", "eot", "face", "few_pixels", "fgsm", "four_frequencies", "four_pixels",
           "gradients", "largest_value", "lottery", "louder", "masks", "memory", "one_million", "pgd", "plasticity",
           "rank_rule", "restarts", "ring_energy", "rounded", "sanger", "sealed", "shifts", "shorten", "silenced",
           "silent", "sizes", "smallest_eps", "stand_ins", "sure", "taught", "temperature", "there_and_back",
           "three_classes", "three_spectra", "three_steps", "three_units", "to_boundary", "to_images", "trained",
           "trainings", "two_neurons", "two_searches", "two_steps", "units"]
