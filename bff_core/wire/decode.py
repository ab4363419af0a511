"""Content codings, undone with a cap on what comes out."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any

from ..errors import BadResponse

__all__ = ["CODINGS", "decode"]

_MOST_LAYERS = 2
_GZIP = 16 + zlib.MAX_WBITS
_SLICE = 256


def decode(body: bytes, codings: bytes, limit: int) -> bytes:
    """``body`` without its ``codings`` (the value of ``content-encoding``).

    Raises ``BadResponse`` when a coding is not known here, the data is damaged or cut off, or more than ``limit``
    bytes come out.
    """
    names = [name.strip().lower() for name in codings.split(b",")]
    names = [name for name in names if name not in {b"", b"identity"}]
    if len(names) > _MOST_LAYERS:
        raise BadResponse("too many content codings")
    for name in reversed(names):
        undo = CODINGS.get(name)
        if undo is None:
            raise BadResponse(f"unknown content coding {name[:32]!r}")
        if body:
            body = undo(body, limit)
    return body


def _inflate(make: Callable[[], Any], damage: tuple[type[Exception], ...], data: bytes, limit: int) -> bytes:
    """One or more members, each read by an object with the interface of ``zlib.decompressobj``."""
    parts: list[bytes] = []
    room = limit
    try:
        while data:
            member = make()
            part = member.decompress(data, room + 1)
            room -= len(part)
            if room < 0:
                raise BadResponse(f"the decoded body is larger than {limit} bytes")
            if not member.eof:
                raise BadResponse("the coded body is cut off")
            parts.append(part)
            data = member.unused_data
    except damage as error:
        raise BadResponse(f"the coded body is damaged: {type(error).__name__}") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _gzip(data: bytes, limit: int) -> bytes:
    return _inflate(lambda: zlib.decompressobj(_GZIP), (zlib.error,), data, limit)


def _deflate(data: bytes, limit: int) -> bytes:
    # RFC 9110 8.4.1.2: some servers send the bare stream without the zlib format around it.
    wrapped = len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
    bits = zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
    return _inflate(lambda: zlib.decompressobj(bits), (zlib.error,), data, limit)


def _sliced(feed: Callable[[bytes], bytes], ended: Callable[[], bool], data: bytes, limit: int) -> bytes:
    """For decoders that have no cap of their own: small slices in, so that little can come out beyond the cap."""
    out = bytearray()
    for at in range(0, len(data), _SLICE):
        out += feed(data[at : at + _SLICE])
        if len(out) > limit:
            raise BadResponse(f"the decoded body is larger than {limit} bytes")
    if not ended():
        raise BadResponse("the coded body is cut off")
    return bytes(out)


def _optional(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _brotli_with(module: Any) -> Callable[[bytes, int], bytes] | None:
    try:
        module.Decompressor().process(b"", output_buffer_limit=1)
    except TypeError:
        return None  # older than 1.2: nothing would bound what a few bytes can become

    def undo(data: bytes, limit: int) -> bytes:
        stream = module.Decompressor()
        out = bytearray()
        try:
            out += stream.process(data, output_buffer_limit=limit + 1)
            while not stream.is_finished() and len(out) <= limit:
                more = stream.process(b"", output_buffer_limit=limit + 1)
                if not more:
                    raise BadResponse("the coded body is cut off")
                out += more
        except module.error:
            raise BadResponse("the coded body is damaged: brotli") from None
        if len(out) > limit:
            raise BadResponse(f"the decoded body is larger than {limit} bytes")
        return bytes(out)

    return undo


def _zstd_with(module: Any) -> Callable[[bytes, int], bytes]:
    if hasattr(module, "ZstdDecompressor") and hasattr(module, "DecompressionParameter"):
        # compression.zstd (3.14) and its backport; windows larger than 8 MB are refused (RFC 9659).
        options = {module.DecompressionParameter.window_log_max: 23}
        return lambda data, limit: _inflate(
            lambda: module.ZstdDecompressor(options=options), (module.ZstdError,), data, limit
        )

    def undo(data: bytes, limit: int) -> bytes:
        stream = module.ZstdDecompressor(max_window_size=1 << 23).decompressobj()
        try:
            return _sliced(stream.decompress, lambda: bool(stream.eof), data, limit)
        except module.ZstdError:
            raise BadResponse("the coded body is damaged: zstd") from None

    return undo


CODINGS: dict[bytes, Callable[[bytes, int], bytes]] = {b"gzip": _gzip, b"x-gzip": _gzip, b"deflate": _deflate}
"""What can be undone here, by name; br and zstd when a library for them is installed."""

if (_brotli := _optional("brotli", "brotlicffi")) is not None and (_unbrotli := _brotli_with(_brotli)) is not None:
    CODINGS[b"br"] = _unbrotli
if (_zstd := _optional("compression.zstd", "backports.zstd", "zstandard")) is not None:
    CODINGS[b"zstd"] = _zstd_with(_zstd)
