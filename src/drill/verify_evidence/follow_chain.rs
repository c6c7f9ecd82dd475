//! The evidence of one source, checked with its chain.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Checked, Fault, Finding, Since, Verdict};
use crate::drill::chain::{
    self, ABSENT, Link, What, link_name, link_number, newest_hashes, run_of_file, source_folder,
};
use crate::error::Result;
use crate::vault::Vault;
use crate::vault::chain::{Head, sha256};

/// One source while it is checked.
struct SourceCheck<'a> {
    vault: &'a Vault,
    source: &'a str,
    findings: BTreeSet<Finding>,
}

/// The links that the head leads to.
#[derive(Default)]
struct Followed {
    head: Option<Head>,
    links: Vec<Link>,
    hashes: Vec<String>,
    pending: Option<Link>,
    /// Numbers of links that are not what the next one names.
    doubtful: BTreeSet<u64>,
    is_there: bool,
}

pub(super) fn verify_source_once(vault: &Vault, source: &str, expected: &[&str]) -> Result<Checked> {
    let mut look = SourceCheck { vault, source, findings: BTreeSet::new() };
    let chain = look.follow_chain()?;
    let found = look.hash_contents()?;
    look.compare_hashes(&chain, &found);
    let unchained = look.find_unchained(&chain, &found);
    let since_expected = look.find_expected_heads(&chain, expected);
    let runs: BTreeSet<&str> = found.keys().filter_map(|name| run_of_file(name)).collect();
    let findings: Vec<Finding> = look.findings.into_iter().collect();
    let is_unreadable = |finding: &&Finding| finding.fault == Fault::Unreadable;
    let verdict = match (findings.len(), findings.iter().filter(is_unreadable).count()) {
        (0, _) if !unchained.is_empty() || (!chain.is_there && !runs.is_empty()) => Verdict::Unchained,
        (0, _) => Verdict::Intact,
        (all, unreadable) if all == unreadable => Verdict::Unknown,
        _ => Verdict::Altered,
    };
    let adopted = chain.links.iter().find(|link| link.what == What::Adopted);
    Ok(Checked {
        source: source.to_owned(),
        verdict,
        links: chain.links.len() as u64,
        drills: runs.iter().filter(|run| found.contains_key(&format!("{run}/evidence.json"))).count(),
        notes: found.keys().filter(|name| is_note(name)).count(),
        unchained,
        adopted_at: adopted.map(|link| link.at),
        unfinished: chain.pending.as_ref().map(|link| {
            format!(
                "the head does not name link {} yet: a process ended while writing it, or is writing it now",
                link.seq
            )
        }),
        since_expected,
        findings,
        head: chain.head,
    })
}

fn is_note(name: &str) -> bool {
    run_of_file(name).is_some() && name.rsplit('/').next().is_some_and(|file| file.starts_with("note-"))
}

/// The content of a file as a hash, or why it could not be read.
type Hash = std::result::Result<String, String>;

