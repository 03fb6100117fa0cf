"""What a process does with memory that it no longer needs."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next allocation, not hand it back at once.

    Torch asks for the same large maps in every step. By default glibc gets and returns each with
    a system call, and every page is cleared anew: the paper's fine model then trains half as
    fast on a CPU. The process stays at the largest size it had.

    Returns:
        bool: Whether the C library can do that; others than glibc go on as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
