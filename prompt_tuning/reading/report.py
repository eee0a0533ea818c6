"""What is found in prompts, as values for JSON and as text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prompt_tuning.reading import neighbours, places, similarities, subject
from prompt_tuning.reading.subject import Frozen, Subject
from prompt_tuning.runs import parts
from prompt_tuning.runs.report import lay_out

WORTH = (
    "What this is worth: vectors can be trained to lie next to the pieces of any text "
    "and still solve the task (Khashabi et al., 2022), and prompts lie apart from the "
    "embeddings of language, so that their nearest pieces may mislead (Bailey et al., "
    "2023). Neighbours describe a prompt; they do not explain it."
)


def of_prompt(one: Subject, k: int) -> dict[str, Any]:
    """All that is found in one prompt; without its frozen model, what can be.

    Args:
      k: neighbours of each position.
    """
    prompt_PxD = one.prompt_PxD
    norms_P, alike = places.norms(prompt_PxD), neighbours.most_alike(prompt_PxD)
    found = {
        "prompt": str(one.path),
        "length": len(prompt_PxD),
        "width": prompt_PxD.shape[1],
        "task": one.said.get("task"),
        "init": one.said.get("init"),
        "norms": norms_P.tolist(),
        "norm": places.spread(norms_P)._asdict(),
        "cosine_of_positions": neighbours.among(prompt_PxD),
        "most_alike": alike and alike._asdict(),
        "frozen_model": one.frozen and one.frozen.name,
        "missing": one.missing or None,
    }
    return found if one.frozen is None else found | _with_model(one, one.frozen, k)


def _with_model(one: Subject, frozen: Frozen, k: int) -> dict[str, Any]:
    table_VxD, pieces, prompt_PxD = frozen.table_VxD, frozen.pieces, one.prompt_PxD
    k = min(k, len(pieces))
    by = {m: neighbours.nearest(prompt_PxD, table_VxD, k, m) for m in _BY}
    cosine = by["cosine"]
    words = subject.label_words(one)
    ids = [frozen.vocabulary.encode(word) for word in words]
    repeats = neighbours.repeated(cosine.ids_PxK[:, 0])
    # Draws of its own, so that several prompts tell how much the controls vary.
    seed = one.said.get("seed") or 0
    counts = {
        "this prompt": neighbours.counts(cosine, table_VxD, pieces, ids),
        **neighbours.controls(prompt_PxD, table_VxD, pieces, k, ids, seed),
    }
    return {
        "k": k,
        "pieces": len(pieces),
        "neighbours": [
            {m: _pairs(near, pieces, p) for m, near in by.items()}
            for p in range(len(prompt_PxD))
        ],
        "clusters": [
            [cluster._asdict() for cluster in _clusters(row, pieces)]
            for row in cosine.ids_PxK
        ],
        "repeated": [{"piece": pieces[i], "positions": p} for i, p in repeats.items()],
        "counts": {name: each._asdict() for name, each in counts.items()},
        "labels": [
            label._asdict() for label in _labels(one, frozen, cosine.ids_PxK, words)
        ],
        "embedding_norm": places.spread(places.norms(table_VxD))._asdict(),
        "distance": places.spread(places.distances(prompt_PxD, table_VxD))._asdict(),
        "embedding_distance": places.spread(
            places.vocabulary_distances(table_VxD)
        )._asdict(),
        "wayward": _wayward(one, frozen, {m: near.ids_PxK for m, near in by.items()}),
        "steps": [_step(one, frozen, step, words) for step in one.steps],
    }


_BY = neighbours.MEASURES


def _pairs(near: neighbours.Nearest, pieces: Sequence[str], p: int) -> list[list]:
    """[piece, value] of a position's neighbours."""
    rows = zip(near.ids_PxK[p], near.values_PxK[p], strict=True)
    return [[pieces[i], float(value)] for i, value in rows]


def _clusters(ids_K: np.ndarray, pieces: Sequence[str]) -> list:
    return neighbours.lexical.clusters([pieces[int(i)] for i in ids_K])


