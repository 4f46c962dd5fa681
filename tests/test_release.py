"""What is handed out: wheel and source distribution hold what they need and nothing more.

The wheel is installed into an environment of its own, away from the source, and works there without a
network: help, completion, a mask by the model that the package brings.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as PilImage

from promptseg._version import __version__

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NOWHERE = "http://127.0.0.1:9"  # the port where everything is thrown away: no network


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows, in a folder without what earlier builds have left."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a repository of git")
    folder = tmp_path_factory.mktemp("source")
    for name in filter(None, listed.stdout.split("\0")):
        if name.split("/")[0] in ("tests", "benchmarks", "apps", "docs", "recipes"):
            continue
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    for folder_ in ("tests", "docs"):  # something that must stay out
        (folder / folder_).mkdir()
        (folder / folder_ / "test_nothing.py").write_text("")
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source distribution and wheel, the latter made from the former."""
    out = tmp_path_factory.mktemp("dist")
    script = "import sys; from setuptools.build_meta import build_sdist, build_wheel; "
    _run([sys.executable, "-c", script + "build_sdist(sys.argv[1])", str(out)], source)
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(out / "unpacked", filter="data")
    (unpacked,) = (out / "unpacked").iterdir()
    _run([sys.executable, "-c", script + "build_wheel(sys.argv[1])", str(out)], unpacked)
    (wheel,) = out.glob("*.whl")
    return archive, wheel


