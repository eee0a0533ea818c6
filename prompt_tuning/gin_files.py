"""Where the gin files of this package are; what completes them must start quickly."""

from pathlib import Path

# Installed, gin/ lies inside the package; in a checkout it lies beside it.
_HERE = Path(__file__).resolve().parent
GIN_ROOT = _HERE if (_HERE / "gin").is_dir() else _HERE.parent


def packaged() -> list[str]:
    """The files that --gin_file reads, by their paths from GIN_ROOT, sorted.

    Those of gin/t5x are not among them: only T5X reads these.
    """
    found = [path.relative_to(GIN_ROOT) for path in GIN_ROOT.glob("gin/**/*.gin")]
    return sorted(path.as_posix() for path in found if path.parts[1] != "t5x")