impl SourceCheck<'_> {
    fn vault_path(&self, name: &str) -> String {
        format!("{}/{name}", source_folder(self.source))
    }

    fn add_finding(&mut self, fault: Fault, name: &str, message: impl Into<String>) {
        let file = self.vault.shown(&self.vault_path(name));
        self.findings.insert(Finding { fault, file, message: message.into(), name: name.to_owned() });
    }

    /// Reads the chain from its head back, and says what does not fit.
    fn follow_chain(&mut self) -> Result<Followed> {
        let numbers = chain::list_link_numbers(self.vault, self.source)?;
        let last = numbers.iter().next_back().copied().unwrap_or(0);
        let mut followed = Followed { is_there: last > 0, ..Followed::default() };
        match self.vault.read(&self.vault_path("head.json")) {
            Ok(Some(text)) => match Head::parse(&text) {
                Ok(head) => {
                    followed.is_there = true;
                    followed.head = Some(head);
                }
                Err(_) => {
                    self.add_finding(Fault::Altered, "head.json", "it is no longer the head of a chain")
                }
            },
            // A process that died with the very first link leaves that alone.
            Ok(None) if last <= 1 => followed.head = (last == 1).then(Head::before_the_first),
            Ok(None) => self.add_finding(Fault::Removed, "head.json", "the chain has links but no head"),
            Err(error) => self.add_finding(Fault::Unreadable, "head.json", error.chain()),
        }
        let end = followed.head.as_ref().map_or(last, |head| head.seq);
        let names: Vec<String> = (1..=end.max(last)).map(|seq| self.vault_path(&link_name(seq))).collect();
        let texts = self.vault.read_all(&names)?;
        let mut named = followed.head.as_ref().map(|head| head.sha256.clone());
        let (mut links, mut hashes) = (Vec::new(), Vec::new());
        for seq in (1..=end).rev() {
            let (link, hash) = self.read_link(seq, &texts, named.as_deref());
            if hash.is_some() && named.is_some() && hash != named {
                followed.doubtful.insert(seq);
            }
            named = link.as_ref().map(|link| link.previous.clone());
            links.extend(link);
            hashes.extend(hash);
        }
        if named.is_some_and(|named| named != Head::before_the_first().sha256) && end > 0 {
            self.add_finding(Fault::Altered, &link_name(1), "the first link names one before it");
        }
        links.reverse();
        hashes.reverse();
        (followed.links, followed.hashes) = (links, hashes);
        self.check_beyond_head(&mut followed, end, last, &texts);
        Ok(followed)
    }

    /// A link, its hash compared with what the next one or the head records.
    fn read_link(
        &mut self,
        seq: u64,
        texts: &[Result<Option<Vec<u8>>>],
        named: Option<&str>,
    ) -> (Option<Link>, Option<String>) {
        let name = link_name(seq);
        let text = match texts.get(seq as usize - 1) {
            Some(Ok(Some(text))) => text,
            Some(Err(error)) => {
                let why = error.chain();
                self.add_finding(Fault::Unreadable, &name, why);
                return (None, None);
            }
            Some(Ok(None)) | None => {
                self.add_finding(Fault::Removed, &name, format!("link {seq} is missing"));
                return (None, None);
            }
        };
        let hash = sha256(text);
        let link = match serde_json::from_slice::<Link>(text) {
            Ok(link) if link.seq == seq && link.source == self.source => Some(link),
            Ok(link) => {
                let whose = format!("it is link {} of `{}`", link.seq, link.source);
                self.add_finding(Fault::Swapped, &name, whose);
                None
            }
            Err(error) => {
                self.add_finding(Fault::Altered, &name, format!("it is no longer a link: {error}"));
                None
            }
        };
        if link.is_some() && named.is_some_and(|named| named != hash) {
            let next = if seq < texts.len() as u64 { "the one after it" } else { "the head" };
            self.add_finding(
                Fault::Altered,
                &name,
                format!("its SHA-256 is {hash}, which is not what {next} names"),
            );
        }
        if let Some(notice) = link.as_ref().and_then(|link| link.notice.clone()) {
            self.add_finding(Fault::Noticed, &name, notice);
        }
        (link, Some(hash))
    }

    /// Links after the head: one is allowed, if it continues the chain, and then the one that repairs it.
    fn check_beyond_head(
        &mut self,
        followed: &mut Followed,
        end: u64,
        last: u64,
        texts: &[Result<Option<Vec<u8>>>],
    ) {
        let mut before = followed.head.as_ref().map(|head| head.sha256.clone());
        for seq in end + 1..=last {
            let Some(text) = texts.get(seq as usize - 1) else { continue };
            let text = match text {
                Ok(Some(text)) => text,
                Ok(None) => continue,
                Err(error) => {
                    let why = error.chain();
                    self.add_finding(Fault::Unreadable, &link_name(seq), why);
                    continue;
                }
            };
            let link = serde_json::from_slice::<Link>(text).ok();
            let follows = link.filter(|link| {
                let is_in_turn = seq == end + 1 || (seq == end + 2 && link.what == What::Mended);
                is_in_turn
                    && link.seq == seq
                    && link.source == self.source
                    && before.as_ref() == Some(&link.previous)
            });
            before = follows.as_ref().map(|_| sha256(text));
            match follows {
                // The link that repairs it names files as they are, and explains why.
                Some(link) => followed.pending = followed.pending.take().or(Some(link)),
                None => self.add_finding(
                    Fault::Inserted,
                    &link_name(seq),
                    "it comes after the head but does not continue it",
                ),
            }
        }
        let strange: Vec<String> = match self.vault.list(&self.vault_path("chain")) {
            Ok(listing) => {
                let files = listing.files.into_iter().map(|file| file.name);
                files
                    .filter(|name| link_number(name).is_none() && !is_transient_file(name))
                    .chain(listing.folders)
                    .collect()
            }
            Err(_) => Vec::new(),
        };
        for name in strange {
            self.add_finding(Fault::Inserted, &format!("chain/{name}"), "it is not a link of the chain");
        }
    }

    /// Every file of the source but the chain itself, with its hash.
    fn hash_contents(&mut self) -> Result<BTreeMap<String, Hash>> {
        let root = self.vault.list(&source_folder(self.source))?;
        let mut names: Vec<String> = root.files.into_iter().map(|file| file.name).collect();
        for inner in root.folders.into_iter().filter(|name| name != "chain") {
            let listing = self.vault.list(&self.vault_path(&inner))?;
            if crate::rds::RunId::parse(&inner).is_none() {
                self.add_finding(Fault::Inserted, &inner, "no run has a name like this");
            }
            for deeper in listing.folders {
                // A folder where a file is looked for cannot be read as one; that is found there.
                if !["evidence.json", "evidence.html"].contains(&deeper.as_str()) {
                    self.add_finding(Fault::Inserted, &format!("{inner}/{deeper}"), "no link names it");
                }
            }
            names.extend(listing.files.into_iter().map(|file| format!("{inner}/{}", file.name)));
        }
        names.retain(|name| {
            name != "head.json" && !is_transient_file(name.rsplit('/').next().unwrap_or(name))
        });
        let paths: Vec<String> = names.iter().map(|name| self.vault_path(name)).collect();
        let mut found = BTreeMap::new();
        for (name, content) in names.into_iter().zip(self.vault.read_all(&paths)?) {
            match content {
                Ok(Some(content)) => drop(found.insert(name, Ok(sha256(&content)))),
                Ok(None) => {}
                Err(error) => drop(found.insert(name, Err(error.chain()))),
            }
        }
        Ok(found)
    }

    /// Holds each file against the newest link that names it.
    fn compare_hashes(&mut self, chain: &Followed, found: &BTreeMap<String, Hash>) {
        let recorded = newest_hashes(&chain.links);
        let of_hash: BTreeMap<&str, &str> =
            recorded.iter().map(|(name, (_, hash))| (hash.as_str(), name.as_str())).collect();
        for (name, (seq, hash)) in &recorded {
            let pending = chain.pending.as_ref().and_then(|link| link.files.get(name));
            let observed = match found.get(name) {
                Some(Ok(observed)) => observed.as_str(),
                Some(Err(why)) => {
                    self.add_finding(Fault::Unreadable, name, why.clone());
                    continue;
                }
                // It may be there and no file.
                None => match self.vault.read(&self.vault_path(name)) {
                    Err(error) => {
                        self.add_finding(Fault::Unreadable, name, error.chain());
                        continue;
                    }
                    Ok(_) => ABSENT,
                },
            };
            if observed == hash || pending.is_some_and(|pending| pending == observed) {
                continue;
            }
            if observed == ABSENT {
                self.add_finding(Fault::Removed, name, format!("link {seq} names it, but it is missing"));
                continue;
            }
            match of_hash.get(observed) {
                Some(other) => {
                    self.add_finding(Fault::Swapped, name, format!("its content belongs to `{other}`"))
                }
                None if chain.doubtful.contains(seq) => {
                    let why = format!("it is not what link {seq} names, and that link was altered itself");
                    self.add_finding(Fault::Altered, name, why);
                }
                None => {
                    let why = format!("its SHA-256 is {observed}; link {seq} names {hash}");
                    self.add_finding(Fault::Altered, name, why);
                }
            }
        }
        if let Some(link) = &chain.pending {
            for (name, hash) in link.files.iter().filter(|(name, _)| !recorded.contains_key(*name)) {
                if let Some(Ok(observed)) = found.get(name)
                    && observed != hash
                {
                    self.add_finding(Fault::Altered, name, format!("it is not what link {} names", link.seq));
                }
            }
        }
    }

    /// Runs that no link names: from before the chain, or put in.
    fn find_unchained(&mut self, chain: &Followed, found: &BTreeMap<String, Hash>) -> Vec<String> {
        let recorded = newest_hashes(&chain.links);
        let pending = |name: &str| chain.pending.as_ref().is_some_and(|link| link.files.contains_key(name));
        let of_hash: BTreeMap<&str, &str> =
            recorded.iter().map(|(name, (_, hash))| (hash.as_str(), name.as_str())).collect();
        let unnamed = found.iter().filter(|(name, _)| !recorded.contains_key(*name) && !pending(name));
        let mut unchained = BTreeSet::new();
        for (name, hash) in unnamed {
            if !chain.is_there && !self.claims_a_place(name) {
                unchained.extend(run_of_file(name).map(str::to_owned));
                continue;
            }
            let why = match hash.as_ref().ok().and_then(|hash| of_hash.get(hash.as_str())) {
                Some(other) => format!("no link names it; its content belongs to `{other}`"),
                None if chain.is_there => "no link names it".to_owned(),
                None => "it claims to be in a chain, but there is none".to_owned(),
            };
            self.add_finding(Fault::Inserted, name, why);
        }
        for link in chain.links.iter().filter(|link| link.what == What::Adopted) {
            unchained.extend(link.files.keys().filter_map(|name| run_of_file(name)).map(str::to_owned));
        }
        unchained.into_iter().collect()
    }

    /// Whether a record without a chain says that it was made with one.
    fn claims_a_place(&self, name: &str) -> bool {
        let text = self.vault.read(&self.vault_path(name)).ok().flatten().unwrap_or_default();
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        !document["chain"].is_null()
    }

    /// Looks for heads that were kept elsewhere.
    fn find_expected_heads(&mut self, chain: &Followed, expected: &[&str]) -> Option<Since> {
        let mut since = None;
        for head in expected {
            match chain.hashes.iter().position(|hash| hash == head) {
                Some(place) => {
                    let links_since = (chain.hashes.len() - place - 1) as u64;
                    since = Some(Since { sha256: (*head).to_owned(), links_since });
                }
                None => {
                    let why =
                        format!("no link has the expected hash {head}: links were rewritten or removed");
                    self.add_finding(Fault::Rewritten, "chain", why);
                }
            }
        }
        since
    }
}

/// Files that come and go: locks, and what is being written.
fn is_transient_file(name: &str) -> bool {
    name == "lock" || name.ends_with(".lock") || (name.starts_with('.') && name.ends_with(".tmp"))
}