def _run(words: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(
    source: Path, built: tuple[Path, Path]
) -> None:
    with zipfile.ZipFile(built[1]) as opened:
        names = set(opened.namelist())
        (metadata,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(opened.read(metadata).decode())
    package = {n for n in names if ".dist-info/" not in n}
    wanted = {p.relative_to(source / "src").as_posix() for p in (source / "src").rglob("*")}
    wanted = {n for n in wanted if (source / "src" / n).is_file() and "__pycache__" not in n}
    wanted = {n for n in wanted if ".egg-info/" not in n}
    assert package == wanted
    licences = {Path(n).name for n in names if "/licenses/" in n}
    assert licences == {"LICENSE", "NOTICE"}
    assert said["Version"] == __version__
    assert said["Requires-Python"] == ">=3.11"
    assert sum(len(n) for n in names) < 1 << 20


@pytest.mark.slow
def test_the_source_distribution_builds_the_wheel_and_holds_nothing_else(
    built: tuple[Path, Path],
) -> None:
    with tarfile.open(built[0]) as opened:
        names = {n.partition("/")[2] for n in opened.getnames()}
    tops = {n.split("/")[0] for n in names if n}
    assert tops == {
        *("src", "pyproject.toml", "setup.cfg", "MANIFEST.in", "PKG-INFO", "README.md"),
        *("LICENSE", "NOTICE", "CHANGELOG.md", "CITATION.cff", "constraints.txt"),
    }
    assert built[0].stat().st_size < 80 << 20


@pytest.mark.slow
def test_the_wheel_works_away_from_the_source_and_without_a_network(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    place = tmp_path / "environment"
    venv.create(place, with_pip=False, symlinks=True)
    binaries = place / ("Scripts" if os.name == "nt" else "bin")
    python = str(binaries / Path(sys.executable).name)
    own = sysconfig.get_paths(vars={"base": str(place), "platbase": str(place)})["purelib"]
    # requirements come from here; an editable installation does not, as its own .pth is not read
    others = sysconfig.get_paths()["purelib"]
    (Path(own) / "requirements.pth").write_text(others)
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps"]
    clean = {"PYTHONPATH": "", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    _run([*install, "--force-reinstall", str(built[1])], tmp_path, **clean)

    alone = {**clean, "http_proxy": NOWHERE, "https_proxy": NOWHERE, "no_proxy": ""}
    alone |= {"PROMPTSEG_HOME": str(tmp_path / "home"), "PROMPTSEG_WEIGHTS": "", "COLUMNS": "100"}
    command = str(binaries / "promptseg")
    where = _run([python, "-c", "import promptseg; print(promptseg.__file__)"], tmp_path, **alone)
    assert str(place) in where
    assert _run([command, "--version"], tmp_path, **alone).strip() == __version__
    assert "usage: promptseg segment -i PATH" in _run(
        [command, "segment", "--help"], tmp_path, **alone
    )
    assert "complete -o default" in _run([command, "completion", "bash"], tmp_path, **alone)

    refused = subprocess.run(
        [command, "demo", "--quiet", "-o", "demo"],
        cwd=tmp_path,
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "without a network, name an image: promptseg demo -i FILE --box" in refused.stderr
    assert not (tmp_path / "demo").exists()

    pixels = np.full((160, 200), 40, np.uint8)
    pixels[48:100, 62:130] = 210
    PilImage.fromarray(pixels).save(tmp_path / "image.png")
    words = ["segment", "-i", "image.png", "-o", "mask.png", "--model", "promptseg-lite"]
    _run([command, *words, "--box", "60,46,132,102", "--engine", "eager"], tmp_path, **alone)
    mask = np.asarray(PilImage.open(tmp_path / "mask.png")) > 0
    inside = pixels > 128
    assert (mask & inside).sum() > 0.8 * (mask | inside).sum()


def test_the_conda_recipe_asks_for_what_the_package_does() -> None:
    recipe = yaml.safe_load((ROOT / "deploy" / "conda" / "recipe.yaml").read_text("utf-8"))
    assert recipe["context"]["version"] == __version__
    other = {"torch": "pytorch"}  # names that differ in conda-forge
    wanted = {f"python {PROJECT['requires-python']}"}
    for requirement in PROJECT["dependencies"]:
        name, bound = re.match(r"([\w.-]+)(>=[\d.]+)", requirement).groups()  # type: ignore[union-attr]
        wanted.add(f"{other.get(name.lower(), name.lower())} {bound}")
    assert set(recipe["requirements"]["run"]) == wanted
    (script,) = recipe["build"]["python"]["entry_points"]
    assert script == f"promptseg = {PROJECT['scripts']['promptseg']}"


def test_the_builder_of_conda_packages_renders_the_recipe() -> None:
    builder = pytest.importorskip("rattler_build")  # the extra `conformance`
    path = ROOT / "deploy" / "conda" / "recipe.yaml"
    text = path.read_text("utf-8")
    (variant,) = builder.Stage0Recipe.from_file(str(path)).render()
    made = variant.recipe.to_dict()
    assert made["package"] == {"name": "promptseg", "version": __version__}
    assert made["build"]["noarch"] == "python"
    assert made["requirements"]["run"] == yaml.safe_load(text)["requirements"]["run"]
    for right, wrong in (
        ("license_file", "licence_file"),
        ("${{ version }}", "${{ versoin }}"),
        ("pytorch >=2.6", "pytorch >=>2.6"),
    ):
        with pytest.raises(builder.RattlerBuildError):
            builder.Stage0Recipe.from_yaml(text.replace(right, wrong)).render()


def test_the_recipe_finds_the_source_and_the_licences() -> None:
    place = ROOT / "deploy" / "conda"
    recipe = yaml.safe_load((place / "recipe.yaml").read_text("utf-8"))
    source = (place / recipe["source"]["path"]).resolve()
    assert (source / "pyproject.toml").is_file()
    for name in recipe["about"]["license_file"]:
        assert (source / name).is_file(), name
    assert recipe["about"]["license"] == PROJECT["license"]


def test_the_citation_names_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == __version__


def test_continuous_integration_runs_every_version_that_is_promised() -> None:
    promised = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if ":: Python :: 3." in c]
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    assert yaml.safe_load(workflow)["jobs"]["quick"]["strategy"]["matrix"]["python"] == promised
