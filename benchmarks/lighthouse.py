"""Lighthouse's scores of every page, as its phone sees them:  make lighthouse

Serves the built site compressed, as a public host does, and asks Lighthouse for each page.  The scores for speed
swing with the machine (it simulates a slow phone, but counts the seconds of this one): run it on an idle machine.
Without --pages it takes the whole table of contents.  Ends with 1 where a score is below its goal.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "site"), str(ROOT / "book")]
from check_site import contents  # noqa: E402

from conftest import FLAGS, served  # noqa: E402

LIGHTHOUSE = "lighthouse@13.5.0"
GOALS = {"performance": 90, "accessibility": 100, "best-practices": 100, "seo": 100}
TIMES = {"first-contentful-paint": "first paint", "largest-contentful-paint": "largest paint",
         "total-blocking-time": "blocked", "cumulative-layout-shift": "shift", "total-byte-weight": "weight"}


def report(address: str) -> dict:
    """What Lighthouse finds on one page.  Raises CalledProcessError with its own words where it fails."""
    chromium = os.environ.get("CHROME_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    command = ["npx", "--yes", LIGHTHOUSE, address, "--quiet", "--output=json", "--output-path=stdout",
               f"--only-categories={','.join(GOALS)}", f"--chrome-flags={' '.join(['--headless=new', *FLAGS])}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "CHROME_PATH": chromium})
    return json.loads(done.stdout)


def row(found: dict) -> tuple[list[int], list[str]]:
    """The scores in the order of GOALS, 0 to 100, and the numbers behind the first."""
    scores = [round(100 * (found["categories"][name]["score"] or 0)) for name in GOALS]
    shown = [found["audits"][name].get("displayValue", "").replace("\u00a0", " ") for name in TIMES]
    return scores, [text.removeprefix("Total size was ") for text in shown]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, nargs="?", default=ROOT / "_build" / "html", help="the built site")
    parser.add_argument("--pages", nargs="+", metavar="PAGE", help="say, book/index chapters/03_one_step")
    given = parser.parse_args()
    below = 0
    print("| page |", " | ".join([*GOALS, *TIMES.values()]), "|")
    print("|---|" + "---|" * (len(GOALS) + len(TIMES)))
    with served(given.site) as address:
        for page in given.pages or [*contents(ROOT / "_toc.yml"), "search", "genindex"]:
            scores, shown = row(report(f"{address}/{page}.html"))
            below += any(score < goal for score, goal in zip(scores, GOALS.values()))
            print("|", " | ".join([page, *map(str, scores), *shown]), "|", flush=True)
    return bool(below)


if __name__ == "__main__":
    sys.exit(main())
