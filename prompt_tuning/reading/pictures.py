"""Pictures of what is found in prompts, each as PNG and PDF, in the colours of runs."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_tuning.reading import places, report
from prompt_tuning.reading import similarities as clustering
from prompt_tuning.reading.subject import Subject
from prompt_tuning.runs import figures

MOST_DRAWN = 100  # positions of a prompt, in a picture of neighbours
VOCABULARY = "#bbbbbb"


def draw(
    folder: Path, subjects: Sequence[Subject], found: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Draws all that can be drawn into a folder; the paths of PNG and PDF files.

    Args:
      found: report.of_prompt of each subject, with its positions if they were asked.
    """
    names = titles(subjects)
    drawn = norms(folder / "norms", names, subjects)
    for i, (name, one) in enumerate(zip(names, found, strict=True)):
        number = f"_{i}" * (len(found) > 1)
        if not one["missing"]:
            drawn += neighbours(folder / f"neighbours{number}", name, one)
            drawn += maps(folder / f"map{number}", name, subjects[i])
        if one.get("steps"):
            drawn += steps(folder / f"steps{number}", name, one)
        if one.get("positions"):
            drawn += positions(folder / f"positions{number}", name, one["positions"])
            drawn += attention(folder / f"attention{number}", name, one["positions"])
    return drawn


def similarities(
    path: Path, names: Sequence[str], found: Mapping[str, Any]
) -> list[Path]:
    """Heat maps of how alike prompts are, similar ones together.

    Each has the order of its own clustering, the same for rows and columns.
    """
    from matplotlib.figure import Figure

    shown, count = [key for key in report.SIMILARITIES if key in found], len(names)
    side = min(12.0, max(2.2, 0.42 * count if count <= MOST_NUMBERED else 0.2 * count))
    small = 7 if side / count > 0.15 else 450 * side / count / 10
    width = side + 1 + 0.07 * small / 7 * max(map(len, names))
    rows = 1 if len(shown) < 4 else 2
    columns = -(-len(shown) // rows)
    figure = Figure(
        figsize=(width * columns, (side + 0.6) * rows), layout="constrained"
    )
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, key in zip(panels, shown, strict=True):
        values = np.array(found[key])
        order = clustering.order(values)
        values = values[np.ix_(order, order)]
        least = min(0.0, float(values.min()))
        image = panel.imshow(values, cmap="cividis", vmin=least, vmax=1)
        if count <= MOST_NUMBERED:
            _numbers(panel, values, image, ".2f")
        panel.set_xticks([])
        panel.set_yticks(range(count), [names[i] for i in order], fontsize=small)
        panel.set_title(report.SIMILARITIES[key], fontsize="medium")
        figure.colorbar(image, ax=panel, shrink=0.8)
    return figures.write(figure, path)


MOST_NUMBERED = 15  # rows and columns of a heat map, with numbers in its cells


def _numbers(panel: Any, values: np.ndarray, image: Any, form: str) -> None:
    """Writes the values of a heat map into its cells, where they can be read."""
    for i, j in np.ndindex(*values.shape):
        red, green, blue, _ = image.cmap(image.norm(values[i, j]))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        style = {"fontsize": 7, "ha": "center", "va": "center"}
        style |= {"color": "white" if dark else "black"}
        panel.text(j, i, f"{values[i, j]:{form}}", **style)


def positions(path: Path, name: str, found: Mapping[str, Any]) -> list[Path]:
    """What the positions do: the score without each, its slope, and changed prompts."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    changed = {"whole": found["score"], **found["changed"]}
    height = max(4.2, 1.2 + 0.24 * len(changed))
    figure = Figure(figsize=(10, height), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(3, 2))
    above = figure.add_subplot(grid[0, 0])
    below = figure.add_subplot(grid[1, 0], sharex=above)
    beside = figure.add_subplot(grid[:, 1])
    places = range(len(found["without_P"]))
    above.plot(places, found["without_P"], "o", markersize=4, color=figures.BLUE)
    above.axhline(found["score"], color=figures.GREY, linewidth=1, label="whole")
    above.set_ylabel("score without it")
    above.tick_params(labelbottom=False)
    above.legend(frameon=False)
    below.bar(places, found["importance_P"], color=figures.BLUE)
    below.set(xlabel="position", ylabel="|gradient x value|")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    beside.barh(range(len(changed)), [*changed.values()], color=figures.BLUE)
    for y, score in enumerate(changed.values()):
        beside.text(score, y, f" {score:.1f}", va="center", fontsize=7)
    beside.set_yticks(range(len(changed)), [*changed], fontsize=8)
    beside.set_ylim(len(changed) - 0.4, -0.6)
    beside.margins(x=0.15)
    beside.set_xlabel("score")
    for panel in (above, below, beside):
        panel.spines[["top", "right"]].set_visible(False)
    told = f"{name}: what positions do, {found['examples']:,} examples of "
    told += found["split"]
    figure.suptitle(told, fontsize="medium")
    return figures.write(figure, path)


def attention(path: Path, name: str, found: Mapping[str, Any]) -> list[Path]:
    """Shares of attention: by layer and head to the prompt, by layer to positions."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    paid = [found["attention"][stack] for stack in report.ATTENDED]
    arrays = [100 * np.array(one["weights"]) for one in paid]
    heights = [1.3 + 0.34 * len(array) for array in arrays]
    _, heads, length = arrays[0].shape
    widths = 1.6 + 0.42 * heads, max(3.0, min(9.0, 1.2 + 0.3 * length))
    figure = Figure(figsize=(sum(widths), 0.4 + sum(heights)), layout="constrained")
    options = {"width_ratios": widths, "height_ratios": heights}
    rows = figure.subplots(2, 2, squeeze=False, gridspec_kw=options)
    for panels, title, one, array in zip(
        rows, report.ATTENDED.values(), paid, arrays, strict=True
    ):
        uniform = 100 * one["uniform"]
        by_head, by_place = array.sum(axis=-1), array.mean(axis=1)
        image = panels[0].imshow(
            by_head, cmap="cividis", vmin=0, vmax=100, aspect="auto"
        )
        if max(by_head.shape) <= MOST_NUMBERED:
            _numbers(panels[0], by_head, image, ".0f")
        figure.colorbar(image, ax=panels[0], label="% to prompt")
        panels[0].set_title(f"{title}\nuniform: {uniform * length:.0f}%", fontsize=9)
        panels[0].set(xlabel="head", ylabel="layer")
        image = panels[1].imshow(by_place, cmap="cividis", vmin=0, aspect="auto")
        figure.colorbar(image, ax=panels[1], label="% to position")
        panels[1].set_title(f"mean of heads\nuniform: {uniform:.1f}%", fontsize=9)
        panels[1].set(xlabel="position", ylabel="layer")
        for panel in panels:
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.suptitle(f"{name}: attention to the prompt", fontsize="medium")
    return figures.write(figure, path)


def titles(subjects: Sequence[Subject]) -> list[str]:
    """What each prompt is called: the end of its path that tells it from the others."""
    paths = [one.path.resolve().parts for one in subjects]
    names = [""]
    for count in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-count:]) for path in paths]
        if len({*names}) == len(names):
            break
    return names


