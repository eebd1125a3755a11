"""Which addresses are everybody's: a URL that a stranger has named must not lead into the network that we stand in."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_CLOUDS_OWN = frozenset({IPv4Address("168.63.129.16")})
"""Public by its number, and in Azure the host of the machine that asks."""

_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet: not to this machine, a private network, a link (where clouds have
    their metadata) or a group of receivers. Addresses that carry another one are judged by that, too.
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and (inner := _carried(found)) is not None:
        return is_public(str(inner))
    if isinstance(found, IPv6Address) and (found.is_site_local or found in _LOCAL_NAT64):
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved and found not in _CLOUDS_OWN


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to an IPv6 address end up at."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
