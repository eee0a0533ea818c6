"""Folders here and in buckets (gs://...), for tensorstore."""

from pathlib import Path

import tensorstore as ts

RETRIES = 3  # of a request to a bucket, after 1, 2 and 4 seconds
CACHE = 2**28  # bytes of decoded chunks of T5X; devices often share one


def exists(folder: str, name: str) -> bool:
    """Whether a folder holds a file of that name."""
    if "://" not in folder:  # a pipe would be waited on
        return Path(folder, name).is_file()
    return keys(folder).read(name).result().state == "value"


def keys(folder: str) -> ts.KvStore:
    """The files in a folder, by their names in it."""
    return ts.KvStore.open(store(folder), context=context()).result()


def context() -> ts.Context:
    """The cache and the retries, shared by everything that is opened with it."""
    cache = {"total_bytes_limit": CACHE}
    retries = {"max_retries": RETRIES}
    return ts.Context({"cache_pool": cache, "gcs_request_retries": retries})


def store(folder: str) -> dict[str, str]:
    """A folder as tensorstore specifies it."""
    if not folder.startswith("gs://"):
        return {"driver": "file", "path": f"{Path(folder).resolve()}/"}
    bucket, _, inside = folder.removeprefix("gs://").partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": inside.rstrip("/") + "/"}
