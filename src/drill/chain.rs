//! The chain of a source: `drills/<source>/chain/000001.json` and so on, one link for everything that was recorded, and
//! `drills/<source>/head.json`, which names the last.
//!
//! A link holds the SHA-256 of each file that it records and of the link before. It is written first, then the files,
//! then the head: a process that dies on the way leaves a link that the head does not name yet, and files that are
//! either as they were or as that link has them. Whoever writes next finishes that, with a link that says how each was
//! found. Nothing is ever taken out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::evidence::{ChainPosition, PreviousEvidence, to_json};
use crate::error::{Error, Kind, Result};
use crate::rds::RunId;
use crate::vault::Vault;
use crate::vault::chain::{Head, sha256};

/// Name and version of a link.
pub(crate) const SCHEMA: &str = "lifeboat.chain/1";

/// Links at the end that are read to add another.
const RECENT_LINKS: u64 = 32;

/// What stands for the hash of a file that is not there.
pub(super) const ABSENT: &str = "absent";

/// What a link records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// Evidence from before there was a chain, as it was found.
    Adopted,
    /// A drill began.
    Begun,
    /// A drill was over.
    Ended,
    /// Somebody wrote a note.
    Noted,
    /// A process had died while it wrote; its files as they were found.
    Mended,
}

/// A link of the chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// `lifeboat.chain/1`.
    pub schema: String,
    /// Its number, from 1.
    pub seq: u64,
    /// Hash of the link before.
    pub previous: String,
    /// When it was added.
    pub at: DateTime<Utc>,
    /// Whose chain it is.
    pub source: String,
    /// The run that it is about, if it is about one.
    pub run: Option<String>,
    /// What it records.
    pub what: What,
    /// Hashes of files, by their names below the folder of the source.
    pub files: BTreeMap<String, String>,
    /// What was wrong with the chain when this was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// Files that are to be recorded, by their names below the folder of the source.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// The folder of a source.
pub(super) fn source_folder(source: &str) -> String {
    format!("drills/{source}")
}

/// The name of a link below the folder of its source.
pub(super) fn link_name(seq: u64) -> String {
    format!("chain/{seq:06}.json")
}

/// The number of a link, from its name in the folder `chain`.
pub(super) fn link_number(name: &str) -> Option<u64> {
    let seq: u64 = name.strip_suffix(".json")?.parse().ok()?;
    (link_name(seq) == format!("chain/{name}")).then_some(seq)
}

/// The run that a file below the folder of a source belongs to.
pub(super) fn run_of_file(name: &str) -> Option<&str> {
    name.split_once('/').map(|(run, _)| run).filter(|run| RunId::parse(run).is_some())
}

/// What is recorded of a run.
pub(super) struct Entry<'a> {
    pub(super) run: &'a str,
    pub(super) what: What,
    pub(super) at: DateTime<Utc>,
}

/// Records something: writes what `compose` makes for its place, so that the chain names it.
pub(super) fn append_to_chain(
    vault: &Vault,
    source: &str,
    entry: Entry<'_>,
    compose: impl FnOnce(&ChainPosition) -> Result<Files>,
) -> Result<()> {
    let mut chain = Chain::lock(vault, source)?;
    chain.find_end(entry.at)?;
    let place = chain.next_position()?;
    let files = compose(&place)?;
    let hashes = files.iter().map(|(name, content)| (name.clone(), sha256(content))).collect();
    let (link, text) = chain.write_link(Some(entry.run), entry.what, hashes, entry.at)?;
    for (name, content) in &files {
        vault.write(&format!("{}/{name}", source_folder(source)), content)?;
    }
    chain.confirm_link(link, &text)
}

/// The chain of a source while this process alone adds to it.
struct Chain<'a> {
    vault: &'a Vault,
    source: &'a str,
    head: Head,
    links: Vec<Link>,
    notice: Option<String>,
    lock: crate::vault::Lock,
}

impl<'a> Chain<'a> {
    fn lock(vault: &'a Vault, source: &'a str) -> Result<Self> {
        let lock = vault.lock(&format!("{}/chain.lock", source_folder(source)))?;
        Ok(Chain { vault, source, head: Head::before_the_first(), links: Vec::new(), notice: None, lock })
    }

    fn vault_path(&self, name: &str) -> String {
        format!("{}/{name}", source_folder(self.source))
    }

    /// Finds the end of the chain, and finishes what a process that died has left.
    fn find_end(&mut self, now: DateTime<Utc>) -> Result<()> {
        let mut found = list_link_numbers(self.vault, self.source)?;
        let head = self.vault.read(&self.vault_path("head.json"))?;
        let last = found.iter().next_back().copied().unwrap_or(0);
        match head.as_deref().map(Head::parse) {
            Some(Ok(head)) => self.head = head,
            None if last <= 1 => {}
            // The chain continues from what is there, and records that permanently.
            None | Some(Err(_)) => {
                self.notice = Some("its head was missing or invalid when this was added".to_owned());
                let text = self.vault.read(&self.vault_path(&link_name(last)))?.unwrap_or_default();
                self.head = Head { seq: last, sha256: sha256(&text) };
            }
        }
        self.links = self.read_links(self.head.seq.saturating_sub(RECENT_LINKS) + 1)?;
        if self.head.seq == 0 && last == 0 {
            self.adopt_unchained_evidence(now)?;
            return Ok(());
        }
        let next = self.head.seq + 1;
        if found.remove(&next) {
            self.finish_interrupted_write(next, now)?;
        }
        if found.into_iter().any(|seq| seq > self.head.seq) {
            self.notice = Some("links followed its head when this was added".to_owned());
        }
        Ok(())
    }

