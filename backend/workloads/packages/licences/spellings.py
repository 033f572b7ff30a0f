"""What manifests write instead of SPDX identifiers, and the only meaning each may be given.

Keys are case-folded with single spaces. A spelling that has several readings keeps all of them:
the policy judges it by the strictest, so a vague word never earns more than a clear one.
"""

from collections.abc import Mapping

CERTAIN: Mapping[str, str] = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache v2": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache2": "Apache-2.0",
    "apache2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "asl 2.0": "Apache-2.0",
    "afl 2.1": "AFL-2.1",
    "aflv2.1": "AFL-2.1",
    "artistic 2.0": "Artistic-2.0",
    "2-clause bsd": "BSD-2-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd-2": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "revised bsd": "BSD-3-Clause",
    "boost software license 1.0": "BSL-1.0",
    "cc-by 4.0": "CC-BY-4.0",
    "cc0": "CC0-1.0",
    "cc0 1.0": "CC0-1.0",
    "gpl-2.0 or later": "GPL-2.0-or-later",
    "gplv2 or later": "GPL-2.0-or-later",
    "gplv2+": "GPL-2.0-or-later",
    "gpl-3.0 or later": "GPL-3.0-or-later",
    "gplv3 or later": "GPL-3.0-or-later",
    "gplv3+": "GPL-3.0-or-later",
    "isc license": "ISC",
    "lgplv2.1+": "LGPL-2.1-or-later",
    "lgplv3+": "LGPL-3.0-or-later",
    "expat": "MIT",
    "mit licence": "MIT",
    "mit license": "MIT",
    "mit-license": "MIT",
    "mit/x11": "MIT",
    "the mit license": "MIT",
    "mozilla public license 2.0": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "mpl2": "MPL-2.0",
    "mpl2.0": "MPL-2.0",
    "mplv2.0": "MPL-2.0",
    "the unlicense": "Unlicense",
    "wtfpl 2.0": "WTFPL",
    "wtfplv2": "WTFPL",
}

_GPL_1 = ("GPL-1.0-only", "GPL-1.0-or-later")
_GPL_2 = ("GPL-2.0-only", "GPL-2.0-or-later")
_GPL_3 = ("GPL-3.0-only", "GPL-3.0-or-later")
_LGPL_2_1 = ("LGPL-2.1-only", "LGPL-2.1-or-later")
_LGPL_3 = ("LGPL-3.0-only", "LGPL-3.0-or-later")
_AGPL_3 = ("AGPL-3.0-only", "AGPL-3.0-or-later")

AMBIGUOUS: Mapping[str, tuple[str, ...]] = {
    "agpl": ("AGPL-1.0-only", "AGPL-1.0-or-later", *_AGPL_3),
    "agpl-3": _AGPL_3,
    "agplv3": _AGPL_3,
    "apache": ("Apache-1.0", "Apache-1.1", "Apache-2.0"),
    "apache license": ("Apache-1.0", "Apache-1.1", "Apache-2.0"),
    "artistic": ("Artistic-1.0", "Artistic-1.0-Perl", "Artistic-2.0"),
    "bsd": ("BSD-2-Clause", "BSD-3-Clause", "BSD-4-Clause"),
    "bsd license": ("BSD-2-Clause", "BSD-3-Clause", "BSD-4-Clause"),
    "bsl": ("BSL-1.0", "BUSL-1.1"),
    "bsl-1.1": ("BSL-1.0", "BUSL-1.1"),
    "cc-by": ("CC-BY-3.0", "CC-BY-4.0"),
    "cc-by-nc": ("CC-BY-NC-3.0", "CC-BY-NC-4.0"),
    "cc-by-sa": ("CC-BY-SA-3.0", "CC-BY-SA-4.0"),
    "epl": ("EPL-1.0", "EPL-2.0"),
    "eupl": ("EUPL-1.0", "EUPL-1.1", "EUPL-1.2"),
    "gnu gpl": (*_GPL_1, *_GPL_2, *_GPL_3),
    "gpl": (*_GPL_1, *_GPL_2, *_GPL_3),
    "gpl 2.0": _GPL_2,
    "gpl v2": _GPL_2,
    "gpl-2": _GPL_2,
    "gpl2": _GPL_2,
    "gplv2": _GPL_2,
    "gpl 3.0": _GPL_3,
    "gpl v3": _GPL_3,
    "gpl-3": _GPL_3,
    "gpl3": _GPL_3,
    "gplv3": _GPL_3,
    "lgpl": ("LGPL-2.0-only", "LGPL-2.0-or-later", *_LGPL_2_1, *_LGPL_3),
    "lgplv2.1": _LGPL_2_1,
    "lgpl-3": _LGPL_3,
    "lgpl3": _LGPL_3,
    "lgplv3": _LGPL_3,
    "mpl": ("MPL-1.0", "MPL-1.1", "MPL-2.0"),
    "zlib/libpng": ("Libpng", "Zlib", "zlib-acknowledgement"),
}

# Words that say something about rights without granting any, or that mean different things to
# different lawyers. A person decides; "public domain" is no licence in many countries.
FOR_A_PERSON: Mapping[str, str] = {
    "commercial": "names a commercial agreement, not a licence",
    "custom": "names no licence that can be looked up",
    "noassertion": "says that nobody looked",
    "none": "says that there is no licence",
    "proprietary": "reserves all rights",
    "public domain": "is a claim about copyright, not a licence",
    "public-domain": "is a claim about copyright, not a licence",
    "publicdomain": "is a claim about copyright, not a licence",
    "unlicensed": "reserves all rights (it is not the Unlicense)",
}

REFERENCES = ("see license in ", "see licence in ")  # npm: the terms stand in a file
