"""What the C library does with freed memory: kept between tensors, given back between requests."""

from __future__ import annotations

import ctypes
import platform


def keep_memory() -> None:
    """Keep glibc from returning every large tensor to the kernel (Linux; elsewhere nothing).

    A freed tensor above M_MMAP_THRESHOLD is unmapped, and the next one of its size is faulted in
    page by page: a quarter of a CPU training step, and several times that on a busy virtual
    machine. The price is a resident size that stays at its peak.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 64 << 20)


def release_memory() -> None:
    """Give the kernel back what ``keep_memory`` kept and nothing uses (Linux; elsewhere nothing).

    For servers, after a request: it takes some 5 ms, and the next photograph is not slower for it.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
