//! Certificates, and clients that trust them.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::connect;
use super::folder::Folder;

/// The name in every certificate.
pub(crate) const NAME: &str = "ns.example.net";

/// A certificate that nobody else signed, and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// Inside TLS.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Identity {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    /// Puts both files in place.
    pub(crate) fn put(&self, folder: &Folder) {
        folder.put("certificate.pem", &self.certificate_pem);
        folder.put("key.pem", &self.key_pem);
    }

    /// A client that trusts this alone, and keeps no session.
    pub(crate) fn client(&self, protocols: &[&str]) -> ClientConfig {
        self.client_of_versions(protocols, rustls::ALL_VERSIONS)
    }

    pub(crate) fn client_of_versions(
        &self,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.resumption = rustls::client::Resumption::disabled();
        config
    }
}

/// Connects, and shakes hands.
pub(crate) fn tls_connect(server: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream> {
    let connection = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, connect(server));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}
