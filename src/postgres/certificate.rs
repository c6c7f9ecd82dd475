//! X.509 certificates and revocation lists, as far as a decision needs them (RFC 5280): read with more patience than
//! webpki has, since libpq's OpenSSL takes certificates of version 1, without a list of names, or signed by themselves.

use std::net::IpAddr;

use chrono::{DateTime, NaiveDateTime, Utc};
use rustls::pki_types::SignatureVerificationAlgorithm;

/// A certificate.
#[derive(Clone, Debug)]
pub(super) struct Certificate<'a> {
    /// All of it, by which two are compared.
    pub(super) whole: &'a [u8],
    pub(super) serial: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) begins: Option<DateTime<Utc>>,
    pub(super) ends: Option<DateTime<Utc>>,
    /// The key with its algorithm.
    pub(super) public_key: &'a [u8],
    key_algorithm: &'a [u8],
    key: &'a [u8],
    signed: Signed<'a>,
    is_version_1: bool,
    extensions: Vec<Extension<'a>>,
}

#[derive(Clone, Debug)]
struct Extension<'a> {
    name: &'a [u8],
    is_critical: bool,
    value: &'a [u8],
}

/// What somebody signed, how, and the signature.
#[derive(Clone, Copy, Debug)]
struct Signed<'a> {
    content: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Sha256,
    Sha384,
    Sha512,
}

/// Why nothing can be said about a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignatureFault {
    /// It is not by that key.
    Wrong,
    /// SHA-1 and MD5 prove nothing any more.
    WeakDigest,
    /// We cannot compute it.
    Unknown,
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
/// Extensions that say nothing against a certificate, critical or not: policies, their mappings and constraints, and where
/// revocation lists are.
const HARMLESS: [&[u8]; 5] =
    [&[0x55, 0x1d, 0x20], &[0x55, 0x1d, 0x21], &[0x55, 0x1d, 0x24], &[0x55, 0x1d, 0x36], &[0x55, 0x1d, 0x1f]];
const SERVER: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
/// MD5 and SHA-1 with RSA, SHA-1 with ECDSA and with DSA.
const WEAK_SIGNATURES: [&[u8]; 4] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01],
    &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03],
];

impl<'a> Certificate<'a> {
    /// Reads one; `None` if it is none.
    pub(super) fn parse(whole: &'a [u8]) -> Option<Self> {
        let signed = Signed::parse(whole)?;
        let (_, mut rest, _) = element(signed.content)?;
        const VERSION: u8 = 0xa0;
        let is_version_1 = element(rest)?.0 != VERSION;
        if !is_version_1 {
            rest = element(rest)?.2;
        }
        let (_, serial, rest) = element(rest)?;
        let (_, _, rest) = element(rest)?;
        let (issuer, rest) = element_as_it_stands(rest)?;
        let (_, validity, rest) = element(rest)?;
        let (subject, rest) = element_as_it_stands(rest)?;
        let (public_key, mut rest) = element_as_it_stands(rest)?;
        let (_, key_and_algorithm, _) = element(public_key)?;
        let (_, key_algorithm, key_rest) = element(key_and_algorithm)?;
        let (kind, key, _) = element(key_rest)?;
        let (begins, after) = parse_time(validity);
        let (ends, _) = parse_time(after);
        let mut extensions = Vec::new();
        const EXTENSIONS: u8 = 0xa3;
        while let Some((kind, content, next)) = element(rest) {
            rest = next;
            if kind == EXTENSIONS {
                let (_, mut list, _) = element(content)?;
                while let Some((_, extension, next)) = element(list) {
                    list = next;
                    extensions.push(Extension::parse(extension)?);
                }
            }
        }
        Some(Certificate {
            whole,
            serial,
            issuer,
            subject,
            begins,
            ends,
            public_key,
            key_algorithm,
            key: key.get(1..).filter(|_| kind == BIT_STRING)?,
            signed,
            is_version_1,
            extensions,
        })
    }

    fn extension(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.extensions.iter().find(|extension| extension.name == name).map(|extension| extension.value)
    }

    /// Whether it names itself as the one that signed it.
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Whether it may sign others, as OpenSSL sees it: one of version 1 may if it is a root.
    pub(super) fn is_authority(&self) -> bool {
        const CERTIFICATE_SIGNING: usize = 5;
        if self.key_usage().is_some_and(|usage| !usage.has(CERTIFICATE_SIGNING)) {
            return false;
        }
        match self.extension(BASIC_CONSTRAINTS) {
            Some(value) => element(value).and_then(|(_, content, _)| element(content)).is_some_and(
                |(kind, is_authority, _)| {
                    kind == BOOLEAN && is_authority.first().is_some_and(|byte| *byte != 0)
                },
            ),
            None => (self.is_version_1 && self.is_self_issued()) || self.key_usage().is_some(),
        }
    }

