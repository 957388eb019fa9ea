"""Which addresses may send callbacks: a second fence, before the signature and never in its place."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def read_networks(text: str) -> tuple[Network, ...]:
    """Read addresses and CIDR ranges divided by commas; raises ValueError for anything else."""
    return tuple(ip_network(one.strip()) for one in text.split(","))


def is_allowed(headers: Mapping[str, str], networks: Sequence[Network], hops: int) -> bool:
    """Tell whether the sender is in one of the networks; one whose address is not known is not.

    Each proxy puts the address that it was called from at the end of X-Forwarded-For; what stands further
    left than our own proxies (`hops`, Azure's front end among them) wrote, anybody can have made up.
    """
    forwarded = headers.get("x-forwarded-for", "").split(",")
    address = _address(forwarded[-hops].strip()) if len(forwarded) >= hops else None
    return address is not None and any(address in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read what Azure's front end writes: an address, mostly with the port it was called from."""
    bracketed, closed, _ = text.removeprefix("[").partition("]")
    host = bracketed if closed else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
