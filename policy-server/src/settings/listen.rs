//! From the text of a setting to the address that is listened on.

use std::net::{SocketAddr, ToSocketAddrs};

const EXPECTED: &str = "a host and a port such as `127.0.0.1:8080` or `localhost:8080`";

/// The address of `host:port`; a host name is resolved. Of several addresses the first IPv4 one is taken: clients of
/// a name that has both try both.
///
/// # Errors
/// If it has no port, or the name has no address; the reason repeats the text and says what is accepted.
pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let refuse =
        |reason: &str| format!("`{text}` is no address to listen on ({reason}), expected {EXPECTED}");
    let found = text.to_socket_addrs().map_err(|error| refuse(&error.to_string()))?;
    found.min_by_key(|address| !address.is_ipv4()).ok_or_else(|| refuse("the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_and_addresses_stay_as_they_are() {
        assert_eq!(resolve("127.0.0.1:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(resolve("[::1]:80").unwrap().to_string(), "[::1]:80");
        let local = resolve("localhost:8080").unwrap();
        assert!(local.ip().is_loopback() && local.port() == 8080, "{local}");
        for wrong in ["", "localhost", "8080", "localhost:99999", "no such name:80"] {
            let error = resolve(wrong).unwrap_err();
            assert!(error.contains(&format!("`{wrong}`")) && error.contains("localhost:8080"), "{error}");
        }
    }
}