    /// How many authorities may stand between it and the server's certificate.
    pub(super) fn longest_path(&self) -> Option<usize> {
        let (_, content, _) = element(self.extension(BASIC_CONSTRAINTS)?)?;
        let (_, _, rest) = element(content)?;
        let (kind, length, _) = element(rest)?;
        (kind == INTEGER)
            .then(|| length.iter().fold(0, |sum: usize, byte| sum.saturating_mul(256) + usize::from(*byte)))
    }

    fn key_usage(&self) -> Option<Usage<'a>> {
        let (_, bits, _) = element(self.extension(KEY_USAGE)?)?;
        Some(Usage(bits.get(1..)?))
    }

    /// Whether it may be a server's, or for an authority: whether it may sign servers' ones.
    pub(super) fn is_for_servers(&self) -> bool {
        let Some(value) = self.extension(EXTENDED_KEY_USAGE) else { return true };
        let Some((_, mut list, _)) = element(value) else { return false };
        while let Some((_, purpose, next)) = element(list) {
            if purpose == SERVER {
                return true;
            }
            list = next;
        }
        false
    }

    /// Whether its key may be used for TLS: signing, encrypting keys, or agreeing on them.
    pub(super) fn may_be_used_for_tls(&self) -> bool {
        self.key_usage().is_none_or(|usage| [0, 2, 4].iter().any(|bit| usage.has(*bit)))
    }

    /// Whether it limits the names that those below it may have.
    pub(super) fn constrains_names(&self) -> bool {
        self.extension(NAME_CONSTRAINTS).is_some()
    }

    /// Whether it demands that something be understood that nobody here does.
    pub(super) fn demands_what_is_unknown(&self) -> bool {
        let known = [BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE, ALTERNATIVE_NAMES, NAME_CONSTRAINTS];
        let is_known = |name: &[u8]| known.contains(&name) || HARMLESS.contains(&name);
        self.extensions.iter().any(|extension| extension.is_critical && !is_known(extension.name))
    }

    /// The length of an RSA key in bits; `None` for keys of other kinds.
    pub(super) fn rsa_bits(&self) -> Option<usize> {
        let (_, name, _) = element(self.key_algorithm)?;
        if name != RSA && name != RSA_PSS {
            return None;
        }
        let (_, numbers, _) = element(self.key)?;
        let (_, modulus, _) = element(numbers)?;
        let start = modulus.iter().position(|byte| *byte != 0)?;
        let leading = modulus.get(start)?.leading_zeros();
        Some((modulus.len() - start) * 8 - usize::try_from(leading).ok()?)
    }

    /// Whether signatures by its key can be judged at all.
    pub(super) fn has_known_key(&self, algorithms: &[&dyn SignatureVerificationAlgorithm]) -> bool {
        algorithms.iter().any(|algorithm| self.has_key_for(*algorithm))
    }

    /// Whether its key may make signatures of a kind: one for PSS alone makes no other.
    fn has_key_for(&self, algorithm: &dyn SignatureVerificationAlgorithm) -> bool {
        let name =
            |identifier: &[u8], wanted: &[u8]| element(identifier).is_some_and(|(_, name, _)| name == wanted);
        let kind = algorithm.public_key_alg_id();
        kind.as_ref() == self.key_algorithm
            || (name(self.key_algorithm, RSA_PSS)
                && name(kind.as_ref(), RSA)
                && name(algorithm.signature_alg_id().as_ref(), RSA_PSS))
    }

    /// Whether its key made a signature.
    pub(super) fn verifies(
        &self,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        algorithms
            .iter()
            .filter(|algorithm| self.has_key_for(**algorithm))
            .any(|algorithm| algorithm.verify_signature(self.key, message, signature).is_ok())
    }

    /// Whether this one's key signed another.
    pub(super) fn has_signed(
        &self,
        other: &Certificate<'_>,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), SignatureFault> {
        other.signed.is_by(self, algorithms)
    }

    /// The hash function of its own signature; `None` where there is none, as for Ed25519.
    pub(super) fn signature_digest(&self) -> Option<Digest> {
        let (_, name, parameters) = element(self.signed.algorithm)?;
        match name {
            // RFC 5929: SHA-256 takes the place of MD5 and SHA-1.
            _ if WEAK_SIGNATURES.contains(&name) => Some(Digest::Sha256),
            RSA_PSS => {
                let (_, parameters, _) = element(parameters)?;
                let (_, function, _) = element(parameters)?;
                let (_, function, _) = element(function)?;
                let (_, function, _) = element(function)?;
                digest_of_last_byte(*function.last()?, [1, 2, 3])
            }
            // …1.1.11 to 13 with RSA, …4.3.2 to 4 with ECDSA.
            _ if name.starts_with(&RSA_PSS[..8]) => digest_of_last_byte(*name.last()?, [11, 12, 13]),
            _ if name.starts_with(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03]) => {
                digest_of_last_byte(*name.last()?, [2, 3, 4])
            }
            _ => None,
        }
    }

    /// The names and the addresses in its list.
    fn alternative_names(&self) -> (Vec<&'a str>, Vec<IpAddr>) {
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        let list = self.extension(ALTERNATIVE_NAMES).and_then(element);
        let Some((_, mut list, _)) = list else { return (names, addresses) };
        const NAME: u8 = 0x82;
        const ADDRESS: u8 = 0x87;
        while let Some((kind, content, next)) = element(list) {
            list = next;
            match kind {
                NAME => names.extend(std::str::from_utf8(content).ok()),
                ADDRESS => {
                    addresses.extend(<[u8; 4]>::try_from(content).ok().map(IpAddr::from));
                    addresses.extend(<[u8; 16]>::try_from(content).ok().map(IpAddr::from));
                }
                _ => {}
            }
        }
        (names, addresses)
    }

    /// Whether it is for a host, by libpq's rules (`verify-full`): the common name counts where the list has no name of the
    /// host's kind, and a star stands for one label on the left. Otherwise the names that it is for.
    pub(super) fn is_for(&self, host: &str) -> Result<(), Vec<String>> {
        let (names, addresses) = self.alternative_names();
        let address: Option<IpAddr> = host.parse().ok();
        let by_name = names.iter().any(|pattern| matches_host(pattern, host));
        let by_address = address.is_some_and(|address| addresses.contains(&address));
        let has_its_kind = if address.is_some() { !addresses.is_empty() } else { !names.is_empty() };
        let common = common_name(self.subject);
        if by_name
            || by_address
            || (!has_its_kind && common.as_deref().is_some_and(|name| matches_host(name, host)))
        {
            return Ok(());
        }
        let listed =
            names.iter().map(|name| (*name).to_owned()).chain(addresses.iter().map(ToString::to_string));
        let all: Vec<String> = listed.chain(common.filter(|_| !has_its_kind)).collect();
        Err(all)
    }

    /// What its subject is called.
    pub(super) fn name(&self) -> String {
        readable_name(self.subject)
    }

    /// What the one that signed it is called.
    pub(super) fn issuer_name(&self) -> String {
        readable_name(self.issuer)
    }
}

