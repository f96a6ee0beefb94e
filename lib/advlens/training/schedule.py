"""Learning rates that change during training: values, so that a run can say which one it had."""

from dataclasses import dataclass

from advlens.inputs import check_amount, check_at_least_one

FIRST = 1 / 25  # of the peak: a schedule that starts at 0 wastes its first step


@dataclass(frozen=True)
class one_cycle:  # lower case: it is used as a function, of the epoch
    """Learning rate at `epoch` (a float): up linearly for a share `warmup` of the epochs, then down linearly to 0.

    It starts at peak / 25.  0 is reached at the end of the last epoch only, so every step moves.  Raises TypeError or
    ValueError for numbers out of range.
    """

    peak: float
    epochs: int
    warmup: float = 0.2

    def __post_init__(self):
        check_amount(self.peak, "peak", above_zero=True)
        check_at_least_one(epochs=self.epochs)
        if not 0 < self.warmup < 1:
            raise ValueError(f"warmup = {self.warmup}; give a share between 0 and 1")

    def __call__(self, epoch: float) -> float:
        top = self.warmup * self.epochs
        return self.peak * min(FIRST + (1 - FIRST) * epoch / top, (self.epochs - epoch) / (self.epochs - top))
