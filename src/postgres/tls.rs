//! TLS towards PostgreSQL.
//!
//! RDS's certificate authorities are in no operating system's store, so a dated copy of AWS's global bundle is
//! built in; AWS rotates them, so a file given by the user replaces it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};

pub(super) const RDS_AUTHORITIES: &[u8] = include_bytes!("rds-ca-bundle.pem");

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Encrypted, the certificate checked against the authorities and the host name.
    #[default]
    VerifyFull,
    /// Encrypted, the certificate checked against the authorities but not the host name.
    VerifyCa,
    /// Encrypted, the certificate not checked: someone in between could read along.
    Require,
    /// Encrypted if the server can, not checked: for ways that do not leave the machine.
    Prefer,
    /// Not encrypted.
    Disable,
}

/// How connections are protected, and whom they trust.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// How.
    pub mode: TlsMode,
    /// PEM file with the authorities to trust in place of RDS's; `system` stands for those of the operating system, as in
    /// libpq's `sslrootcert`.
    pub authorities: Option<PathBuf>,
}

impl Tls {
    pub(super) fn ssl_mode(&self) -> SslMode {
        match self.mode {
            TlsMode::VerifyFull | TlsMode::VerifyCa | TlsMode::Require => SslMode::Require,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Disable => SslMode::Disable,
        }
    }

    pub(super) fn connector(&self) -> Result<MakeRustlsConnect> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(crate::error::Kind::Bug, "TLS cannot be set up").caused_by(error))?;
        let config = match self.mode {
            TlsMode::VerifyFull => builder.with_root_certificates(self.roots()?).with_no_client_auth(),
            TlsMode::VerifyCa => {
                let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider)
                    .build()
                    .map_err(|error| {
                        Error::new(crate::error::Kind::Bug, "TLS cannot be set up").caused_by(error)
                    })?;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(AnyName(inner)))
                    .with_no_client_auth()
            }
            TlsMode::Require | TlsMode::Prefer | TlsMode::Disable => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth(),
        };
        Ok(MakeRustlsConnect::new(config))
    }

    /// The authorities that are trusted.
    pub(super) fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.authorities else {
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(RDS_AUTHORITIES).flatten());
            return Ok(roots);
        };
        if path.as_os_str() == "system" {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        }
        let unreadable = || {
            Error::request(format!("cannot use the certificate authorities in `{}`", path.display()))
                .hint("`--ca` and PGSSLROOTCERT name a PEM file with at least one CERTIFICATE block.")
        };
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| unreadable().caused_by(error))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unreadable().caused_by(error))?;
            roots.add(certificate).map_err(|error| unreadable().caused_by(error))?;
        }
        if roots.is_empty() {
            return Err(unreadable().caused_by("it holds no certificate"));
        }
        Ok(roots)
    }

    /// What to do when a certificate does not verify.
    pub(super) fn hint(&self) -> String {
        match &self.authorities {
            Some(path) => format!(
                "`{}` does not hold the authority that signed it, or the certificate is for another host name.",
                path.display()
            ),
            None => "Only RDS's certificate authorities are built in. For another server, pass its authority with `--ca FILE` \
                     (PGSSLROOTCERT, or `?sslrootcert=FILE` in the URL): `root.crt` or `ca.pem` of whoever runs the server, `system` \
                     for those of this operating system. For a local stack that is `ca.pem` in its data directory."
                .to_owned(),
        }
    }
}

/// Whether a connection failed because of the server's certificate.
pub(super) fn is_certificate_fault(error: &tokio_postgres::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        let found = inner
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .or(cause.downcast_ref::<rustls::Error>());
        if matches!(found, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// `--tls require`: any certificate will do, as in libpq's `sslmode=require`. The handshake itself is still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `sslmode=verify-ca`: the certificate must come from an authority that is trusted, whatever host it names.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        // The name is checked last, after the chain.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_authority_can_be_read() {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(RDS_AUTHORITIES).collect();
        assert_eq!(certificates.len(), 120);
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate.unwrap()).unwrap();
        }
    }
}
