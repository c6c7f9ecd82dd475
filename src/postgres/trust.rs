//! Whether a server's certificate is to be trusted, by the rules of libpq's OpenSSL: a path from it to a root that we have
//! been given, every certificate on it valid today and fit for its place.
//!
//! webpki asks for more (version 3, a list of names, no root that is a server's own certificate), so that what psql
//! connects to would be refused. Where an authority limits the names below it, webpki is asked as well.

use std::fmt;

use chrono::{DateTime, Utc};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};

use super::certificate::{Certificate, RevocationList, SignatureFault};
use crate::words::quote_names;

/// Whom we trust.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// Where they come from, for people.
    pub(super) of: String,
    /// Lists of withdrawn certificates; with any, each certificate on a path must have one of its issuer's.
    pub(super) revoked: Vec<Vec<u8>>,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CertificateFault {
    Unreadable,
    NotYet {
        whose: String,
        begins: DateTime<Utc>,
    },
    Expired {
        whose: String,
        ended: DateTime<Utc>,
    },
    OtherName {
        host: String,
        names: Vec<String>,
    },
    SelfSigned {
        of: String,
    },
    UnknownAuthority {
        issuer: String,
        of: String,
    },
    /// The root above what we were given.
    NoRoot {
        issuer: String,
        of: String,
    },
    NoAuthority {
        whose: String,
    },
    NotForServers {
        whose: String,
    },
    ShortKey {
        whose: String,
        bits: usize,
    },
    Revoked {
        whose: String,
    },
    NoRevocationList {
        issuer: String,
    },
    Unsupported {
        whose: String,
        what: &'static str,
    },
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |time: &DateTime<Utc>| time.format("%Y-%m-%d %H:%M UTC").to_string();
        match self {
            CertificateFault::Unreadable => f.write_str("the server's certificate cannot be read"),
            CertificateFault::NotYet { whose, begins } => {
                write!(f, "{whose} is not valid before {}", day(begins))
            }
            CertificateFault::Expired { whose, ended } => write!(f, "{whose} expired on {}", day(ended)),
            CertificateFault::OtherName { host, names } if names.is_empty() => {
                write!(f, "the server's certificate names no host, so it is not for `{host}`")
            }
            CertificateFault::OtherName { host, names } => {
                write!(f, "the server's certificate is for {}, and not for `{host}`", quote_names(names))
            }
            CertificateFault::SelfSigned { of } => {
                write!(f, "the server's certificate is self-signed, and it is not among {of}")
            }
            CertificateFault::UnknownAuthority { issuer, of } => {
                write!(f, "the server's certificate is signed by `{issuer}`, which is not among {of}")
            }
            CertificateFault::NoRoot { issuer, of } => write!(
                f,
                "the server's certificate leads to `{issuer}`, an authority that is not a root, and the root above it is not \
                 among {of}"
            ),
            CertificateFault::NoAuthority { whose } => write!(f, "{whose} may not sign other certificates"),
            CertificateFault::NotForServers { whose } => write!(f, "{whose} is not for servers"),
            CertificateFault::ShortKey { whose, bits } => {
                write!(f, "{whose} has an RSA key of {bits} bits, and 2048 are the least that is safe")
            }
            CertificateFault::Revoked { whose } => write!(f, "{whose} was revoked"),
            CertificateFault::NoRevocationList { issuer } => {
                write!(f, "there is no valid revocation list of `{issuer}`")
            }
            CertificateFault::Unsupported { whose, what } => write!(f, "{whose} {what}"),
        }
    }
}

impl std::error::Error for CertificateFault {}

/// Signatures that may be tried for one certificate: a server could send many that lead nowhere.
const MOST_SIGNATURES: usize = 100;
/// Certificates on a path.
const LONGEST_PATH: usize = 10;

/// What looks for a path.
struct Search<'a> {
    trust: &'a Trust,
    roots: Vec<Certificate<'a>>,
    sent: Vec<Certificate<'a>>,
    algorithms: &'a [&'static dyn SignatureVerificationAlgorithm],
    now: DateTime<Utc>,
    left: usize,
}

/// A path that can be trusted.
pub(super) struct Trusted {
    /// Whether an authority on it limits the names of those below.
    pub(super) constrains_names: bool,
}

