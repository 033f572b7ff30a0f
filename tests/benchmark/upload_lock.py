"""Lock files like those of large applications, as npm 7 and later write them, of any size."""

import json
from base64 import b64encode
from random import Random
from typing import Any, Final

HOST: Final = "registry.example.test"

_WORDS: Final = (
    "array", "buffer", "cache", "color", "core", "data", "event", "file", "hash", "http", "json",
    "loader", "map", "node", "object", "parse", "path", "plugin", "promise", "regex", "schema",
    "stream", "string", "style", "table", "test", "tool", "tree", "type", "url", "util", "web",
)  # fmt: skip
_SCOPES: Final = ("babel", "types", "eslint", "jest", "aws-sdk", "rollup", "storybook")
_LICENCES: Final = ("MIT",) * 8 + ("ISC", "Apache-2.0", "BSD-3-Clause", "(MIT OR CC0-1.0)")


def lock(entries: int, *, tag: str, seed: int = 7) -> bytes:
    """A version 3 lock of ``entries`` entries besides the root's, all of different bytes.

    A quarter has a scope, an eighth is nested below another package, half are for development
    alone. Names end in ``tag``: locks of different tags have no package in common.
    """
    random = Random(f"{seed} {tag}")
    names = _names(random, entries, tag)
    root = {"name": f"shop-{tag}", "version": "3.1.4", "license": "UNLICENSED"}
    packages: dict[str, Any] = {"": {**root, "dependencies": _edges(random, names)}}
    for number, name in enumerate(names):
        above = f"node_modules/{random.choice(names[:number])}/" if number % 8 == 7 else ""
        packages[f"{above}node_modules/{name}"] = _entry(random, name, names)
    document = {**root, "lockfileVersion": 3, "requires": True, "packages": packages}
    return json.dumps(document, indent=2).encode()


def _names(random: Random, count: int, tag: str) -> list[str]:
    plain = [f"{'-'.join(random.sample(_WORDS, 2))}-{n}-{tag}" for n in range(count)]
    return [f"@{random.choice(_SCOPES)}/{name}" if n % 4 == 3 else name
            for n, name in enumerate(plain)]  # fmt: skip


def _edges(random: Random, names: list[str]) -> dict[str, str]:
    chosen = random.sample(names, min(len(names), random.randrange(1, 6)))
    return {name: f"^{random.randrange(9)}.{random.randrange(20)}.0" for name in chosen}


def _entry(random: Random, name: str, names: list[str]) -> dict[str, Any]:
    version = f"{random.randrange(20)}.{random.randrange(30)}.{random.randrange(9)}"
    file = f"{name.rpartition('/')[2]}-{version}.tgz"
    flags = {"dev": 0.5, "optional": 0.05, "peer": 0.05, "hasInstallScript": 0.02}
    entry: dict[str, Any] = {
        "version": version,
        "resolved": f"https://{HOST}/{name}/-/{file}",
        "integrity": f"sha512-{b64encode(random.randbytes(64)).decode()}",
        **{flag: True for flag, share in flags.items() if random.random() < share},
        "license": random.choice(_LICENCES),
    }
    if random.random() < 0.6:
        entry["dependencies"] = _edges(random, names)
    if random.random() < 0.05:
        entry |= {"os": ["darwin"], "cpu": ["arm64"]}
    if random.random() < 0.7:
        entry["engines"] = {"node": ">=14"}
    return entry
