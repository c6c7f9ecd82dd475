//! How many certificate authorities we trust, and until when they last.

use chrono::{DateTime, Utc};

use super::Tls;
use super::certificate::Certificate;
use crate::error::Result;

/// Certificate authorities.
#[derive(Clone, Debug)]
pub(crate) struct Authorities {
    /// How many.
    pub count: usize,
    /// When each ends, of those that say so in the usual way.
    pub ends: Vec<DateTime<Utc>>,
}

impl Authorities {
    /// Those that connections are held against; an error if they could not be used.
    pub(crate) fn of(tls: &Tls) -> Result<Self> {
        let roots = tls.roots()?;
        let ends = roots.iter().filter_map(|root| Certificate::parse(root)?.ends).collect();
        Ok(Authorities { count: roots.len(), ends })
    }
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
    }
}
