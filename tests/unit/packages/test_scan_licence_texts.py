from pathlib import Path

import pytest

from backend.workloads.packages.scanning.licence_texts import identify

MIT = """The MIT License (MIT)
Copyright (c) 2020 Somebody <somebody@example.test>
Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including the rights to use and sell it.
The above copyright notice and this permission notice shall be included in all copies.
THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND.
"""
BSD = """Redistribution and use in source and binary forms are permitted.
Redistributions of source code must retain the notice.
Redistributions in binary form must reproduce the notice.
IN NO EVENT SHALL anybody be liable.
"""
ISC = """Permission to use, copy, modify, and/or distribute this software for any purpose
with or without fee is hereby granted, provided that the above copyright notice appears.
THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE.
"""
ZERO_BSD = """Permission to use, copy, modify, and/or distribute this software for any purpose
with or without fee is hereby granted. THE SOFTWARE IS PROVIDED "AS IS" and its maker
DISCLAIMS ALL WARRANTIES.
"""


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        (MIT, "MIT"),
        (MIT.upper().replace("\n", " \n\t"), "MIT"),
        (ISC, "ISC"),
        (ZERO_BSD, "0BSD"),
        (BSD, "BSD-2-Clause"),
        (BSD + "No name may be used to endorse or promote products.", "BSD-3-Clause"),
    ],
)
def test_a_well_known_text_is_named(text: str, identifier: str) -> None:
    assert identify(text) == identifier


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MIT",
        "Licensed under the MIT license, see the web.",
        MIT + "\nCommons Clause License Condition v1.0",
        MIT + "\nThe Software shall be used for Good, not Evil.",
        MIT + "\nFor non-commercial use only.",
        MIT + "\nanother condition " * 120,
        MIT + ISC,
        BSD + "All advertising materials must display the acknowledgement.",
    ],
)
def test_in_doubt_a_text_stays_unnamed(text: str) -> None:
    assert identify(text) is None


SYSTEM = Path("/usr/share/common-licenses")


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="this system carries no licence texts")
@pytest.mark.parametrize(
    ("file", "identifier"),
    [
        ("Apache-2.0", "Apache-2.0"), ("GPL-2", "GPL-2.0-only"), ("GPL-3", "GPL-3.0-only"),
        ("LGPL-2.1", "LGPL-2.1-only"), ("LGPL-3", "LGPL-3.0-only"), ("MPL-2.0", "MPL-2.0"),
        ("CC0-1.0", "CC0-1.0"), ("GPL-1", None), ("Artistic", None), ("GFDL-1.3", None),
    ],
)  # fmt: skip
def test_the_full_texts_of_a_system_are_told_apart(file: str, identifier: str | None) -> None:
    assert identify((SYSTEM / file).read_text(errors="replace")) == identifier