def _labels(
    one: Subject, frozen: Frozen, ids_PxK: np.ndarray, words: Sequence[str]
) -> list[neighbours.Label]:
    homes = subject.homes(one)
    return [
        neighbours.label(
            word,
            frozen.vocabulary.encode(word),
            homes.index(word) if word in homes else None,
            one.prompt_PxD,
            frozen.table_VxD,
            ids_PxK,
        )
        for word in words
    ]


def _wayward(
    one: Subject, frozen: Frozen, nearest: Mapping[str, np.ndarray]
) -> dict[str, Any] | None:
    """How near the prompt is to the text that it was held near, if it was.

    Args:
      nearest: the pieces' ids [P, K] by each measure.
    """
    text = one.said.get("wayward_text")
    if not text:
        return None
    ids = np.array(frozen.vocabulary.encode(text))[: len(one.prompt_PxD)]
    apart = one.prompt_PxD[: len(ids)] - frozen.table_VxD[ids]
    return {
        "text": text,
        "weight": one.said.get("wayward_weight"),
        "pieces": len(ids),
        "nearest": {
            measure: int((ids_PxK[: len(ids), 0] == ids).sum())
            for measure, ids_PxK in nearest.items()
        },
        "distance": float(places.norms(apart).mean()),
    }


def _step(
    one: Subject, frozen: Frozen, step: int, words: Sequence[str]
) -> dict[str, Any]:
    """What had become of the prompt at a step, beside what it is."""
    prompt_PxD = one.steps[step]
    nearest = neighbours.nearest(prompt_PxD, frozen.table_VxD, 1)
    last = neighbours.nearest(one.prompt_PxD, frozen.table_VxD, 1)
    same_P = nearest.ids_PxK[:, 0] == last.ids_PxK[:, 0]
    then = one._replace(prompt_PxD=prompt_PxD)
    labels = _labels(then, frozen, nearest.ids_PxK, words)
    return {
        "step": step,
        "nearest": [frozen.pieces[i] for i in nearest.ids_PxK[:, 0]],
        "cosines": nearest.values_PxK[:, 0].tolist(),
        "cosine": float(nearest.values_PxK.mean()),
        "norm": float(places.norms(prompt_PxD).mean()),
        "distinct": len(np.unique(nearest.ids_PxK)),
        "as_now": int(same_P.sum()),
        "labels_at_home": sum(label.rank == 1 for label in labels),
    }


# Of several prompts


def of_several(subjects: Sequence[Subject]) -> dict[str, Any]:
    """How alike the prompts are, [N][N] each; or why they cannot be compared.

    Neurons need the frozen model, one for all.
    """
    prompts = [one.prompt_PxD for one in subjects]
    known = {one.said.get("frozen_fingerprint") for one in subjects} - {None}
    if len({one.shape[1] for one in prompts}) > 1 or len(known) > 1:
        return {"missing": "they are of different frozen models"}
    found = {
        "means": similarities.of_means(prompts).tolist(),
        "positions": similarities.of_positions(prompts).tolist(),
    }
    if len({len(one) for one in prompts}) == 1:
        found["same_positions"] = similarities.of_same_positions(prompts).tolist()
    names = {one.frozen.name if one.frozen else None for one in subjects}
    settings = subjects[0].settings
    if len(names) == 1 and subjects[0].frozen and subjects[0].run.method == "prompt":
        model = parts.build(subject.unscanned(settings))
        made = model.network, model.params
        active = [similarities.active_neurons(*made, one) for one in prompts]
        found["neurons"] = similarities.overlap(np.stack(active)).tolist()
    return found


def text_of_several(found: Mapping[str, Any], names: Sequence[str]) -> str:
    """The similarities as tables."""
    if "missing" in found:
        return f"The prompts are not compared with one another: {found['missing']}."
    tables = []
    for key, title in SIMILARITIES.items():
        if key in found:
            header = [title, *map(str, range(len(names)))]
            rows = [
                [f"{i} {name}", *(f"{value:.3f}" for value in row)]
                for i, (name, row) in enumerate(zip(names, found[key], strict=True))
            ]
            tables.append(lay_out([header, *rows], 1))
    return "\n\n".join(tables)


