//! The stack's certificate authority, and a certificate for each server.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::atomic_file::replace_file;
use crate::home::Home;

/// The names of a server on this machine.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authority")
    }
}

/// A server's key and certificate, as PEM.
pub(crate) struct Credentials {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// Opens the authority of a stack's directory, or makes a new one if the key or the certificate is missing.
    pub(crate) fn open(home: &Home) -> anyhow::Result<Self> {
        let (certificate, key) = (home.file("ca.pem"), home.file("ca.key"));
        let issuer = match read_key(&key)? {
            Some(key_pair) if certificate.is_file() => Issuer::new(authority_params()?, key_pair),
            _ => {
                let key_pair = KeyPair::generate().context("cannot make a key")?;
                let own =
                    authority_params()?.self_signed(&key_pair).context("cannot make a CA certificate")?;
                replace_file(&key, key_pair.serialize_pem().as_bytes())?;
                fs::write(&certificate, own.pem())
                    .with_context(|| format!("cannot write `{}`", certificate.display()))?;
                Issuer::new(authority_params()?, key_pair)
            }
        };
        Ok(Self { issuer })
    }

    pub(crate) fn issue_certificate(&self) -> anyhow::Result<Credentials> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut params = CertificateParams::new(NAMES.map(str::to_owned).to_vec())?;
        params.distinguished_name = distinguished_name("localhost");
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2049, 1, 1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).context("cannot sign a certificate")?;
        Ok(Credentials { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// The same every time, so that the key alone restores the authority.
fn authority_params() -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = distinguished_name("lifeboat local stack");
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn read_key(file: &Path) -> anyhow::Result<Option<KeyPair>> {
    match fs::read_to_string(file) {
        Ok(pem) => {
            Ok(Some(KeyPair::from_pem(&pem).with_context(|| format!("`{}` is not a key", file.display()))?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", file.display())),
    }
}
