"""Where a port is bound, and how that is written."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where a port is bound."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port`, `[::1]:8080` or `:8080` (every interface). ValueError says what is wrong."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError("must be host:port, like 127.0.0.1:8080")
        if host.startswith("[") and host.endswith("]"):
            try:
                return cls(str(ipaddress.IPv6Address(host[1:-1])), int(port))
            except ValueError:
                raise ValueError("must have an IPv6 address in the brackets, like [::1]:8080") from None
        if ":" in host:
            raise ValueError("must have brackets around an IPv6 address, like [::1]:8080")
        if not re.fullmatch(r"[A-Za-z0-9._-]*", host):
            raise ValueError("must be host:port, like 127.0.0.1:8080")
        return cls(host or "0.0.0.0", int(port))  # noqa: S104 - `:8080` asks for every interface

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """An address to open from this machine."""
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{Address(local, self.port)}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
