"""Where checkpoints and records lie: in the repository, or inside the installed wheel."""

from pathlib import Path


def data_folder() -> Path:
    """The folder that holds `checkpoints/` and `records/`."""
    inside_wheel = Path(__file__).parent / "_data"
    return inside_wheel if inside_wheel.is_dir() else Path(__file__).parents[2] / "data"
