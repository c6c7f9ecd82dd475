//! Who may do what from elsewhere: tokens of 256 random bits, of which the vault keeps only the SHA-256.
//!
//! They are in `serve/tokens.json` (0600). The file is read for every call, so that a revoked token is refused
//! from then on. A file that cannot be read admits nobody.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind, Result};
use crate::vault::Vault;

const FILE: &str = "serve/tokens.json";
const SCHEMA: &str = "lifeboat.tokens/1";
/// The prefix of tokens, by which people and secret scanners recognise one.
const PREFIX: &str = "lifeboat_";

/// The scope of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// See backups, drills and metrics
    Read,
    /// Make and prove backups
    Create,
    /// Restore backups
    Restore,
    /// Delete backups
    Delete,
}

impl Scope {
    /// All of them.
    pub(crate) const ALL: [Scope; 4] = [Scope::Read, Scope::Create, Scope::Restore, Scope::Delete];

    /// Its word in files.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Create => "create",
            Scope::Restore => "restore",
            Scope::Delete => "delete",
        }
    }
}

/// A token, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: String,
    /// Its scopes.
    pub scopes: Vec<Scope>,
    pub created_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct File {
    schema: String,
    tokens: Vec<Token>,
}

/// The tokens of a vault.
pub(crate) fn list(vault: &Vault) -> Result<Vec<Token>> {
    let Some(text) = vault.read(FILE)? else { return Ok(Vec::new()) };
    let damaged = || {
        Error::outside(format!("`{}` is damaged", vault.shown(FILE)))
            .hint("Remove the file and add the tokens again; until then every token is refused.")
    };
    let file: File = serde_json::from_slice(&text).map_err(|error| damaged().caused_by(error))?;
    if file.schema == SCHEMA { Ok(file.tokens) } else { Err(damaged()) }
}

/// Makes a token. What is returned is shown once and kept nowhere.
pub(crate) fn add(vault: &Vault, name: &str, scopes: &[Scope], now: DateTime<Utc>) -> Result<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        return Err(Error::request(format!("`{}` is not a valid name for a token", name.escape_default()))
            .hint("A name is 1 to 64 letters, digits, dots, hyphens and underscores."));
    }
    let _quiet = vault.quiet()?;
    let mut tokens = list(vault)?;
    if tokens.iter().any(|token| token.name == name) {
        return Err(Error::request(format!("token `{name}` already exists")).hint(format!(
            "Choose another name, or revoke it first: `lifeboat serve token revoke {name}`."
        )));
    }
    let secret: [u8; 32] = rand::random();
    let token = format!("{PREFIX}{}", hex::encode(secret));
    let mut scopes = scopes.to_vec();
    scopes.sort_unstable();
    scopes.dedup();
    tokens.push(Token { name: name.to_owned(), sha256: digest(&token), scopes, created_at: now });
    write(vault, tokens)?;
    Ok(token)
}

/// Ends a token.
pub(crate) fn revoke(vault: &Vault, name: &str) -> Result<Token> {
    let _quiet = vault.quiet()?;
    let mut tokens = list(vault)?;
    let Some(position) = tokens.iter().position(|token| token.name == name) else {
        return Err(Error::request(format!("token `{}` does not exist", name.escape_default()))
            .hint("`lifeboat serve token list` lists the tokens."));
    };
    let revoked = tokens.remove(position);
    write(vault, tokens)?;
    Ok(revoked)
}

/// Whose token it is.
fn holder(vault: &Vault, presented: &str) -> Result<Option<Token>> {
    Ok(find_holder(list(vault)?, presented))
}

fn find_holder(tokens: Vec<Token>, presented: &str) -> Option<Token> {
    let digest = digest(presented);
    // Whole digests are compared, so that timing reveals nothing about a token.
    let is_same = |token: &Token| {
        let pairs = token.sha256.bytes().zip(digest.bytes());
        token.sha256.len() == digest.len() && pairs.fold(0, |seen, (left, right)| seen | (left ^ right)) == 0
    };
    tokens.into_iter().find(is_same)
}

/// Recently read tokens, used only to refuse: on an object store every read is billed, and callers without a
/// token could cause any number of them. Only tokens in the current file are admitted.
#[derive(Debug, Default)]
pub(super) struct KnownTokens(parking_lot::Mutex<Option<(std::time::Instant, Vec<Token>)>>);

/// How long a token that was just added may be refused, if somebody was refused just before.
const STALE: std::time::Duration = std::time::Duration::from_secs(2);

impl KnownTokens {
    /// Whose token it is.
    pub(super) fn holder(&self, vault: &Vault, presented: &str) -> Result<Option<Token>> {
        // Text that cannot be a token is not looked up.
        let is_token = |rest: &str| rest.len() < 200 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !presented.strip_prefix(PREFIX).is_some_and(is_token) {
            return Ok(None);
        }
        if vault.directory().is_some() {
            return holder(vault, presented);
        }
        let seen = || self.0.lock();
        let is_listed =
            seen().as_ref().is_some_and(|(_, tokens)| find_holder(tokens.clone(), presented).is_some());
        if is_listed {
            let tokens = list(vault)?;
            *seen() = Some((std::time::Instant::now(), tokens.clone()));
            return Ok(find_holder(tokens, presented));
        }
        // One read at a time: concurrent callers use what was just read.
        let mut seen = seen();
        if let Some((_, tokens)) = seen.as_ref().filter(|(at, _)| at.elapsed() < STALE) {
            return Ok(find_holder(tokens.clone(), presented));
        }
        let tokens = list(vault)?;
        *seen = Some((std::time::Instant::now(), tokens.clone()));
        Ok(find_holder(tokens, presented))
    }
}

fn write(vault: &Vault, tokens: Vec<Token>) -> Result<()> {
    let text = serde_json::to_vec_pretty(&File { schema: SCHEMA.to_owned(), tokens })
        .map_err(|error| Error::new(Kind::Bug, "tokens cannot be written").caused_by(error))?;
    vault.write(FILE, &text)
}

fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_until_it_is_revoked_and_kept_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(directory.path().to_str().unwrap(), &crate::aws::Access::default()).unwrap();
        let token = add(&vault, "deploy", &[Scope::Create, Scope::Read], DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(token.len(), PREFIX.len() + 64);
        let known = holder(&vault, &token).unwrap().unwrap();
        assert_eq!((known.name.as_str(), known.scopes), ("deploy", vec![Scope::Read, Scope::Create]));
        let kept = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(!kept.contains(&token) && !kept.contains(&token[PREFIX.len()..]));
        assert!(add(&vault, "deploy", &[], DateTime::UNIX_EPOCH).is_err());
        assert!(holder(&vault, "lifeboat_").unwrap().is_none());
        revoke(&vault, "deploy").unwrap();
        assert!(holder(&vault, &token).unwrap().is_none());
        std::fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(holder(&vault, &token).is_err(), "a damaged file must not admit anybody");
    }
}
