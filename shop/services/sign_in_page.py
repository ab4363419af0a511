"""The page on which the demo asks who one is."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape

from ..models import User

__all__ = ["page", "policy"]

STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --muted: #596275; --line: #767f91; --paper: #fff; --accent: #1d4ed8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebf2; --muted: #a3adc2; --line: #7d879c; --paper: #12161f; --accent: #8ab0ff }
}
body { margin: 0; font: 1rem/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
main { max-width: 24rem; margin: 0 auto; padding: 10vh 1rem 2rem }
h1 { margin: 0; line-height: 1.2 }
p { color: var(--muted) }
ul { list-style: none; margin: 1.5rem 0; padding: 0; display: grid; gap: .5rem }
button { font: inherit; color: inherit; text-align: start; width: 100%; min-height: 2.75rem; padding: .5rem .75rem;
  border: 1px solid var(--line); border-radius: .5rem; background: none; cursor: pointer }
button:hover { border-color: var(--accent) }
button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
button.no { color: var(--muted); text-align: center; border-color: transparent; text-decoration: underline }
"""
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def policy(web: str) -> str:
    """Its content security policy; ``web`` is where the form's answer leads."""
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_DIGEST}'; form-action 'self' {web}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def page(kept: Mapping[str, str], people: Sequence[User]) -> str:
    """One button for each of ``people``; the request ``kept`` comes back with the choice."""
    hidden = "".join(f'<input type="hidden" name="{escape(k)}" value="{escape(v)}">' for k, v in kept.items())
    buttons = "".join(
        f'<li><button name="user" value="{escape(user.id)}">{escape(user.name)}</button></li>' for user in people
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>Sign in · The shop</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>'
        '<body><main><h1 id="who">Who are you?</h1><p>This is a demo: nobody is asked for a password.</p>'
        f'<form method="post" action="/authorize" aria-labelledby="who">{hidden}<ul>{buttons}</ul>'
        '<button class="no" name="user" value="">Do not sign in</button></form></main></body></html>'
    )
