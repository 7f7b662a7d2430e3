"""Make the C library keep freed memory between tensors, and return it between requests."""

from __future__ import annotations

import ctypes
import platform


def keep_memory() -> None:
    """Stop glibc from returning every large tensor to the kernel (Linux; elsewhere does nothing).

    By default, a freed tensor larger than M_MMAP_THRESHOLD is unmapped, and the next one of its
    size is faulted in page by page. That takes a quarter of a CPU training step, and several times
    as much on a busy virtual machine. The price is that the resident size stays at its peak.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 64 << 20)


def release_memory() -> None:
    """Return the unused memory that ``keep_memory`` kept to the kernel (Linux; elsewhere nothing).

    For servers, after a request. It takes about 5 ms and does not slow down the next photograph.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
