"""How a process is given its memory."""

import contextlib
import os
import sys

_TUNABLE = "glibc.malloc.hugetlb"


def use_huge_pages() -> None:
    """Starts this program again, as the same process, with huge pages if it has none.

    On a CPU each step takes large blocks of memory from the system and gives them back.
    In pages of 4 KB that is 205,000 page faults for a step of T5 Small, a quarter of
    its time; in pages of 2 MB it is a thousand. glibc reads the setting only when a
    process starts. Where there is no glibc, or the system has no huge pages, nothing
    changes.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or not sys.executable or _TUNABLE in tunables:
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, f"{_TUNABLE}=1"]))
    with contextlib.suppress(OSError):  # then it goes on without
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
