"""ksconf with its profile for files as they are: what comes again is merged."""

import sys
from pathlib import Path

from ksconf.conf.parser import PARSECONF_LOOSE, parse_conf_string

sys.path.append(str(Path(__file__).parents[1]))
from passes import main


def parse(text: str) -> tuple[int, int]:
    found = parse_conf_string(text, profile=PARSECONF_LOOSE)
    return len(found), sum(map(len, found.values()))


main(parse)