SIMILARITIES = {
    "means": "cosine of means",
    "positions": "mean cosine of any two positions",
    "same_positions": "mean cosine of same positions",
    "neurons": "overlap of active neurons",
}


# As text


def text(found: Mapping[str, Any]) -> str:
    """The report on one prompt."""
    parts = [_head(found)]
    if found["missing"]:
        parts.append(
            f"Neighbours, clusters, label words and distances need the frozen model, "
            f"and {found['missing']}. If you have it, give "
            "--gin.INITIAL_CHECKPOINT_PATH, and VOCABULARY if no spiece.model is "
            "beside it."
        )
    else:
        parts += [_neighbours(found), _counts(found), _labels_text(found)]
        parts.append(_repeated(found))
        parts.append(_wayward_text(found["wayward"]))
    parts.append(_places(found))
    if found.get("steps"):
        parts.append(_steps_text(found["steps"], found["length"]))
    if found.get("positions"):
        parts.append(_positions(found["positions"]))
    return "\n\n".join(part for part in parts if part)


def _positions(found: Mapping[str, Any]) -> str:
    each = zip(found["without_P"], found["importance_P"], strict=True)
    rows = [
        [str(p), f"{score:.1f}", f"{slope:.3g}"]
        for p, (score, slope) in enumerate(each)
    ]
    paid = found["attention"]
    header = ["pos", "score without it", "|gradient x value| of its mask"]
    changed = [[name, f"{score:.1f}"] for name, score in found["changed"].items()]
    return "\n\n".join(
        [
            f"On {found['examples']:,} examples of {found['split']}:",
            lay_out([header, *rows], 0),
            lay_out(
                [["prompt", "score"], ["whole", f"{found['score']:.1f}"], *changed], 1
            ),
            *(_attention(told, paid[stack]) for stack, told in ATTENDED.items()),
        ]
    )


# What looks at the prompt: the encoder's self-attention, the decoder's cross-attention.
ATTENDED = {"encoder": "encoder: input tokens", "decoder": "decoder: answer tokens"}


def _attention(title: str, paid: Mapping[str, Any]) -> str:
    """The share that goes to the prompt, of each layer and head, in percent."""
    shares_LxH = 100 * np.sum(paid["weights"], axis=-1)
    uniform = 100 * paid["uniform"] * np.shape(paid["weights"])[-1]
    heads = [f"head {h}" for h in range(shares_LxH.shape[1])]
    rows = [
        [f"layer {i}", *(f"{share:.1f}" for share in row), f"{row.mean():.1f}"]
        for i, row in enumerate(shares_LxH)
    ]
    told = f"{title}, % of attention to the prompt (uniform: {uniform:.1f})"
    return told + "\n\n" + lay_out([["", *heads, "mean"], *rows], 1)


def _head(found: Mapping[str, Any]) -> str:
    told = [f"{found['prompt']}: {found['length']} positions of {found['width']}"]
    told += [f"task {found['task']}"] if found["task"] else []
    told += [f"started from {found['init']}"] if found["init"] else []
    if found["frozen_model"]:
        told.append(f"frozen model {found['frozen_model']}, {found['pieces']:,} pieces")
    return ", ".join(told)


def _neighbours(found: Mapping[str, Any]) -> str:
    labels = {label["home"]: label["word"] for label in found["labels"]}
    header = ["pos", "started from", f"nearest {found['k']} by cosine"]
    header += ["by dot", "by L2", "cluster", "norm"]
    rows = []
    for p, near in enumerate(found["neighbours"]):
        clusters = found["clusters"][p]
        told = [f"{len(one['pieces'])} by {one['kind']}" for one in clusters]
        rows.append(
            [
                str(p),
                labels.get(p, ""),
                "  ".join(f"{piece} {value:.2f}" for piece, value in near["cosine"]),
                near["dot"][0][0],
                near["l2"][0][0],
                ", ".join(told),
                f"{found['norms'][p]:.1f}",
            ]
        )
    return lay_out([header, *rows], 6)


