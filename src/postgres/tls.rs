//! TLS towards PostgreSQL: the modes mean what they mean to libpq (PostgreSQL documentation, "SSL Support").
//!
//! RDS's certificate authorities are in no operating system's store, so a dated copy of AWS's global bundle is
//! built in; AWS rotates them, so a file given by the user replaces it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};

use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::certificate::Certificate;
use super::curves;
use super::trust::{CertificateFault, Trust};
use crate::error::{Error, Kind, Result};

pub(super) const RDS_AUTHORITIES: &[u8] = include_bytes!("rds-ca-bundle.pem");

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TlsMode {
    /// Encrypted, certificate and host name checked
    #[default]
    VerifyFull,
    /// Encrypted, the certificate checked against the authorities but not the host name.
    #[value(skip)]
    VerifyCa,
    // Without a file of authorities: someone in between could read along.
    /// Encrypted, certificate not checked
    Require,
    /// Encrypted if the server can, otherwise not: for ways that do not leave the machine.
    #[value(skip)]
    Prefer,
    /// Encrypted only if the server refuses us otherwise.
    #[value(skip)]
    Allow,
    /// Not encrypted
    Disable,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TlsVersion {
    /// 1.0 and 1.1, which nobody speaks any more.
    Older,
    Tls12,
    Tls13,
}

/// What we show to a server that asks who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// How connections are protected, and whom they trust.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    /// How.
    pub mode: TlsMode,
    /// PEM file with the authorities to trust in place of RDS's; `system` stands for those of the operating system, as in
    /// libpq's `sslrootcert`.
    pub authorities: Option<PathBuf>,
    pub(super) client: Option<ClientCertificate>,
    /// PEM file with revocation lists.
    pub(super) revoked: Option<PathBuf>,
    /// Whether the host name is kept out of the handshake.
    pub(super) hides_name: bool,
    pub(super) lowest: Option<TlsVersion>,
    pub(super) highest: Option<TlsVersion>,
    /// Whether TLS begins at once, without PostgreSQL's request for it.
    pub(super) direct: bool,
}

impl Tls {
    /// A mode and its authorities, and libpq's defaults for the rest.
    pub(crate) fn new(mode: TlsMode, authorities: Option<PathBuf>) -> Self {
        Tls { mode, authorities, ..Tls::default() }
    }

