//! Certificates, and clients that trust them.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::connect;
use super::folder::Folder;

/// The name in every certificate.
pub(crate) const NAME: &str = "ns.example.net";

/// The end of every certificate, in seconds since 1970: that of the year 2099.
pub(crate) const EXPIRES: u64 = 4_102_444_800;

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
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(EXPIRES);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
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
