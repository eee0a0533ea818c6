"""A step's arrays come in huge pages; the program is the same after its new start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = """
import resource, sys
from prompt_tuning import memory
if sys.argv[1] == "huge":
    memory.use_huge_pages()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: x + 1)
x = jnp.zeros(2**24)
for _ in range(2):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
NONE = not SWITCH.exists() or "[never]" in SWITCH.read_text()


ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}


@pytest.mark.skipif(NONE, reason="the system has no huge pages to give")
def test_a_steps_memory_comes_in_few_pages():
    plain, huge = (
        int(
            subprocess.check_output(
                [sys.executable, "-c", STEPS, kind], env=ENVIRONMENT
            )
        )
        for kind in ("plain", "huge")
    )
    assert plain > 4 * 2**26 / 4096 / 2 and huge < plain / 4


START = """
import os, sys
from prompt_tuning import memory
print("start", flush=True)
memory.use_huge_pages()
print(os.environ["GLIBC_TUNABLES"], sys.argv[1:], os.getpid() == int(sys.stdin.read()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_it_starts_again_once_with_the_same_arguments_and_input():
    name = "glibc.malloc.hugetlb"
    for given, kept, starts in (
        ({}, f"{name}=1", 2),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.check=0"},
            f"glibc.malloc.check=0:{name}=1",
            2,
        ),
        ({"GLIBC_TUNABLES": f"{name}=0"}, f"{name}=0", 1),  # the user's choice
    ):
        process = subprocess.Popen(
            [sys.executable, "-c", START, "a b", "*"],
            env=ENVIRONMENT | given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        out, _ = process.communicate(str(process.pid))
        assert out.splitlines() == ["start"] * starts + [f"{kept} ['a b', '*'] True"]
