"""Completion: scripts that real shells run, complete and quick."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from promptseg.cli.completion import script_for
from promptseg.cli.help import options_of
from promptseg.cli.kinds import KINDS, kind_of
from promptseg.cli.main import VERBS, main


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "promptseg.bash"
    path.write_text(script_for("bash"), encoding="utf-8")
    return path


def completed(script: Path, *words: str) -> set[str]:
    """What bash offers after these words, the last of them half typed."""
    typed = " ".join(f"'{word}'" for word in words)
    program = (
        f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _promptseg; "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_verbs_options_and_values(script: Path) -> None:
    assert completed(script, "promptseg", "ev") == {"evaluate"}
    assert completed(script, "promptseg", "") >= set(VERBS)
    assert completed(script, "promptseg", "segment", "--prop") == {"--propagate"}
    assert completed(script, "promptseg", "segment", "--model", "mobile") == {"mobile-sam"}
    assert "openvino" in completed(script, "promptseg", "segment", "--engine", "")
    assert completed(script, "promptseg", "evaluate", "--protocol", "inter") == {
        "interactive-2d",
        "interactive-3d",
    }
    assert completed(script, "promptseg", "evaluate", "comp") == {"compare"}
    assert "--across" in completed(script, "promptseg", "evaluate", "compare", "a", "b", "--")
    assert "--across" not in completed(script, "promptseg", "evaluate", "--")
    assert completed(script, "promptseg", "segment", "-i", "no-such-prefix") == set()  # files


def test_every_option_is_in_every_script() -> None:
    bash, fish = script_for("bash"), script_for("fish")
    for verb in KINDS:
        (line,) = (text for text in bash.splitlines() if text.startswith(f'    "{verb}") options='))
        for option in options_of(kind_of(verb), verb):
            assert all(f"{flag} " in line for flag in option.flags), (verb, option.name)
            for flag in option.flags:
                name = f"-l {flag[2:]} " if flag.startswith("--") else f"-s {flag[1:]} "
                assert name in fish, (verb, flag)
    assert "bashcompinit" in script_for("zsh")


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    assert "complete -o default -F _promptseg promptseg" in capsys.readouterr().out
    assert main(["completion", "tcsh"]) == 2


def test_promptseg_alone_shows_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert printed.index("To begin:") < printed.index("promptseg demo") < printed.index("Verbs:")
