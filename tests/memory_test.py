"""A step's arrays come from memory that the process already has."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys
from prompt_tuning import memory
if sys.argv[1:]:
    memory.keep_freed()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.sort(x + 1) * 2)
x = jnp.zeros(2**24)
for _ in range(2):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again():
    default, kept = (
        int(subprocess.check_output([sys.executable, "-c", STEPS, *more]))
        for more in ((), ("keep",))
    )
    assert default > 4 * 2**26 / 4096 / 2 and kept < default / 4
