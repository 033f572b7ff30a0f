"""Runs a parser over a folder of conf files, once for each line on standard input.

Each answer is a line of JSON: processor seconds of the pass, stanzas and settings found, and how
many files raised. Bytes are decoded before, which spares a parser that wants text that work.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Parse = Callable[[str], tuple[int, int]]
"""From a file's text to its stanzas and settings, counted."""


def main(parse: Parse) -> None:
    files = [_text(path.read_bytes()) for path in sorted(Path(sys.argv[1]).iterdir())]
    for _ in sys.stdin:
        stanzas = settings = failed = 0
        started = time.process_time()
        for text in files:
            try:
                more_stanzas, more_settings = parse(text)
            except Exception:  # noqa: BLE001  whatever it is, it is counted
                failed += 1
                continue
            stanzas += more_stanzas
            settings += more_settings
        seconds = time.process_time() - started
        answer = {"seconds": seconds, "stanzas": stanzas, "settings": settings, "failed": failed}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
