"""The rules of the house that no linter knows: what each file, the README, the lock and the image owe a reader.

Knows files and the commands that read them; nothing of what the service does.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlalchemy import make_url

from app.main import create_app
from app.settings import Settings
from scripts.machine_paths import kept_files, machine_paths
from scripts.settings_table import table, with_table

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 320
PYTHON_FILES = [path for path in kept_files() if path.suffix == ".py"]
HEAVY = ("torch", "transformers", "botorch", "gpytorch", "peft", "matplotlib", "sklearn", "scipy", "jax")


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Files


def test_every_python_file_says_in_its_first_lines_what_it_is() -> None:
    silent = []
    for path in PYTHON_FILES:
        text = path.read_text(encoding="utf-8")
        # An empty __init__.py has nothing to say.
        if text.strip() and len((ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]) < 15:
            silent.append(_name(path))
    assert silent == [], "begin each with a docstring: what it is for, and what it must not know"


def test_no_python_file_has_outgrown_one_job() -> None:
    lines = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PYTHON_FILES}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}, "make two files of each"


def test_no_kept_file_names_a_path_of_one_machine() -> None:
    found = []
    for path in kept_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights and pictures
        found += [f"{_name(path)}:{line}: {name}" for line, name in machine_paths(text)]
    assert found == []


@pytest.mark.parametrize("folder", ["root", "home", "Users", "work"])
def test_a_machine_path_is_found_and_a_url_or_relative_path_is_not(folder: str) -> None:
    assert machine_paths(f"first\nsee /{folder}/someone/notes.txt") == [(2, f"/{folder}/someone")]
    assert machine_paths(f"https://host/{folder}/page, tests/{folder}/a.py, ~/{folder}/x, /v1/users/u") == []


def test_import_rules_hold() -> None:
    ran = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("module", ["app.main", "app.cli.main", "app.settings", "workers.celery_app"])
def test_a_schema_or_a_help_page_loads_no_heavy_library(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    if module == "app.main":
        program = program.replace("; print", "; app.main.create_app().openapi(); print")
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


# README


def test_the_readme_explains_every_setting_as_it_is() -> None:
    readme = _read("README.md")
    assert with_table(readme) == readme, "run `make docs-settings`"


def test_every_setting_has_a_description_and_no_default_of_one_machine() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    assert machine_paths(table()) == []
    assert str(ROOT) not in table()


def test_a_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        with_table("# no table here")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_link_and_every_make_target_of_the_documents_exists(name: str) -> None:
    text = _read(name)
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):.*##", _read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)(?:\w+=\S+ )?make ([a-z-]+)", text, re.MULTILINE))
    assert named
    assert named <= targets


def test_the_readme_names_every_route() -> None:
    routes = set(create_app(Settings()).openapi()["paths"])
    named = set(re.findall(r"(?<=[` ])/[\w/{}]+(?=`)", _read("README.md")))
    assert routes - named == set()


def test_ci_runs_the_readmes_commands_as_a_reader_types_them() -> None:
    script = _read(".ci/run")
    assert os.access(ROOT / ".ci/run", os.X_OK)
    commands = re.findall(r"make .*$", script.split("set -euo pipefail", 1)[1], re.MULTILINE)
    assert commands == ["make check", "make test", "make audit"]
    assert re.search(r"^make test\b", _read("README.md"), re.MULTILINE)
    limit = re.search(r"limit_seconds=(\d+)", script)
    assert limit is not None
    assert int(limit.group(1)) <= 40 * 60


# Lock


def _locked() -> dict[str, Requirement]:
    lines = [line for line in _read("requirements.lock").splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def _wanted(extra_names: tuple[str, ...] = ("dev", "s3", "fully-bayesian", "otel")) -> list[Requirement]:
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    lines = project["dependencies"] + [line for name in extra_names for line in project["optional-dependencies"][name]]
    return [Requirement(line) for line in lines]


def test_the_lock_holds_one_exact_version_of_everything_and_each_fulfils_its_range() -> None:
    locked = _locked()
    assert {len(requirement.specifier) for requirement in locked.values()} == {1}
    assert {spec.operator for requirement in locked.values() for spec in requirement.specifier} == {"=="}
    for wanted in _wanted():
        version = next(iter(locked[canonicalize_name(wanted.name)].specifier)).version
        assert wanted.specifier.contains(version), f"{wanted} does not allow the locked {version}"


def test_the_lock_holds_whatever_the_installed_packages_need_in_turn() -> None:
    locked, seen, missing = _locked(), set(), set()
    todo = [(requirement, extra) for requirement in _wanted() for extra in ("", *requirement.extras)]
    while todo:
        wanted, extra = todo.pop()
        name = canonicalize_name(wanted.name)
        if (name, extra) in seen or (wanted.marker and not wanted.marker.evaluate()):
            continue
        seen.add((name, extra))
        if name not in locked:
            missing.add(name)
            continue
        if name == "torch":
            continue  # its CUDA libraries belong to the build that is installed, see the lock's first lines
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                needed.marker = None
                todo += [(needed, inner) for inner in ("", *needed.extras)]
    assert missing == set()


# Image and compose


def _compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(_read("docker-compose.yml"))
    return loaded


def _compose_client() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


@pytest.mark.skipif(_compose_client() is None, reason="no docker compose client on this machine")
@pytest.mark.parametrize("profile", [[], ["--profile", "gpu"]], ids=["cpu", "gpu"])
def test_docker_compose_accepts_the_file(profile: list[str]) -> None:
    ran = subprocess.run(
        [*(_compose_client() or []), *profile, "config", "--quiet"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_every_compose_service_has_a_health_check_and_keeps_its_data_in_a_named_volume() -> None:
    compose = _compose()
    assert set(compose["services"]) == {"api", "worker", "worker-gpu", "redis", "postgres"}
    for name, service in compose["services"].items():
        assert service["healthcheck"]["test"], name
        volumes = {volume.split(":")[0] for volume in service["volumes"]}
        assert volumes
        assert volumes <= set(compose["volumes"]), name


def test_only_the_gpu_profile_asks_for_a_device() -> None:
    services = _compose()["services"]
    asking = {name for name, service in services.items() if "deploy" in service}
    assert asking == {"worker-gpu"}
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]


def test_every_variable_of_the_image_compose_and_the_env_example_is_a_setting() -> None:
    settings = {f"MILP_{name.upper()}" for name in Settings.model_fields}
    for name in (
        "Dockerfile",
        "docker-compose.yml",
        ".env.example",
        "README.md",
        "CONTRIBUTING.md",
        "docs/security.md",
        "docs/operations.md",
        "ops/alerts.yml",
    ):
        assert set(re.findall(r"\bMILP_[A-Z_]+\b", _read(name))) <= settings, name


def test_the_services_compose_starts_share_database_broker_and_store() -> None:
    services = _compose()["services"]
    for name in ("api", "worker", "worker-gpu"):
        environment = services[name]["environment"]
        assert environment["MILP_DATABASE_URL"].startswith("postgresql+psycopg://"), name
        assert environment["MILP_BROKER_URL"].startswith("redis://redis:"), name
        assert "/data/store" in environment["MILP_STORE_URL"], name
        assert "data:/data" in services[name]["volumes"], name


def test_the_databases_password_is_no_part_of_a_url() -> None:
    """There, an @ or a / in it would have to be escaped, and compose cannot."""
    services = _compose()["services"]
    for name in ("api", "worker", "worker-gpu"):
        environment = services[name]["environment"]
        assert make_url(environment["MILP_DATABASE_URL"]).password is None, name
        assert environment["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"], name


def test_the_image_runs_as_an_ordinary_user() -> None:
    users = re.findall(r"^USER (\w+)$", _read("Dockerfile"), re.MULTILINE)
    assert users
    assert users[-1] != "root"


def test_the_image_leaves_secrets_and_data_behind() -> None:
    ignored = _read(".dockerignore").splitlines()
    assert {".env", ".git", ".venv", ".milp"} <= set(ignored)