impl<'a> Extension<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (_, name, rest) = element(bytes)?;
        let (kind, content, next) = element(rest)?;
        let (is_critical, value) = match kind {
            BOOLEAN => (content.first().is_some_and(|byte| *byte != 0), element(next)?.1),
            _ => (false, content),
        };
        Some(Extension { name, is_critical, value })
    }
}

impl<'a> Signed<'a> {
    fn parse(whole: &'a [u8]) -> Option<Self> {
        let (kind, parts, _) = element(whole)?;
        let (content, rest) = element_as_it_stands(parts).filter(|_| kind == SEQUENCE)?;
        let (_, algorithm, rest) = element(rest)?;
        let (kind, bits, _) = element(rest)?;
        Some(Signed { content, algorithm, signature: bits.get(1..).filter(|_| kind == BIT_STRING)? })
    }

    fn is_by(
        &self,
        signer: &Certificate<'_>,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), SignatureFault> {
        let name = element(self.algorithm).map(|(_, name, _)| name).unwrap_or_default();
        if WEAK_SIGNATURES.contains(&name) {
            return Err(SignatureFault::WeakDigest);
        }
        let mut fitting = algorithms
            .iter()
            .filter(|it| signer.has_key_for(**it))
            .filter(|it| it.signature_alg_id().as_ref() == self.algorithm)
            .peekable();
        if fitting.peek().is_none() {
            return Err(SignatureFault::Unknown);
        }
        match fitting.any(|it| it.verify_signature(signer.key, self.content, self.signature).is_ok()) {
            true => Ok(()),
            false => Err(SignatureFault::Wrong),
        }
    }
}

/// A list of certificates that its issuer has withdrawn.
pub(super) struct RevocationList<'a> {
    pub(super) issuer: &'a [u8],
    pub(super) ends: Option<DateTime<Utc>>,
    signed: Signed<'a>,
    serials: Vec<&'a [u8]>,
}

