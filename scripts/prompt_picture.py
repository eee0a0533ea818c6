"""Draws docs/prompt.svg: a prompt in front of the input of a frozen T5.

    python scripts/prompt_picture.py

SVG by hand, as it then is 4 KB, its text stays text, and its colours follow the page's
light or dark theme. tests/docs_test.py compares the picture with what this draws.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "prompt.svg"
SIZE = 760, 262  # in SVG's units, of which a letter is 14 high

STYLE = """
text { font: 14px system-ui, sans-serif; text-anchor: middle; fill: #24292f }
.small { font-size: 11px; fill: #57606a }
.frozen { fill: #ddf4ff; stroke: #0969da }
.token { fill: #f6f8fa; stroke: #8c959f }
.trained { fill: #ffb77c; stroke: #bc4c00 }
.tuned { fill: #bc4c00 }
.flow { fill: none; stroke: #57606a; stroke-width: 1.5 }
.back { fill: none; stroke: #bc4c00; stroke-width: 1.5; stroke-dasharray: 5 4 }
.end { fill: #57606a }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.small { fill: #9198a1 }
.frozen { fill: #121d2f; stroke: #4493f8 }
.token { fill: #21262d; stroke: #6e7681 }
.trained { fill: #9b4215; stroke: #f0883e }
.tuned { fill: #f0883e }
.flow { stroke: #9198a1 }
.back { stroke: #f0883e }
.end { fill: #9198a1 }
}
"""
TITLE = (
    "Trained prompt vectors and an embedded input enter a frozen encoder; a frozen "
    "decoder answers; the gradient of the loss goes back to the prompt alone."
)
WORDS = "passage: mara lost a vulug …".split()
LOWER, UPPER = 146, 40  # the top of the sequence's row, and of the model's


def picture() -> str:
    """The whole SVG file."""
    width, height = SIZE
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<title>{TITLE}</title>",
        f"<style>{STYLE}</style>",
        *sequence(),
        *model(),
        *gradient(),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def sequence() -> Iterator[str]:
    """The prompt's vectors, the input's embeddings, and their way into the encoder."""
    for i in range(5):
        yield from box(24 + 26 * i, LOWER, 20, 36, "trained")
        yield arrow(34 + 26 * i, LOWER, 0, -26)
    yield text(86, LOWER + 56, "prompt: P vectors", "tuned")
    for i, word in enumerate(WORDS):
        yield from box(166 + 64 * i, LOWER, 58, 36, "token", word, "small")
        yield arrow(195 + 64 * i, LOWER, 0, -26)
    yield text(355, LOWER + 56, "embedded input, T tokens")


def model() -> Iterator[str]:
    """The frozen encoder and decoder, and the answer."""
    yield from box(24, UPPER, 520, 80, "frozen", "encoder of a T5, frozen")
    yield arrow(544, UPPER + 40, 28)
    yield from box(572, UPPER, 164, 80, "frozen", "decoder, frozen")
    yield arrow(654, UPPER, 0, -14)
    yield text(654, 19, "answer: boat")


def gradient() -> Iterator[str]:
    """From the loss back to the prompt, and nowhere else."""
    yield f'<path class="back" d="M 654 {UPPER + 80} V 238 H 86 V 216"/>'
    yield '<path class="tuned" d="M 86 208 l -5 9 h 10 z"/>'
    yield text(370, 255, "gradient of the loss: to the prompt alone", "tuned")


def box(
    x: int, y: int, width: int, height: int, kind: str, label: str = "", font: str = ""
) -> Iterator[str]:
    """A rectangle with a label in its middle."""
    size = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    yield f'<rect class="{kind}" {size} rx="5"/>'
    if label:
        yield text(x + width // 2, y + height // 2 + 5, label, font)


def arrow(x: int, y: int, right: int = 0, down: int = 0) -> str:
    """A straight line with a head, to the right or up."""
    head = "l -8 -4 v 8 z" if right else "l -4 8 h 8 z"
    line = f'<path class="flow" d="M {x} {y} l {right} {down}"/>'
    return f'{line}<path class="end" d="M {x + right} {y + down} {head}"/>'


def text(x: int, y: int, words: str, kind: str = "") -> str:
    """Words whose middle is at x, y."""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{named}>{escape(words)}</text>'


def main() -> None:
    """Writes the picture."""
    PICTURE.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
