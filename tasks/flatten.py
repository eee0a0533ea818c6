"""Lines of SuperGLUE's official files -> TFDS's records, where the two differ."""

from prompt_tuning.tasks import DataError
from prompt_tuning.tasks.files import Record, need


def multirc(line: Record) -> list[Record]:
    """A passage with questions and their answer options -> a record per option."""
    passage = need(line, "passage", dict)
    records = []
    for question in need(passage, "questions", list):
        for answer in need(question, "answers", list):
            record = {
                "paragraph": need(passage, "text"),
                "question": need(question, "question"),
                "answer": need(answer, "text"),
                "idx": {"question": need(question, "idx", int)},
            }
            label = {"label": answer["label"]} if "label" in answer else {}
            records.append(record | label)
    return records


def record(line: Record) -> list[Record]:
    """A passage with queries -> a record per query; names once, alphabetically."""
    passage = need(line, "passage", dict)
    text = need(passage, "text")
    entities = {
        text[need(entity, "start", int) : need(entity, "end", int) + 1]
        for entity in need(passage, "entities", list)
    }
    records = []
    for query in need(line, "qas", list):
        found = {
            "passage": text,
            "query": need(query, "query"),
            "entities": sorted(entities),
            "idx": {
                "passage": need(line, "idx", int),
                "query": need(query, "idx", int),
            },
        }
        if query.get("answers") is not None:
            answers = {need(answer, "text") for answer in need(query, "answers", list)}
            found["answers"] = sorted(answers)
        records.append(found)
    return records


def winograd(line: Record) -> list[Record]:
    """WSC, its spans corrected so that the text contains them, as TFDS's wsc.fixed."""
    line = line | need(line, "target", dict)
    for span in ("span1", "span2"):
        text = need(line, "text")
        part = need(line, f"{span}_text")
        index = need(line, f"{span}_index", int)
        words = text.split()
        if not part.strip() or not words:
            raise DataError(f"'{span}_text' is {part!r}; it must be words of the text")
        # TFDS leaves the two spans alone that other words interrupt.
        if part in text or part.startswith("Kamenev"):
            continue
        if "theyscold" in part:
            line["span2_index"] = 10
        if not 0 <= index < len(words):
            raise DataError(
                f"'{span}_text' is {part!r} at word {index} ('{span}_index'), but the "
                f"text has words 0 to {len(words) - 1}; a span must be in the text"
            )
        first = words[index : index + 1]
        start = part[:1].lower() if first[0][0].islower() else part[:1].upper()
        mended = (start + part[1:]).rstrip(".").replace("\n", " ")
        if mended not in text:
            raise DataError(f"'{span}_text' is {part!r}, which is not in the text")
        line[f"{span}_text"] = mended
    return [line]