impl<'a> RevocationList<'a> {
    pub(super) fn parse(whole: &'a [u8]) -> Option<Self> {
        let signed = Signed::parse(whole)?;
        let (_, mut rest, _) = element(signed.content)?;
        if element(rest)?.0 == INTEGER {
            rest = element(rest)?.2;
        }
        let (_, _, rest) = element(rest)?;
        let (issuer, rest) = element_as_it_stands(rest)?;
        let (_, rest) = parse_time(rest);
        let (ends, rest) = match element(rest).map(|(kind, ..)| kind) {
            Some(UTC_TIME | GENERALIZED_TIME) => parse_time(rest),
            _ => (None, rest),
        };
        let mut serials = Vec::new();
        if let Some((SEQUENCE, mut list, _)) = element(rest) {
            while let Some((_, entry, next)) = element(list) {
                list = next;
                serials.push(element(entry)?.1);
            }
        }
        Some(RevocationList { issuer, ends, signed, serials })
    }

    pub(super) fn lists(&self, certificate: &Certificate<'_>) -> bool {
        self.serials.contains(&certificate.serial)
    }

    pub(super) fn is_by(
        &self,
        signer: &Certificate<'_>,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        self.signed.is_by(signer, algorithms).is_ok()
    }
}

#[derive(Clone, Copy)]
struct Usage<'a>(&'a [u8]);

impl Usage<'_> {
    fn has(self, bit: usize) -> bool {
        self.0.get(bit / 8).is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0)
    }
}

fn digest_of_last_byte(byte: u8, [sha256, sha384, sha512]: [u8; 3]) -> Option<Digest> {
    match byte {
        _ if byte == sha256 => Some(Digest::Sha256),
        _ if byte == sha384 => Some(Digest::Sha384),
        _ if byte == sha512 => Some(Digest::Sha512),
        _ => None,
    }
}

/// libpq's `wildcard_certificate_match`: a star stands for one label at the left, and nothing else does.
fn matches_host(pattern: &str, host: &str) -> bool {
    if pattern.contains('\0') {
        return false;
    }
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = pattern.strip_prefix('*').filter(|domain| domain.starts_with('.') && domain.len() > 1)
    else {
        return false;
    };
    host.find('.').filter(|dot| *dot > 0).is_some_and(|dot| host[dot..].eq_ignore_ascii_case(domain))
}

fn common_name(name: &[u8]) -> Option<String> {
    name_part(name, COMMON_NAME)
}

fn readable_name(name: &[u8]) -> String {
    name_part(name, COMMON_NAME)
        .or_else(|| name_part(name, ORGANIZATION))
        .unwrap_or_else(|| "unnamed".to_owned())
}

fn name_part(name: &[u8], wanted: &[u8]) -> Option<String> {
    const UTF16: u8 = 0x1e;
    let (_, mut sets, _) = element(name)?;
    while let Some((_, mut set, next)) = element(sets) {
        sets = next;
        while let Some((_, pair, next)) = element(set) {
            set = next;
            let (_, kind, rest) = element(pair)?;
            if kind == wanted {
                let (encoding, text, _) = element(rest)?;
                let units = || text.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                return Some(match encoding {
                    UTF16 => String::from_utf16_lossy(&units().collect::<Vec<_>>()),
                    _ => String::from_utf8_lossy(text).into_owned(),
                });
            }
        }
    }
    None
}

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A time, if it is written in the usual way, and what follows it.
fn parse_time(bytes: &[u8]) -> (Option<DateTime<Utc>>, &[u8]) {
    let Some((kind, text, rest)) = element(bytes) else { return (None, &[]) };
    let read = || {
        let text = std::str::from_utf8(text).ok()?;
        let full = match kind {
            // Two digits of the year: 50 to 99 are of the last century.
            UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
            UTC_TIME => format!("19{text}"),
            _ => text.to_owned(),
        };
        Some(NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%SZ").ok()?.and_utc())
    };
    (read(), rest)
}

/// The first element of DER: its kind, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7f => (usize::from(*short), rest),
        long => {
            let count = usize::from(long & 0x7f);
            let (digits, rest) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*kind, content, rest))
}

/// The first element with its kind and its length, and what follows it.
fn element_as_it_stands(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, _, rest) = element(bytes)?;
    bytes.split_at_checked(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label_on_the_left() {
        for (pattern, host, is_match) in [
            ("*.example.com", "a.example.com", true),
            ("*.EXAMPLE.com", "A.example.COM", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("a*.example.com", "ab.example.com", false),
            ("*", "localhost", false),
            ("db", "db", true),
            ("db.a\0b", "db.a\0b", false),
        ] {
            assert_eq!(matches_host(pattern, host), is_match, "{pattern} {host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(bytes: Vec<u8>) {
            let _ = Certificate::parse(&bytes).map(|found| (found.name(), found.is_for("h"), found.is_authority()));
            let _ = RevocationList::parse(&bytes).map(|found| found.serials.len());
        }
    }
}
