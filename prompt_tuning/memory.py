"""How a process keeps its memory."""

import ctypes

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed() -> None:
    """Lets malloc keep what is freed, for the next step's arrays.

    By default glibc gives large blocks back to the system, and a step on a CPU spends a
    fifth of its time on getting its pages again. To be called before JAX starts its
    threads, which would otherwise have heaps of their own, where large blocks have no
    room. Without glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter, value in (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1):
            mallopt(parameter, value)
