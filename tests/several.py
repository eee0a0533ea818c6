"""Real processes of one run, over localhost. Nothing here is a test."""

import socket
import subprocess
import sys
from pathlib import Path

import small

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "-m", "prompt_tuning"


def start(devices, *flags, program=PROGRAM, **settings):
    """A process that runs `train` on some virtual devices."""
    environment = small.environment()
    # Of the tests' flags, with another number of devices: of two the last one counts.
    environment["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
    environment["JAX_NUMPY_RANK_PROMOTION"] = "allow"  # JAX's own host checks promote
    return subprocess.Popen(
        [sys.executable, *program, "train", *small.flags(**settings), *flags],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def two(devices, each=({}, {}), programs=(PROGRAM, PROGRAM), **settings):
    """Two processes of a run, with what is each one's own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = [f"--coordinator_address=localhost:{port}", "--num_processes=2"]
    return [
        start(
            devices,
            *(*flags, f"--process_id={number}"),
            program=programs[number],
            **settings | each[number],
        )
        for number in range(2)
    ]


def ends(processes, seconds=300):
    """(exit code, stdout, stderr) of each process."""
    outputs = [process.communicate(timeout=seconds) for process in processes]
    return [
        (process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]


def finished(processes):
    """What each process printed; it must have ended well."""
    found = ends(processes)
    for code, _, errors in found:
        assert code == 0, errors[-3000:]
    return [output for _, output, _ in found]
