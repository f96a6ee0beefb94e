"""All benchmarks, one after the other: `python benchmarks/run.py` (about a quarter of an hour), or those that are
named.

Ratios of things measured side by side in one run, on a machine that does nothing else.
Never a test: a clock decides nothing there.
"""

import sys
from importlib import import_module

from compare import HEADER

# one table, ours against each peer
PEERS = ("minimum_l2", "deepfool", "sparse", "jpeg", "hebbian", "pairwise", "training")
OTHERS = ("judge", "certificates", "pgd", "robust_curve", "kernels", "scaling", "chapter_times")

wanted = sys.argv[1:] or [*PEERS, *OTHERS]
unknown = sorted(set(wanted) - {*PEERS, *OTHERS})
if unknown:
    sys.exit(f"unknown benchmark {', '.join(unknown)}; known: {', '.join([*PEERS, *OTHERS])}")
if set(wanted) & set(PEERS):
    print(HEADER, flush=True)
for name in wanted:
    print(import_module(name).table(), end="\n\n", flush=True)
