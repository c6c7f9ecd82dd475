//! How many certificate authorities we trust, and until when they last.

use chrono::{DateTime, NaiveDateTime, Utc};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Tls;
use super::tls::RDS_AUTHORITIES;
use crate::error::Result;

/// Certificate authorities.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// How many.
    pub count: usize,
    /// When each ends, of those that say so in the usual way.
    pub ends: Vec<DateTime<Utc>>,
}

impl Authorities {
    /// Those that connections are held against; an error if they could not be used.
    pub fn of(tls: &Tls) -> Result<Self> {
        let count = tls.roots()?.len();
        let certificates: Vec<CertificateDer<'_>> = match &tls.authorities {
            Some(path) if path.as_os_str() == "system" => rustls_native_certs::load_native_certs().certs,
            Some(path) => CertificateDer::pem_file_iter(path).into_iter().flatten().flatten().collect(),
            None => CertificateDer::pem_slice_iter(RDS_AUTHORITIES).flatten().collect(),
        };
        Ok(Authorities { count, ends: certificates.iter().filter_map(|it| end_of(it)).collect() })
    }
}

/// When a certificate ends (RFC 5280, 4.1): the second time of `validity`, the fifth part of what is signed, or the fourth
/// where the version is left out.
fn end_of(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let (_, whole, _) = part(certificate)?;
    let (_, signed, _) = part(whole)?;
    let mut rest = signed;
    const VERSION: u8 = 0xa0;
    if part(rest)?.0 == VERSION {
        rest = part(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = part(rest)?.2;
    }
    let (_, validity, _) = part(rest)?;
    let (_, _, rest) = part(validity)?;
    let (kind, text, _) = part(rest)?;
    let text = std::str::from_utf8(text).ok()?;
    const UTC_TIME: u8 = 0x17;
    let full = match kind {
        // Two digits of the year: 50 to 99 are of the last century.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        _ => text.to_owned(),
    };
    Some(NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%SZ").ok()?.and_utc())
}

/// The first element of DER: its kind, its content, and what follows it.
fn part(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_authority_says_when_it_ends() {
        let found = Authorities::of(&Tls::default()).unwrap();
        assert_eq!((found.count, found.ends.len()), (120, 120));
        let year = |end: Option<&DateTime<Utc>>| end.unwrap().format("%Y").to_string();
        assert_eq!(
            (year(found.ends.iter().min()), year(found.ends.iter().max())),
            ("2024".to_owned(), "2122".to_owned())
        );
        assert_eq!(end_of(b"no certificate"), None);
    }
}