def _counts(found: Mapping[str, Any]) -> str:
    header = ["means over the positions", *found["counts"]]
    rows = [
        [text, *(f"{times * each[name]:{form}}" for each in found["counts"].values())]
        for name, (text, times, form) in _COUNTED.items()
        if name != "labels" or found["labels"]
    ]
    return lay_out([header, *rows], 1)


_COUNTED = {
    "cosine": ("cosine of the nearest piece", 1, ".3f"),
    "distinct": ("distinct nearest pieces", 1, ".1f"),
    "in_clusters": ("neighbours in a lexical cluster, %", 100, ".1f"),
    "tightness": ("cosine of the neighbours among themselves", 1, ".3f"),
    "labels": ("label words among the neighbours", 1, ".1f"),
}


def _labels_text(found: Mapping[str, Any]) -> str:
    labels, k = found["labels"], found["k"]
    if not labels:
        return ""
    at_home = [label for label in labels if label["home"] is not None]
    first = sum(label["rank"] == 1 for label in at_home)
    near = sum(label["rank"] <= k for label in at_home)
    header = ["label word", "position", "rank there", "elsewhere, at"]
    rows = [
        [
            label["word"],
            "-" if label["home"] is None else str(label["home"]),
            "-" if label["rank"] is None else str(label["rank"]),
            " ".join(map(str, label["others"])) or "-",
        ]
        for label in labels
    ]
    told = (
        f"{first} of {len(at_home)} label words are the nearest piece of the position "
        f"that started from them; {near} are among the nearest {k}"
    )
    return lay_out([header, *rows], 4) + (f"\n\n{told}" if at_home else "")


def _repeated(found: Mapping[str, Any]) -> str:
    if not found["repeated"]:
        return "No piece is the nearest of two positions."
    told = "; ".join(
        f"{one['piece']} at {' '.join(map(str, one['positions']))}"
        for one in found["repeated"]
    )
    count = sum(len(one["positions"]) for one in found["repeated"])
    return f"{count} positions share their nearest piece with another: {told}"


def _wayward_text(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    counted = ", ".join(f"{n} by {measure}" for measure, n in found["nearest"].items())
    return (
        f"Held near {found['text']!r} with weight {found['weight']}: of its "
        f"{found['pieces']} pieces, nearest to their position are {counted}; mean L2 "
        f"distance {found['distance']:.2f}"
    )


def _places(found: Mapping[str, Any]) -> str:
    rows = [["norm of a position", found["norm"]]]
    if not found["missing"]:
        rows += [
            ["norm of an embedding", found["embedding_norm"]],
            ["L2 distance of a position to its nearest piece", found["distance"]],
            [
                "L2 distance of a piece to its nearest other",
                found["embedding_distance"],
            ],
        ]
    header = ["", "mean", "least", "most"]
    cells = [[name, *(f"{x:.2f}" for x in of.values())] for name, of in rows]
    told = f"mean cosine of two positions: {found['cosine_of_positions']:.3f}"
    if pair := found["most_alike"]:
        of = " and ".join(map(str, pair["positions"]))
        told += f"; highest: {pair['cosine']:.3f}, of {of}"
    return lay_out([header, *cells], 1) + "\n\n" + told


def _steps_text(steps: Sequence[Mapping[str, Any]], length: int) -> str:
    header = ["step", "nearest of positions 0, 1, ...", "cosine", "norm", "distinct"]
    header += [f"as at the end, of {length}", "label words at home"]
    rows = [
        [
            str(one["step"]),
            " ".join(one["nearest"][:6]),
            f"{one['cosine']:.3f}",
            f"{one['norm']:.1f}",
            str(one["distinct"]),
            str(one["as_now"]),
            str(one["labels_at_home"]),
        ]
        for one in steps
    ]
    return lay_out([header, *rows], 2)
