"""Seconds that each chapter takes: on embedded data now, on real data as recorded at its last run.

`python benchmarks/chapter_times.py`.  Goals: 60 s and 180 s on two cores.
"""

from pathlib import Path

from advlens.course import chapters, records

CHAPTERS = sorted((Path(__file__).parents[1] / "chapters").glob("*.py"))


def table() -> str:
    """One row a chapter."""
    rows = [f"{'chapter':<28}{'embedded, now':>15}{'real, recorded':>16}"]
    for source in CHAPTERS:
        _, seconds, _ = chapters.execute(source, standin="always")
        real = records.read(f"run-{source.stem}")["values"]["seconds"]
        rows.append(f"{source.stem:<28}{seconds:>13.0f} s{real:>14.0f} s")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