def norms(path: Path, names: Sequence[str], subjects: Sequence[Subject]) -> list[Path]:
    """The norms of positions and embeddings, and distances to the nearest piece.

    A row for each prompt, and one for each vocabulary above them.
    """
    from matplotlib.figure import Figure  # takes half a second; only needed here

    rows, models = [], {}
    for i, (name, one) in enumerate(zip(names, subjects, strict=True)):
        if one.frozen and one.frozen.name not in models:
            models[one.frozen.name] = one.frozen.table_VxD
        prompt_PxD = one.prompt_PxD
        far_P = one.frozen and places.distances(prompt_PxD, one.frozen.table_VxD)
        colour = figures.COLOURS[i % len(figures.COLOURS)]
        rows.append((name, colour, places.norms(prompt_PxD), far_P))
    tables = [
        (
            f"{Path(name).stem}'s pieces",
            figures.GREY,
            places.norms(table_VxD),
            places.vocabulary_distances(table_VxD),
        )
        for name, table_VxD in models.items()
    ]
    rows, count = [*tables, *rows], 1 + bool(models)
    figure = Figure(figsize=(5.2 * count, 1.2 + 0.4 * len(rows)), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    for panel, column, label in zip(panels, (2, 3), _MEASURED[:count], strict=False):
        for y, row in enumerate(rows):
            if row[column] is not None:
                _strip(panel, y, row[column], row[1])
        panel.set_xlabel(label)
        _axis(panel)
    panels[0].set_yticks(range(len(rows)), [row[0] for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figures.write(figure, path)


_MEASURED = "L2 norm", "L2 distance to the nearest (other) piece"


def _strip(panel: Any, y: int, values: np.ndarray, colour: str) -> None:
    """Numbers as dots in a row, spread a little across it, and their mean."""
    across = np.random.default_rng(0).uniform(-0.25, 0.25, len(values))
    many = len(values) > 500
    style = {"s": 4 if many else 16, "alpha": 0.25 if many else 0.7, "linewidths": 0}
    positive = np.maximum(values, 1e-12)
    panel.scatter(positive, y + across, color=colour, rasterized=many, **style)
    panel.plot([positive.mean()] * 2, [y - 0.35, y + 0.35], color="black", lw=1.2)


def _axis(panel: Any) -> None:
    """From 0, or in powers of ten where the numbers span more than one."""
    low, high = panel.dataLim.x0, panel.dataLim.x1
    if low > 0 and high > 20 * low:
        panel.set_xscale("log")
    else:
        panel.set_xlim(0, 1.05 * high or 1)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)


def neighbours(path: Path, name: str, found: Mapping[str, Any]) -> list[Path]:
    """The nearest pieces of each position, shaded by their cosine.

    A long prompt is cut, and the title says so.
    """
    cells = [one["cosine"] for one in found["neighbours"]]
    title = f"{name}: nearest pieces"
    ranks = [str(k + 1) for k in range(found["k"])]
    return _grid(path, title, ("neighbour by cosine", ranks), cells, _words(found))


def steps(path: Path, name: str, found: Mapping[str, Any]) -> list[Path]:
    """The nearest piece of each position at each kept step, shaded by its cosine."""
    kept = found["steps"]
    columns = [zip(one["nearest"], one["cosines"], strict=True) for one in kept]
    cells = [list(row) for row in zip(*columns, strict=True)]
    title = f"{name}: nearest piece by step"
    numbers = [str(one["step"]) for one in kept]
    return _grid(path, title, ("step", numbers), cells, _words(found))


def _words(found: Mapping[str, Any]) -> set[str]:
    return {label["word"] for label in found["labels"]}


def _grid(
    path: Path,
    title: str,
    columns: tuple[str, Sequence[str]],
    cells: Sequence[Sequence[Sequence[Any]]],
    bold: Collection[str],
) -> list[Path]:
    """Pieces in rows of positions, shaded by cosine; label words bold.

    Args:
      cells: (piece, cosine) of each position and column.
    """
    from matplotlib.figure import Figure

    shown = cells[:MOST_DRAWN]
    values = np.array([[value for _, value in row] for row in shown])
    size = 1.8 + 1.15 * values.shape[1], 1.5 + 0.22 * len(shown)
    figure = Figure(figsize=size, layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for p, row in enumerate(shown):
        for k, (piece, value) in enumerate(row):
            is_label = piece.removeprefix("▁") in bold
            style = {"fontsize": 7, "ha": "center", "va": "center"}
            style |= {"weight": "bold" if is_label else "normal"}
            style |= {"color": "white" if value > 0.6 else "black"}
            panel.text(k, p, _drawable(piece), **style)
    title += f", first {len(shown)} positions" * (len(shown) < len(cells))
    title += "\n(label words bold)" * bool(bold)
    panel.set_title(title, fontsize="medium")
    panel.set(xlabel=columns[0], ylabel="position")
    panel.set_xticks(range(values.shape[1]), columns[1])
    panel.set_yticks(range(0, len(shown), 1 if len(shown) <= 30 else 5))
    figure.colorbar(image, label="cosine", shrink=min(1, 12 / len(shown)))
    return figures.write(figure, path)


def _drawable(piece: str) -> str:
    """A piece without what the font lacks or takes for mathematics."""
    text = piece.replace("▁", "_")
    text = text.replace("$", r"\$")
    return text if all(ord(c) < 0x250 for c in text) else ascii(text)[1:-1]


def maps(path: Path, name: str, one: Subject) -> list[Path]:
    """A prompt in the plane of its vocabulary: by PCA, and by t-SNE of the cosines."""
    from matplotlib.figure import Figure

    assert one.frozen is not None
    table_VxD = one.frozen.table_VxD[places.sample(len(one.frozen.table_VxD))]
    figure = Figure(figsize=(9.6, 5), layout="constrained")
    for panel, flat in zip(
        figure.subplots(1, 2),
        (
            places.pca(table_VxD, [one.prompt_PxD]),
            places.tsne(table_VxD, [one.prompt_PxD]),
        ),
        strict=True,
    ):
        behind = {"s": 5, "color": VOCABULARY, "linewidths": 0, "rasterized": True}
        panel.scatter(*flat.table_Vx2.T, label="vocabulary", **behind)
        (prompt_Px2,) = flat.prompts
        panel.scatter(
            *prompt_Px2.T, s=26, color=figures.ORANGE, label="prompt", zorder=3
        )
        if len(prompt_Px2) <= 30:
            for p, place in enumerate(prompt_Px2):
                shift = {"xytext": (3, 3), "textcoords": "offset points"}
                panel.annotate(str(p), place, fontsize=6, zorder=4, **shift)
        panel.set_title(flat.note, fontsize="medium")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_color(VOCABULARY)
    figure.suptitle(f"{name}: positions among the vocabulary", fontsize="medium")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figures.write(figure, path)
