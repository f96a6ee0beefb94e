"""All benchmarks, one after the other: `python benchmarks/run.py` (about ten minutes).

Ratios of things measured side by side in one run.  Never a test: a clock decides nothing there.
"""

import chapter_times
import pgd
import robust_curve

for benchmark in (pgd, robust_curve, chapter_times):
    print(benchmark.table(), end="\n\n", flush=True)
