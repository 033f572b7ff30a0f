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


def shown(utc: str) -> str:
    """The waivers that the verdict of ``package_status s`` rests on, as JSON, for people.

    Args:
        utc: the format of a moment.
    """

    def moment(column: str) -> str:
        return f"to_char({column} AT TIME ZONE 'UTC', {utc})"

    return f"""CASE WHEN s.waivers IS NULL THEN '[]'::json ELSE (
  SELECT json_agg(json_build_object('id', v.id, 'range', v.range, 'finding', v.finding,
    'component', v.component, 'licence', v.licence, 'reason', v.reason,
    'proposed_by', proposer.username, 'seconded_by', seconder.username,
    'seconded_at', {moment("v.seconded_at")}, 'expires_at', {moment("v.expires_at")},
    'revoked_at', {moment("v.revoked_at")}, 'in_force', {IN_FORCE}) ORDER BY v.id)
  FROM waivers v JOIN users proposer ON proposer.id = v.proposed_by
  LEFT JOIN users seconder ON seconder.id = v.seconded_by
  WHERE v.id = ANY (s.waivers)) END"""  # noqa: S608 - constants of this module
