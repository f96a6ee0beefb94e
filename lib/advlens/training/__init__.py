"""Training: one loop with a progress bar, early stopping, and checkpoints that resume exactly."""

from advlens.training.augmentation import flip_and_shift, noise, shift
from advlens.training.loop import History, Loss, Objective, accuracy, fit, plain
from advlens.training.schedule import one_cycle
from advlens.training.settings import digest, settings

__all__ = ["History", "Loss", "Objective", "accuracy", "digest", "fit", "flip_and_shift", "noise", "one_cycle",
           "plain", "settings", "shift"]
