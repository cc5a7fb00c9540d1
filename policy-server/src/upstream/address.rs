//! Which addresses a host may be called at: those of the public internet, what its URL spells out, and the networks
//! that its section names.

use super::error::CallError;
use crate::settings::{BaseUrl, Network, is_public};
use std::net::{IpAddr, SocketAddr};

/// The host of one arm, and where it may be.
#[derive(Debug, Clone)]
pub(super) struct Place {
    host: String,
    port: u16,
    /// The address that the URL spells out.
    literal: Option<IpAddr>,
    networks: Vec<Network>,
}

impl Place {
    pub(super) fn new(url: &BaseUrl, networks: Vec<Network>) -> Self {
        Self { host: url.host.clone(), port: url.port, literal: url.literal(), networks }
    }

    /// Whether the host may be called at the address.
    fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_spelled_out = self.literal.is_some_and(|literal| {
            literal.to_canonical() == address || literal.is_loopback() && address.is_loopback()
        });
        is_public(address) || is_spelled_out || self.networks.iter().any(|network| network.contains(address))
    }

    /// The addresses to try, each checked; they are connected to as they are, so that no second look-up can differ.
    ///
    /// # Errors
    /// If the host has no address, or none that it may be called at.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, CallError> {
        let found: Vec<SocketAddr> = match self.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, self.port)],
            Err(_) => {
                let looked_up = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
                let error =
                    |error: std::io::Error| CallError::Connect { reason: format!("no address: {error}") };
                looked_up.map_err(error)?.collect()
            }
        };
        if found.is_empty() {
            return Err(CallError::Connect { reason: "its host has no address".to_owned() });
        }
        let allowed: Vec<_> = found.into_iter().filter(|address| self.allows(address.ip())).collect();
        if allowed.is_empty() { Err(CallError::Forbidden) } else { Ok(allowed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str, networks: &[&str]) -> Place {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        Place::new(&BaseUrl::read(url).unwrap(), networks)
    }

    fn allows(place: &Place, address: &str) -> bool {
        place.allows(address.parse().unwrap())
    }

    #[test]
    fn a_name_leads_to_the_public_internet_and_to_named_networks_only() {
        let public = place("https://api.example.com", &[]);
        assert!(allows(&public, "8.8.8.8"));
        for inside in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"] {
            assert!(!allows(&public, inside), "{inside}");
        }
        let inside = place("http://vllm:8000", &["10.0.0.0/8"]);
        assert!(
            allows(&inside, "10.1.2.3") && !allows(&inside, "192.168.0.1") && !allows(&inside, "127.0.0.1")
        );
    }

    #[test]
    fn an_address_in_the_url_is_named_by_the_configuration_and_no_other_is() {
        let literal = place("http://192.168.1.5:8080", &[]);
        assert!(allows(&literal, "192.168.1.5") && !allows(&literal, "192.168.1.6"));
        let local = place("http://localhost:8080", &[]);
        assert!(allows(&local, "127.0.0.1") && allows(&local, "::1") && !allows(&local, "10.0.0.1"));
    }
}
