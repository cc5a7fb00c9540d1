//! Opening connections: look-up, TCP, TLS, within one deadline.

use super::address::Place;
use super::error::{CallError, reason};
use super::local::Local;
use crate::settings::{BaseUrl, Network};
use routewright_data::files;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// A certificates file is a few kilobytes for each certificate.
const CA_BYTES_MAX: u64 = 16 << 20;

/// What TLS needs: the roots of the Mozilla programme and those of a file, no client certificates, HTTP/1.1.
///
/// # Errors
/// If the file cannot be read or has no certificate, in words.
pub(super) fn tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let bytes = files::read_up_to(path, CA_BYTES_MAX).map_err(|error| reason(&error))?;
        let refuse =
            |why: String| format!("`ca_file` is `{}`, expected PEM certificates: {why}", path.display());
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
            roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(refuse("it has none".to_owned()));
        }
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        versions.map_err(|error| reason(&error))?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Opens connections to one arm.
#[derive(Debug)]
pub(super) enum Connector {
    /// To a server at an address.
    Remote(Remote),
    /// To the fused models of this process.
    Local(Arc<Local>),
}

/// A server at an address.
pub(super) struct Remote {
    place: Place,
    /// TLS and the name of the certificate; `None` for plain HTTP.
    tls: Option<(Arc<ClientConfig>, String)>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn remote(url: &BaseUrl, networks: Vec<Network>, tls: &Arc<ClientConfig>) -> Self {
        let tls = url.is_tls.then(|| (Arc::clone(tls), url.host.clone()));
        Self::Remote(Remote { place: Place::new(url, networks), tls })
    }

    /// A connection, within the limit.
    ///
    /// # Errors
    /// If there is no address, none that may be called, none that answers, or the certificate is refused.
    pub(super) async fn connect(&self, limit: Duration) -> Result<Io, CallError> {
        match self {
            Self::Local(local) => local.connect().map(Io::Pipe),
            Self::Remote(remote) => {
                let opened = tokio::time::timeout(limit, remote.open(limit)).await;
                opened.unwrap_or(Err(CallError::TimedOut { what: "connecting", limit }))
            }
        }
    }
}

impl Remote {
    async fn open(&self, limit: Duration) -> Result<Io, CallError> {
        let began = Instant::now();
        let addresses = self.place.resolve().await?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let n = addresses.len();
        for (at, address) in addresses.into_iter().enumerate() {
            // Addresses that say nothing leave the others their share of the time.
            let left = limit.saturating_sub(began.elapsed());
            let share = left / u32::try_from(n - at).unwrap_or(1);
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.secure(stream).await,
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(CallError::Connect { reason: last.kind().to_string() })
    }

    async fn secure(&self, stream: TcpStream) -> Result<Io, CallError> {
        let refuse = |reason: String| CallError::Connect { reason };
        stream.set_nodelay(true).map_err(|error| refuse(error.kind().to_string()))?;
        let Some((tls, host)) = &self.tls else { return Ok(Io::Plain(stream)) };
        let name = ServerName::try_from(host.clone()).map_err(|error| refuse(reason(&error)))?;
        let secured = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        secured.map(|stream| Io::Tls(Box::new(stream))).map_err(|error| refuse(reason(&error)))
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Pipe(DuplexStream),
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buf),
            Self::Pipe(stream) => Pin::new(stream).poll_read(context, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, buf),
            Self::Pipe(stream) => Pin::new(stream).poll_write(context, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Pipe(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Pipe(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Pipe(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bufs),
            Self::Pipe(stream) => Pin::new(stream).poll_write_vectored(context, bufs),
        }
    }
}