    /// The links that are known, as far as they can be read; what is wrong with them is not for the one who writes.
    fn read_links(&self, from: u64) -> Result<Vec<Link>> {
        let names: Vec<String> = (from..=self.head.seq).map(|seq| self.vault_path(&link_name(seq))).collect();
        let texts = self.vault.read_all(&names)?.into_iter().filter_map(|text| text.ok().flatten());
        Ok(texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect())
    }

    /// Puts the evidence from before there was a chain under its protection.
    fn adopt_unchained_evidence(&mut self, now: DateTime<Utc>) -> Result<()> {
        let mut names = Vec::new();
        for run in self.vault.list(&source_folder(self.source))?.folders {
            let listing = self.vault.list(&self.vault_path(&run))?;
            let evidence = ["evidence.json", "evidence.html"].into_iter().filter(|name| listing.has(name));
            names.extend(evidence.map(|name| format!("{run}/{name}")));
        }
        if names.is_empty() {
            return Ok(());
        }
        let hashes = self.hash_files(&names)?;
        let (link, text) = self.write_link(None, What::Adopted, hashes, now)?;
        self.confirm_link(link, &text)
    }

    fn hash_files(&self, names: &[String]) -> Result<BTreeMap<String, String>> {
        let paths: Vec<String> = names.iter().map(|name| self.vault_path(name)).collect();
        let contents = self.vault.read_all(&paths)?;
        let hash = |content: Result<Option<Vec<u8>>>| {
            Ok::<_, Error>(content?.map_or(ABSENT.to_owned(), |content| sha256(&content)))
        };
        names.iter().zip(contents).map(|(name, content)| Ok((name.clone(), hash(content)?))).collect()
    }

    /// A link stands behind the head: its process died, or something else put it there.
    fn finish_interrupted_write(&mut self, seq: u64, now: DateTime<Utc>) -> Result<()> {
        let text = self.vault.read(&self.vault_path(&link_name(seq)))?.unwrap_or_default();
        let link = serde_json::from_slice::<Link>(&text).ok().filter(|link| {
            link.seq == seq && link.previous == self.head.sha256 && link.source == self.source
        });
        let Some(link) = link else {
            self.notice = Some(format!("link {seq}, after its head, did not continue the chain"));
            return Ok(());
        };
        let names: Vec<String> = link.files.keys().cloned().collect();
        let found = self.hash_files(&names)?;
        let earlier = newest_hashes(&self.read_links(1)?);
        let is_explained = found.iter().all(|(name, hash)| {
            let before = earlier.get(name).map_or(ABSENT, |(_, hash)| hash);
            link.files.get(name) == Some(hash) || before == hash
        });
        if found == link.files {
            return self.confirm_link(link, &text);
        }
        // The head must not name this link before the next one says how its files were found: both at once.
        let run = link.run.clone();
        self.head = self.head.after(&text);
        self.links.push(link);
        if !is_explained {
            self.notice =
                Some(format!("the files of link {seq} matched neither that link nor the one before it"));
        }
        let (mended, text) = self.write_link(run.as_deref(), What::Mended, found, now)?;
        self.confirm_link(mended, &text)
    }

    /// Where the next record will stand.
    fn next_position(&self) -> Result<ChainPosition> {
        let mut previous_evidence = last_evidence(&self.links);
        if previous_evidence.is_none() && self.head.seq > RECENT_LINKS {
            previous_evidence = last_evidence(&self.read_links(1)?);
        }
        Ok(ChainPosition { seq: self.head.seq + 1, previous: self.head.sha256.clone(), previous_evidence })
    }

    /// Writes the next link.
    fn write_link(
        &mut self,
        run: Option<&str>,
        what: What,
        files: BTreeMap<String, String>,
        now: DateTime<Utc>,
    ) -> Result<(Link, Vec<u8>)> {
        let link = Link {
            schema: SCHEMA.to_owned(),
            seq: self.head.seq + 1,
            previous: self.head.sha256.clone(),
            at: now,
            source: self.source.to_owned(),
            run: run.map(str::to_owned),
            what,
            files,
            notice: self.notice.take(),
        };
        let text = to_json(&link)?;
        // A process that was stopped for long may have lost its turn.
        self.lock.require_held()?;
        self.vault.write(&self.vault_path(&link_name(link.seq)), &text)?;
        Ok((link, text))
    }

    /// Makes a link the last one.
    fn confirm_link(&mut self, link: Link, text: &[u8]) -> Result<()> {
        let head = self.head.after(text);
        if head.seq != link.seq {
            return Err(Error::new(Kind::Bug, "a link was confirmed out of turn"));
        }
        self.lock.require_held()?;
        self.vault.write(&self.vault_path("head.json"), &head.to_json()?)?;
        self.head = head;
        self.links.push(link);
        Ok(())
    }
}

fn last_evidence(links: &[Link]) -> Option<PreviousEvidence> {
    links.iter().rev().filter(|link| link.what == What::Ended).find_map(|link| {
        let run = link.run.clone()?;
        let sha256 = link.files.get(&format!("{run}/evidence.json"))?.clone();
        Some(PreviousEvidence { run, sha256 })
    })
}

/// The numbers of the links that are there.
pub(super) fn list_link_numbers(vault: &Vault, source: &str) -> Result<std::collections::BTreeSet<u64>> {
    let listing = vault.list(&format!("{}/chain", source_folder(source)))?;
    Ok(listing.files.iter().filter_map(|file| link_number(&file.name)).collect())
}

/// For each file that links name: the newest of them, and the hash that it has there.
pub(super) fn newest_hashes(links: &[Link]) -> BTreeMap<String, (u64, String)> {
    let mut recorded = BTreeMap::new();
    for link in links {
        for (name, hash) in &link.files {
            recorded.insert(name.clone(), (link.seq, hash.clone()));
        }
    }
    recorded
}
