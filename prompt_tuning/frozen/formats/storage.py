"""Folders here and in buckets (gs://...), as tensorstore takes them."""

from pathlib import Path

import tensorstore as ts

RETRIES = 3  # of a request to a bucket, after 1, 2 and 4 seconds
CACHE = 2**28  # bytes of T5X's chunks, decoded: those of several devices are often one


def exists(folder: str, name: str) -> bool:
    """Whether a folder holds a file."""
    return keys(folder).read(name).result().state == "value"


def keys(folder: str) -> ts.KvStore:
    """A folder's files, by their names in it."""
    return ts.KvStore.open(store(folder), context=context()).result()


def context() -> ts.Context:
    """The cache and the retries that what is opened with it has in common."""
    cache = {"total_bytes_limit": CACHE}
    retries = {"max_retries": RETRIES}
    return ts.Context({"cache_pool": cache, "gcs_request_retries": retries})


def store(folder: str) -> dict[str, str]:
    """A folder in tensorstore's terms."""
    if not folder.startswith("gs://"):
        return {"driver": "file", "path": f"{Path(folder).resolve()}/"}
    bucket, _, inside = folder.removeprefix("gs://").partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": inside.rstrip("/") + "/"}
