"""An npm registry with a few hundred small packages, in a process of its own.

``python -m tests.benchmark.npm_registry COUNT`` serves until its standard input ends. Its first
and only line on standard output is ``{"url": …, "lock": …}``: a lock of all its packages, each
pinned by its sha512. The same count gives the same bytes.

The packages are like the middle half of what real locks name: a manifest, a README, an MIT text and
a few modules; some 25 kB unpacked, 7 kB packed.
"""

import gzip
import json
import sys
from random import Random
from typing import Any, Final
from urllib.parse import quote

from tests.registry_server import (
    Answer,
    RegistryServer,
    dist,
    integrity,
    npm_package,
    tarball_path,
)

VERSION: Final = "1.4.2"
SEED: Final = 20240229
WORDS: Final = (
    "value", "index", "result", "options", "callback", "buffer", "stream", "request", "handler",
    "module", "exports", "config", "path", "name", "parse", "string", "length", "object", "array",
    "prototype", "error", "promise", "async", "resolve", "reject", "emit",
)  # fmt: skip
MIT: Final = """MIT License

Copyright (c) 2024 The authors

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def names(count: int) -> list[str]:
    """Distinct; every tenth has a scope."""
    plain = (f"sample-{number:04}" for number in range(count))
    return [f"@corp/{name}" if name.endswith("7") else name for name in plain]


def _prose(random: Random, size: int) -> str:
    """Code-like text of about ``size`` characters that packs to a third or less."""
    lines = []
    while size > 0:
        words = random.choices(WORDS, k=random.randint(3, 9))
        line = f"  const {words[0]}{random.randint(0, 999)} = {'.'.join(words[1:])}();"
        lines.append(line)
        size -= len(line)
    return "\n".join(lines)


def _manifest(random: Random, name: str) -> dict[str, Any]:
    return {
        "description": " ".join(random.choices(WORDS, k=9)),
        "license": "MIT",
        "main": "index.js",
        "keywords": random.choices(WORDS, k=5),
        "author": {"name": "A. Nonymous", "email": "author@example.test"},
        "repository": {"type": "git", "url": f"git+https://git.example.test/{name}.git"},
        "scripts": {"test": "node test.js", "lint": "eslint ."},
        "dependencies": {f"dependency-{n}": f"^{n}.0.0" for n in range(random.randint(0, 4))},
        "engines": {"node": ">=12"},
    }


def package(name: str) -> tuple[bytes, dict[str, Any]]:
    """(tarball, manifest) of one package."""
    random = Random(f"{SEED} {name}")
    manifest = _manifest(random, name)
    modules = {
        f"lib/module-{number}.js": _prose(random, random.randint(500, 4000))
        for number in range(random.randint(3, 12))
    }
    texts = {"README.md": _prose(random, 4000), "LICENSE": MIT, "index.js": _prose(random, 1500)}
    return npm_package(name, VERSION, {**texts, **modules}, **manifest), manifest


def publish(server: RegistryServer, name: str) -> dict[str, Any]:
    """Serve one package; answers its entry in a lock."""
    tarball, manifest = package(name)
    path = tarball_path(name, VERSION)
    document = {
        "name": name, "version": VERSION, **manifest,
        "maintainers": [{"name": "anonymous", "email": "author@example.test"}],
        "dist": {**dist(tarball), "tarball": f"{server.url}{path}", "unpackedSize": 25_000},
    }  # fmt: skip
    # Packed once, as a registry's cache in front of it would.
    headers = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))
    packed = gzip.compress(json.dumps(document).encode())
    server.answer(f"/{quote(name, safe='@')}/{VERSION}", Answer(body=packed, headers=headers))
    server.answer(path, Answer(body=tarball))
    resolved = f"{server.url}{path}"
    return {"version": VERSION, "resolved": resolved, "integrity": integrity(tarball)}


def lock_of(server: RegistryServer, count: int) -> dict[str, Any]:
    """Publish ``count`` packages; answers a lock that names them all."""
    entries = {f"node_modules/{name}": publish(server, name) for name in names(count)}
    root = {"name": "benchmark", "version": "1.0.0"}
    return {**root, "lockfileVersion": 3, "packages": {"": root, **entries}}


def main() -> None:
    with RegistryServer() as server:
        told = {"url": server.url, "lock": lock_of(server, int(sys.argv[1]))}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