    /// The name for the handshake; one that cannot be a host's is not sent.
    pub(super) fn name_to_send(host: &str) -> ServerName<'static> {
        let unsent = || ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
        ServerName::try_from(host.to_owned()).unwrap_or_else(|_| unsent())
    }

    pub(super) fn client_config(&self, host: &str) -> Result<ClientConfig> {
        let failed = |error: rustls::Error| Error::new(Kind::Bug, "TLS cannot be set up").caused_by(error);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let all =
            [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)];
        let versions: Vec<&'static rustls::SupportedProtocolVersion> = all
            .into_iter()
            .filter(|(version, _)| self.lowest.is_none_or(|lowest| *version >= lowest))
            .filter(|(version, _)| self.highest.is_none_or(|highest| *version <= highest))
            .map(|(_, known)| known)
            .collect();
        if versions.is_empty() {
            return Err(Error::request("`ssl_min_protocol_version` is above `ssl_max_protocol_version`"));
        }
        let trust = self.trust()?;
        let host = (self.mode == TlsMode::VerifyFull).then(|| host.to_owned());
        let verifier = Verifier { trust, host, provider: Arc::clone(&provider) };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => builder.with_client_cert_resolver(Arc::new(client.read()?)),
        };
        config.enable_sni = !self.hides_name;
        if self.direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(config)
    }

    /// Whom a certificate must come from; `None` where any will do.
    fn trust(&self) -> Result<Option<Trust>> {
        if !self.checks_certificates() {
            return Ok(None);
        }
        let mut revoked = Vec::new();
        // A file that is not there or holds none is no demand, as in libpq.
        if let Some(path) = &self.revoked
            && let Ok(lists) = CertificateRevocationListDer::pem_file_iter(path)
        {
            revoked.extend(lists.flatten().map(|list| list.to_vec()));
        }
        let of = match &self.authorities {
            None => "RDS's certificate authorities, which are built in".to_owned(),
            Some(path) if is_system(path) => {
                "the certificate authorities of this operating system".to_owned()
            }
            Some(path) => format!("the certificate authorities in `{}`", path.display()),
        };
        Ok(Some(Trust { roots: self.roots()?, of, revoked }))
    }

    /// Whether a certificate must come from an authority that is trusted: with a file of authorities at hand, libpq checks it
    /// in the weaker modes too.
    pub(super) fn checks_certificates(&self) -> bool {
        match self.mode {
            TlsMode::VerifyFull | TlsMode::VerifyCa => true,
            TlsMode::Require | TlsMode::Prefer | TlsMode::Allow => {
                self.authorities.as_deref().is_some_and(|path| is_system(path) || path.exists())
            }
            TlsMode::Disable => false,
        }
    }

    /// The authorities that are trusted.
    pub(super) fn roots(&self) -> Result<Vec<CertificateDer<'static>>> {
        let Some(path) = &self.authorities else {
            return Ok(CertificateDer::pem_slice_iter(RDS_AUTHORITIES).flatten().collect());
        };
        if is_system(path) {
            return Ok(rustls_native_certs::load_native_certs().certs);
        }
        let unreadable = || {
            Error::request(format!("cannot use the certificate authorities in `{}`", path.display()))
                .hint("`--ca` and PGSSLROOTCERT name a PEM file with at least one CERTIFICATE block.")
        };
        let mut roots = Vec::new();
        for certificate in
            CertificateDer::pem_file_iter(path).map_err(|error| unreadable().caused_by(error))?
        {
            let certificate = certificate.map_err(|error| unreadable().caused_by(error))?;
            if Certificate::parse(&certificate).is_none() {
                return Err(unreadable().caused_by("one of its blocks is not a certificate"));
            }
            roots.push(certificate);
        }
        if roots.is_empty() {
            return Err(unreadable().caused_by("it holds no certificate"));
        }
        Ok(roots)
    }

    /// What to do when a certificate does not verify.
    pub(super) fn hint(&self, fault: Option<&CertificateFault>) -> String {
        const OTHERWISE: &str = "`?sslmode=require` (PGSSLMODE) encrypts without checking who answers.";
        match (fault, &self.authorities) {
            (Some(CertificateFault::OtherName { .. }), _) => format!(
                "Connect by a name that the certificate is for; with `?sslmode=verify-ca` (PGSSLMODE) only the authority is \
                 checked. {OTHERWISE}"
            ),
            (Some(CertificateFault::Expired { .. } | CertificateFault::NotYet { .. }), _) => {
                format!("Renew the certificate, or correct this machine's clock. {OTHERWISE}")
            }
            (
                Some(
                    CertificateFault::SelfSigned { .. }
                    | CertificateFault::UnknownAuthority { .. }
                    | CertificateFault::NoRoot { .. },
                ),
                None,
            ) => format!(
                "Only RDS's certificate authorities are built in. For another server, pass its authority with `--ca FILE` \
                 (PGSSLROOTCERT, or `?sslrootcert=FILE` in the URL): `root.crt` or `ca.pem` of whoever runs the server, `system` \
                 for those of this operating system. For a local stack that is `ca.pem` in its data directory. {OTHERWISE}"
            ),
            _ => format!("Pass the authority that signed it with `--ca FILE` (PGSSLROOTCERT). {OTHERWISE}"),
        }
    }
}

/// libpq's word for the operating system's own authorities.
pub(super) fn is_system(path: &Path) -> bool {
    path.as_os_str() == "system"
}

impl ClientCertificate {
    fn unusable(&self) -> Error {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        Error::request(format!("cannot use the client certificate `{certificate}` with the key `{key}`"))
    }

    /// A key that others can read is refused, as by libpq.
    fn read(&self) -> Result<SingleCertAndKey> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(&self.key).map_err(|error| self.unusable().caused_by(error))?;
        let open_to = if metadata.uid() == 0 { 0o037 } else { 0o077 };
        if metadata.mode() & open_to != 0 {
            return Err(self.unusable().caused_by("the key can be read by others").hint(format!(
                "Run `chmod 600 {}`; a key that root owns may also have mode 0640.",
                self.key.display()
            )));
        }
        let chain: std::result::Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let chain = chain.map_err(|error| self.unusable().caused_by(error))?;
        let bytes = std::fs::read(&self.key).map_err(|error| self.unusable().caused_by(error))?;
        if bytes.windows(9).any(|window| window == b"ENCRYPTED") {
            return Err(self.unusable().caused_by("the key is encrypted, which is not supported").hint(
                "Decrypt it with `openssl pkey -in KEY -out KEY.plain`, and name that file with `sslkey` (PGSSLKEY).",
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&bytes)
            .or_else(|error| PrivateKeyDer::try_from(bytes).map_err(|_| self.unusable().caused_by(error)))?;
        let key = rustls::crypto::ring::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| self.unusable().caused_by(error))?;
        let own = chain.first().and_then(|own| Certificate::parse(own));
        let own = own.ok_or_else(|| self.unusable().caused_by("the file holds no certificate"))?;
        if key.public_key().is_some_and(|public| public.as_ref() != own.public_key) {
            return Err(self.unusable().caused_by("the key is not that of the certificate"));
        }
        Ok(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
    }
}

/// What is wrong with the server's certificate, if that is why a handshake failed.
pub(super) fn certificate_fault(error: &std::io::Error) -> Option<&CertificateFault> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            other.downcast_ref::<CertificateFault>()
        }
        _ => None,
    }
}

