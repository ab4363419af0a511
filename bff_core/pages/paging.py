"""Pages of listings: what follows is in the header ``Link`` (RFC 8288), for whoever does not read the body."""

from __future__ import annotations

from urllib.parse import quote

from .inputs import RequestInputs
from .plan import Plan

__all__ = ["CURSOR", "next_link", "pages_on"]

CURSOR = "cursor"
NEXT = "next"


def pages_on(plan: Plan, inputs: RequestInputs) -> bool:
    """Whether it is one page of many: it takes a ``cursor``, and its answer says the ``next`` one."""
    return CURSOR in inputs.query_names and NEXT in plan.model.model_fields


def next_link(query_string: bytes, cursor: str, parameter: str = CURSOR) -> tuple[bytes, bytes]:
    """``Link: <?…>; rel="next"``: the same request, from ``cursor`` on. It is relative, so that it holds behind any
    proxy and in a batch."""
    taken = parameter.encode()
    kept = [part for part in query_string.split(b"&") if part and part.partition(b"=")[0] != taken]
    query = b"&".join([*kept, b"%b=%b" % (taken, quote(cursor, safe="").encode())])
    # What a URL must not hold, some clients send as it is.
    return b"link", b'<?%b>; rel="next"' % quote(query, safe="%!$&'()*+,;=:@/?~-._").encode()
