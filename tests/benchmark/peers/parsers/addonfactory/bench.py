"""addonfactory-splunk-conf-parser-lib, which is made on the standard library's configparser."""

import io
import sys
from pathlib import Path

from addonfactory_splunk_conf_parser_lib import TABConfigParser

sys.path.append(str(Path(__file__).parents[1]))
from passes import main


def parse(text: str) -> tuple[int, int]:
    parser = TABConfigParser()
    parser.read_file(io.StringIO(text))
    names = parser.sections()
    # Without its own entries for the header and the comments.
    return len(names), sum(
        not key.startswith("__") for name in names for key in parser._sections[name]
    )


main(parse)
