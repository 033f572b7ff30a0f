"""Which waivers count now, in SQL."""

from typing import Final

IN_FORCE: Final = "v.seconded_at IS NOT NULL AND v.revoked_at IS NULL AND v.expires_at > now()"
"""A condition on ``waivers v``."""

ENDED: Final = "(v.revoked_at IS NOT NULL OR v.expires_at <= now())"
"""A condition on ``waivers v``, of one that was in force."""

RESTS_ON_ENDED: Final = f"EXISTS (SELECT FROM waivers v WHERE v.id = ANY (s.waivers) AND {ENDED})"
"""A condition on ``package_status s``: its verdict is another one by now."""

WAIVERS: Final = f"""
(SELECT json_agg(json_build_object('id', v.id, 'range', v.range, 'finding', v.finding,
    'component', v.component, 'licence', v.licence, 'until', v.expires_at)
    ORDER BY v.expires_at DESC, v.id)
 FROM waivers v WHERE v.ecosystem = p.ecosystem AND v.name = p.name AND {IN_FORCE})
"""  # noqa: S608 - constants of this module
"""Those of the package ``p`` as JSON, the longest-lived first; mostly NULL."""


RESTED_ON: Final = "coalesce(waivers_shown(s.waivers), '[]')"
"""The waivers that the verdict of ``package_status s`` rests on, as JSON, for people.

By a function (0019), which is not called for one that rests on none.
"""
