//! Networks in the notation of settings: `10.0.0.0/8`, `2001:db8::/32`, or one address.
//!
//! Invariant: a network has no bits behind its prefix, and an IPv4 address in IPv6 clothes
//! (`::ffff:10.0.0.1`) is the IPv4 address it stands for, on both sides of the comparison.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// No address, or no number behind the slash.
    #[error(
        "a network is an address and the bits of its prefix, such as 10.0.0.0/8 or 2001:db8::/32"
    )]
    Text,
    /// More bits than an address has.
    #[error("the prefix is longer than the address")]
    Prefix,
    /// Bits behind the prefix: an address was meant, or another network.
    #[error("the address has bits behind the prefix; this network is written {0}")]
    Bits(Network),
}

/// A range of addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        cut(address.to_canonical(), self.prefix) == Some(self.address)
            && address.to_canonical().is_ipv4() == self.address.is_ipv4()
    }
}

/// The address with nothing but its first bits; `None` if it has not as many.
fn cut(address: IpAddr, prefix: u32) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => {
            let hidden = 32_u32.checked_sub(prefix)?;
            IpAddr::V4((u32::MAX.checked_shl(hidden).unwrap_or(0) & u32::from(address)).into())
        }
        IpAddr::V6(address) => {
            let hidden = 128_u32.checked_sub(prefix)?;
            IpAddr::V6((u128::MAX.checked_shl(hidden).unwrap_or(0) & u128::from(address)).into())
        }
    })
}

/// What counts as one source where clients are counted: an IPv4 address, or the first address of an
/// IPv6 network of 64 bits, because that is what one customer is given.
#[must_use]
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(whole) => IpAddr::V6((u128::from(whole) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

/// Bits of an IPv6 address before the IPv4 address in it.
const MAPPED: u32 = 96;

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| InvalidNetwork::Text)?;
        let whole = if written.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = match prefix {
            None => whole,
            Some(digits) if is_number(digits) => {
                digits.parse().map_err(|_| InvalidNetwork::Prefix)?
            }
            Some(_) => return Err(InvalidNetwork::Text),
        };
        if prefix > whole {
            return Err(InvalidNetwork::Prefix);
        }
        let address = written.to_canonical();
        let prefix = match (written.is_ipv4(), address.is_ipv4()) {
            // `::ffff:0:0/90` is more than IPv4; nobody means that.
            (false, true) => prefix.checked_sub(MAPPED).ok_or(InvalidNetwork::Text)?,
            _ => prefix,
        };
        let network = Self { address: cut(address, prefix).ok_or(InvalidNetwork::Prefix)?, prefix };
        if network.address == address { Ok(network) } else { Err(InvalidNetwork::Bits(network)) }
    }
}

/// A decimal number as people write it.
fn is_number(digits: &str) -> bool {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    plain && (digits == "0" || !digits.starts_with('0')) && !digits.is_empty()
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    fn contains(text: &str, address: &str) -> bool {
        network(text).contains(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_are_in_their_networks_and_in_no_others() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("192.0.2.1", "192.0.2.1"));
        assert!(!contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(!contains("::/0", "::ffff:203.0.113.9"), "that is an IPv4 address");
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_a_reason() {
        for text in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0/8",
            "10.0.0.0/a",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "010.0.0.0/8",
            "localhost",
            "::ffff:10.0.0.0/90",
            "fe80::1%eth0",
        ] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork::Text), "{text:?}");
        }
        for text in ["10.0.0.0/33", "::/129", "10.0.0.0/99999999999999999999"] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork::Prefix), "{text:?}");
        }
        let refused = "10.0.0.1/8".parse::<Network>().expect_err("bits").to_string();
        assert!(refused.contains("10.0.0.0/8"), "{refused}");
    }

    proptest! {
        #[test]
        fn a_network_is_written_as_it_is_read_and_has_its_own_address(
            address: IpAddr,
            prefix in 0_u32..=128,
        ) {
            let address = address.to_canonical();
            if let Some(first) = cut(address, prefix) {
                let text = format!("{first}/{prefix}");
                let network = network(&text);
                prop_assert_eq!(network.to_string(), text);
                prop_assert!(network.contains(first) && network.contains(address));
            }
        }

        #[test]
        fn no_text_breaks_the_parser(text in ".*") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }
}
