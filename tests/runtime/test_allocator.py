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
