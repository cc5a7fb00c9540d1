//! Who calls: a key, and whose share of the server a request takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// One share of the server: a key, or an address where no key is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Share {
    /// Name of a key.
    Key(Arc<str>),
    /// An address; of IPv6 the network of 64 bits, which one customer has whole.
    Address(IpAddr),
}

impl Share {
    /// The share of an address.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Name of the key it came with; `None` where keys are not asked for.
    pub(crate) key: Option<Arc<str>>,
    /// Whose share of the server it takes.
    pub(crate) share: Share,
}

impl Default for Caller {
    /// Somebody on this machine.
    fn default() -> Self {
        Self { key: None, share: Share::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)) }
    }
}
