//! Models over TLS: the certificate is checked, against a file of the configuration as well.

use crate::client::post;
use crate::gate::{CHAT, Gate, body};
use crate::policies;
use crate::upstream::{Do, chat};
use routewright_policy_server::{ModelConfig, ServerConfig};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig as TlsConfig, ServerConnection, Stream, crypto};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// A server with a certificate for `localhost` that answers each connection once; its port.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let config = TlsConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, config) = (stream.unwrap(), Arc::clone(&config));
            std::thread::spawn(move || {
                let mut session = ServerConnection::new(config).unwrap();
                let mut tls = BufReader::new(Stream::new(&mut session, &mut stream));
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    // Clients that do not trust it go here.
                    let Ok(1..) = tls.read_line(&mut line) else { return };
                    if let Some(found) = line.to_lowercase().strip_prefix("content-length:") {
                        length = found.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                tls.read_exact(&mut vec![0; length]).unwrap();
                for action in chat("over TLS") {
                    if let Do::Send(bytes) = action {
                        tls.get_mut().write_all(&bytes).unwrap();
                    }
                }
                tls.get_mut().conn.send_close_notify();
                tls.get_mut().flush().unwrap();
            });
        }
    });
    port
}

#[test]
fn a_certificate_is_trusted_only_by_a_root_and_for_its_name() {
    let port = server();
    let at = |host: &str, ca_file: Option<&str>| ModelConfig {
        ca_file: ca_file.map(file),
        ..ModelConfig::at(format!("https://{host}:{port}/v1"))
    };
    let gate = Gate::start(&[], |config| {
        config.models.insert("trusted".into(), at("localhost", Some("ca.pem")));
        config.models.insert("unknown".into(), at("localhost", None));
        config.models.insert("misnamed".into(), at("127.0.0.2", Some("ca.pem")));
    });
    let reply = post(gate.server.address, CHAT, &body("trusted"));
    assert!(reply.status == 200 && reply.body.contains("over TLS"), "{}", reply.body);
    for model in ["unknown", "misnamed"] {
        let reply = post(gate.server.address, CHAT, &body(model));
        assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_failed"), "{model}");
    }
    assert!(gate.server.log().contains("certificate"), "{}", gate.server.log());
}

#[test]
fn a_file_without_certificates_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.pem");
    std::fs::write(&path, "no certificate").unwrap();
    policies::write_default(&dir.path().join("main"));
    let mut config = ServerConfig::for_policies([dir.path().join("main")]);
    let model = ModelConfig { ca_file: Some(path), ..ModelConfig::at("https://localhost/v1") };
    config.models.insert("m".into(), model);
    let error = routewright_policy_server::Server::load(config).unwrap_err().to_string();
    assert!(error.contains("model `m`") && error.contains("`ca_file`"), "{error}");
}
