import os
import subprocess
import sys

import pytest

TELL = "from promptseg.runtime.allocator import keep_freed_memory as k; print(k())"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is on Linux")
@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_an_allocator_the_user_has_set_is_left_alone(name: str) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    env.pop("GLIBC_TUNABLES", None)
    said = [
        subprocess.run(
            [sys.executable, "-c", TELL],
            env=env | extra,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for extra in ({}, {name: "glibc.malloc.arena_max=2" if "GLIBC" in name else "2"})
    ]
    assert said == ["True", "False"]


GIVE = """
from promptseg.runtime.allocator import give_back_freed_memory, keep_freed_memory
keep_freed_memory()

def resident():
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) / 1024

held = [bytearray(4000) for _ in range(30_000)]
last = bytearray(4000)  # above them, so that they are not at the heap's end
del held
before = resident()
give_back_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is on Linux")
def test_what_was_freed_is_given_back() -> None:
    ran = subprocess.run([sys.executable, "-c", GIVE], capture_output=True, text=True, check=True)
    assert float(ran.stdout) > 60  # of the 114 MiB