impl Trust {
    /// Looks for a path from a server's certificate to a root.
    pub(super) fn judge(
        &self,
        server: &[u8],
        sent: &[CertificateDer<'_>],
        algorithms: &[&'static dyn SignatureVerificationAlgorithm],
        now: DateTime<Utc>,
    ) -> Result<Trusted, CertificateFault> {
        let leaf = Certificate::parse(server).ok_or(CertificateFault::Unreadable)?;
        let mut search = Search {
            trust: self,
            roots: self.roots.iter().filter_map(|root| Certificate::parse(root)).collect(),
            sent: sent.iter().filter_map(|it| Certificate::parse(it)).collect(),
            algorithms,
            now,
            left: MOST_SIGNATURES,
        };
        search.extend(vec![leaf])
    }
}

impl<'a> Search<'a> {
    /// Goes on from the last certificate of a path.
    fn extend(&mut self, path: Vec<Certificate<'a>>) -> Result<Trusted, CertificateFault>
where {
        let Some(last) = path.last().cloned() else { return Err(CertificateFault::Unreadable) };
        if last.is_self_issued() && self.roots.iter().any(|root| root.whole == last.whole) {
            return self.judge_path(&path);
        }
        let mut fault = None;
        let above: Vec<Certificate<'a>> = self
            .roots
            .iter()
            .chain(&self.sent)
            .filter(|other| other.subject == last.issuer && !path.iter().any(|on| on.whole == other.whole))
            .cloned()
            .collect();
        for next in above {
            if path.len() >= LONGEST_PATH || self.left == 0 {
                break;
            }
            self.left -= 1;
            let found = match next.has_signed(&last, self.algorithms) {
                Ok(()) => {
                    let mut longer = path.clone();
                    longer.push(next);
                    self.extend(longer)
                }
                Err(SignatureFault::Wrong) => continue,
                Err(SignatureFault::WeakDigest) => Err(CertificateFault::Unsupported {
                    whose: whose(&path, path.len() - 1),
                    what: "is signed with SHA-1 or MD5, which proves nothing any more",
                }),
                Err(SignatureFault::Unknown) => Err(CertificateFault::Unsupported {
                    whose: whose(&path, path.len() - 1),
                    what: "is signed with an algorithm that lifeboat cannot verify: RSA, ECDSA on P-256, P-384 and P-521, \
                           and Ed25519 are supported",
                }),
            };
            match found {
                Ok(trusted) => return Ok(trusted),
                Err(found) => fault = fault.or(Some(found)),
            }
        }
        let of = self.trust.of.clone();
        Err(fault.unwrap_or_else(|| match last.is_self_issued() {
            true if path.len() == 1 => CertificateFault::SelfSigned { of },
            true => CertificateFault::UnknownAuthority { issuer: last.name(), of },
            false if self.roots.iter().any(|root| root.whole == last.whole) => {
                CertificateFault::NoRoot { issuer: last.name(), of }
            }
            false => CertificateFault::UnknownAuthority { issuer: last.issuer_name(), of },
        }))
    }

    fn judge_path(&self, path: &[Certificate<'a>]) -> Result<Trusted, CertificateFault> {
        let mut authorities_below = 0;
        for (index, certificate) in path.iter().enumerate() {
            let whose = || whose(path, index);
            if certificate.begins.is_none_or(|begins| begins > self.now) {
                let begins = certificate.begins.unwrap_or(self.now);
                return Err(CertificateFault::NotYet { whose: whose(), begins });
            }
            if let Some(ended) = certificate.ends.filter(|ends| *ends < self.now) {
                return Err(CertificateFault::Expired { whose: whose(), ended });
            }
            const LEAST_BITS: usize = 2048;
            if let Some(bits) = certificate.rsa_bits().filter(|bits| *bits < LEAST_BITS) {
                return Err(CertificateFault::ShortKey { whose: whose(), bits });
            }
            if certificate.demands_what_is_unknown() {
                let what = "has a critical extension that nobody here knows";
                return Err(CertificateFault::Unsupported { whose: whose(), what });
            }
            if !certificate.is_for_servers() || (index == 0 && !certificate.may_be_used_for_tls()) {
                return Err(CertificateFault::NotForServers { whose: whose() });
            }
            if index > 0 {
                if !certificate.is_authority() {
                    return Err(CertificateFault::NoAuthority { whose: whose() });
                }
                if certificate.longest_path().is_some_and(|longest| authorities_below > longest) {
                    return Err(CertificateFault::NoAuthority { whose: whose() });
                }
                if !certificate.is_self_issued() {
                    authorities_below += 1;
                }
            }
        }
        if !self.trust.revoked.is_empty() {
            self.judge_revocation(path)?;
        }
        Ok(Trusted { constrains_names: path.iter().skip(1).any(Certificate::constrains_names) })
    }

    /// As OpenSSL with `X509_V_FLAG_CRL_CHECK_ALL`: every certificate, the root too.
    fn judge_revocation(&self, path: &[Certificate<'a>]) -> Result<(), CertificateFault> {
        let lists: Vec<RevocationList<'_>> =
            self.trust.revoked.iter().filter_map(|list| RevocationList::parse(list)).collect();
        for (index, certificate) in path.iter().enumerate() {
            let signer = path.get(index + 1).unwrap_or(certificate);
            let list = lists.iter().find(|list| {
                list.issuer == certificate.issuer
                    && list.ends.is_none_or(|ends| ends >= self.now)
                    && list.is_by(signer, self.algorithms)
            });
            match list {
                None => return Err(CertificateFault::NoRevocationList { issuer: certificate.issuer_name() }),
                Some(list) if list.lists(certificate) => {
                    return Err(CertificateFault::Revoked { whose: whose(path, index) });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// How the certificate at a place of a path is called.
fn whose(path: &[Certificate<'_>], index: usize) -> String {
    match path.get(index) {
        Some(certificate) if index > 0 => {
            format!("the certificate of the authority `{}`", certificate.name())
        }
        _ => "the server's certificate".to_owned(),
    }
}
