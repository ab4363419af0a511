"""Which tokens are let in besides keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from bff_core import Refused, StoredKeys
from bffs.partner.settings import PartnerSettings
from tests.auth.issuer import ISSUER, Issuer, scope_of


async def test_an_id_token_is_no_access_token(tmp_path: Path) -> None:
    """Even one for a client that is called as the gateway is."""
    issuer = Issuer()
    keys_of_issuer = issuer.answer(httpx.Request("GET", "https://issuer.test/jwks")).content

    async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(keys_of_issuer)
        writer.write(head + keys_of_issuer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(publish, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
        settings = PartnerSettings(issuer=ISSUER, jwks_url=url)
        auth = settings.auth(StoredKeys(f"sqlite:///{tmp_path}/keys.db", pepper=SecretStr("p" * 32)))
        try:
            for header, allowed in (({"typ": "at+jwt"}, True), ({"typ": "JWT"}, False), ({}, False)):
                token = issuer.token(header=header, aud="partner")
                asking = auth.authenticate(scope_of(("authorization", f"Bearer {token}")))
                if allowed:
                    principal = await asking
                    assert principal is not None
                    assert principal.subject == "u1"
                else:
                    with pytest.raises(Refused) as refused:
                        await asking
                    assert refused.value.reason == "wrong_type"
        finally:
            await auth.aclose()
