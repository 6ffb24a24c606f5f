//! Which addresses are of a private network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address leads to this machine, to its network, or to many at once: where a stranger could have something
/// asked that he cannot reach himself, such as what a cloud tells its machines.
///
/// 198.18.0.0/15 is not among them: proxies that catch all connections give such addresses to public hosts.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => match inner_v4(address) {
            Some(inner) => is_private_v4(inner),
            None => address.is_unique_local() || address.is_unicast_link_local() || address.is_multicast(),
        },
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    // 100.64.0.0/10, the network between a carrier and its customers.
    let is_of_carrier = first == 100 && second & 0b1100_0000 == 64;
    // All of 0.0.0.0/8 is "this network"; the first of it is this machine.
    first == 0
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || is_of_carrier
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible (`::1` and `::` are taken for 0.0.0.1 and 0.0.0.0),
/// or behind a translator (NAT64).
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = address.octets();
    let is_translated = address.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    address.to_ipv4().or_else(|| is_translated.then(|| Ipv4Addr::new(a, b, c, d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_told_from_the_internet() {
        for (private, public) in [
            ("127.0.0.1", "128.0.0.1"),
            ("127.255.255.255", "126.255.255.255"),
            ("0.0.0.0", "1.1.1.1"),
            ("10.0.0.1", "11.0.0.1"),
            ("172.16.0.1", "172.15.255.255"),
            ("172.31.255.255", "172.32.0.0"),
            ("192.168.1.1", "192.169.1.1"),
            ("169.254.169.254", "169.253.169.254"),
            ("100.64.0.0", "100.63.255.255"),
            ("100.127.255.255", "100.128.0.0"),
            ("224.0.0.1", "223.255.255.255"),
            ("255.255.255.255", "198.18.0.1"),
            ("::1", "2606:4700::1111"),
            ("::", "2001:db8::1"),
            ("fc00::1", "fe00::1"),
            ("fdff::1", "fb00::1"),
            ("fe80::1", "fe7f::1"),
            ("febf::1", "2a00::1"),
            ("ff02::1", "feff::1"),
            ("::ffff:127.0.0.1", "::ffff:8.8.8.8"),
            ("::ffff:100.64.0.1", "::ffff:1.1.1.1"),
            ("64:ff9b::169.254.169.254", "64:ff9b::8.8.8.8"),
        ] {
            let is_private = |text: &str| is_private(text.parse().expect("an address"));
            assert!(is_private(private), "{private}");
            assert!(!is_private(public), "{public}");
        }
    }
}