/// How keys sign that may sign with PSS alone (RFC 8446, 4.2.3), and the like of each for keys that may do more.
const RSA_PSS_KEYS: [(SignatureScheme, SignatureScheme); 3] = [
    (SignatureScheme::Unknown(0x0809), SignatureScheme::RSA_PSS_SHA256),
    (SignatureScheme::Unknown(0x080a), SignatureScheme::RSA_PSS_SHA384),
    (SignatureScheme::Unknown(0x080b), SignatureScheme::RSA_PSS_SHA512),
];

/// Judges certificates as libpq does.
#[derive(Debug)]
struct Verifier {
    /// `None`: any certificate will do. The key in it proves nothing then, so that what it signs is not checked either.
    trust: Option<Trust>,
    /// The host that it must be for.
    host: Option<String>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn judge(
        &self,
        trust: &Trust,
        server: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> std::result::Result<(), CertificateFault> {
        let known = self.provider.signature_verification_algorithms.all;
        let algorithms: Vec<_> = known.iter().chain(curves::ALL).copied().collect();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let time = DateTime::<Utc>::from_timestamp(seconds, 0).ok_or(CertificateFault::Unreadable)?;
        let found = trust.judge(server, sent, &algorithms, time)?;
        let parsed = Certificate::parse(server).ok_or(CertificateFault::Unreadable)?;
        if found.constrains_names && !self.satisfies_webpki(trust, server, sent, now) {
            let what = "has a name that an authority above it does not allow";
            return Err(CertificateFault::Unsupported { whose: "the server's certificate".to_owned(), what });
        }
        if !parsed.has_known_key(&algorithms) {
            let what =
                "has a key that lifeboat cannot verify: RSA, P-256, P-384, P-521 and Ed25519 are supported";
            return Err(CertificateFault::Unsupported { whose: "the server's certificate".to_owned(), what });
        }
        match &self.host {
            Some(host) => {
                parsed.is_for(host).map_err(|names| CertificateFault::OtherName { host: host.clone(), names })
            }
            None => Ok(()),
        }
    }

    fn satisfies_webpki(
        &self,
        trust: &Trust,
        server: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trust.roots.iter().cloned());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build();
        let name = Tls::name_to_send(self.host.as_deref().unwrap_or("localhost"));
        use CertificateError::{NotValidForName, NotValidForNameContext};
        verifier.is_ok_and(|verifier| match verifier.verify_server_cert(server, sent, &name, &[], now) {
            // The name is checked last, after the path; libpq's rules for it are another matter.
            Ok(_)
            | Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => true,
            Err(_) => false,
        })
    }

    fn verify_handshake(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        if self.trust.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let known = self.provider.signature_verification_algorithms.mapping;
        let wanted = RSA_PSS_KEYS
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme)
            .map_or(signed.scheme, |(_, it)| *it);
        let algorithms = match wanted {
            SignatureScheme::ECDSA_NISTP521_SHA512 => Some(curves::OF_SHA512),
            wanted => known.iter().find(|(scheme, _)| *scheme == wanted).map(|(_, algorithms)| *algorithms),
        };
        let is_valid = Certificate::parse(certificate)
            .is_some_and(|it| it.verifies(algorithms.unwrap_or_default(), message, signed.signature()));
        match is_valid {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if let Some(trust) = &self.trust {
            self.judge(trust, end_entity, intermediates, now).map_err(|fault| {
                rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
            })?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_handshake(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        // TLS 1.3 knows no PKCS#1 padding in a handshake (RFC 8446, 4.2.3).
        use SignatureScheme::{RSA_PKCS1_SHA1, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512};
        if [RSA_PKCS1_SHA1, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512].contains(&signature.scheme)
        {
            return Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature));
        }
        self.verify_handshake(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        // The latter so that a server with such a key shows it, and the error can name it.
        schemes.extend([SignatureScheme::ECDSA_NISTP521_SHA512, SignatureScheme::ED448]);
        schemes.extend(RSA_PSS_KEYS.map(|(scheme, _)| scheme));
        schemes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_authority_can_be_read() {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(RDS_AUTHORITIES).collect();
        assert_eq!(certificates.len(), 120);
        for certificate in certificates {
            let certificate = certificate.unwrap();
            let parsed = Certificate::parse(&certificate).unwrap();
            assert!(parsed.is_authority(), "{}", parsed.name());
        }
    }
}
