//! Whether the evidence in a vault is as it was written: each file against the chain of its source.
//!
//! Only reads, and takes no lock, so that an auditor who may only read can run it. It finds what was altered, removed,
//! swapped, truncated or inserted after it was chained. It cannot detect that a whole chain was rewritten with its head:
//! for that, it compares a head that was kept elsewhere.

mod finding;
mod follow_chain;

use std::collections::BTreeSet;

pub(crate) use finding::{Checked, Fault, Finding, Verdict};
use follow_chain::verify_source_once;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::chain::{self, Link, link_name, newest_hashes, source_folder};
use super::evidence::ChainPosition;
use crate::error::{Error, Result};
use crate::vault::Vault;
use crate::vault::chain::{Head, sha256};

/// Name and version of the document.
pub(crate) const SCHEMA: &str = "lifeboat.evidence-check/1";

/// What this does not prove.
pub(crate) const LIMITS: &str = "Tamper-evident, not tamper-proof: whoever may write to this vault can rewrite a whole chain with its \
                          head, which only a head kept elsewhere reveals (`--expect-head`, `--expect-heads`). It does not prove that the records were true when they were written.";

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// `lifeboat.evidence-check/1`.
    pub schema: &'static str,
    /// When it was checked.
    pub at: DateTime<Utc>,
    pub vault: String,
    /// The worst of the sources.
    pub verdict: Verdict,
    /// Each of them.
    pub sources: Vec<Checked>,
    /// What this does not prove.
    pub limits: &'static str,
}

impl Report {
    pub(crate) fn of_sources(sources: Vec<Checked>, vault: &Vault, now: DateTime<Utc>) -> Self {
        let verdict = sources.iter().map(|source| source.verdict).max().unwrap_or(Verdict::Intact);
        Report { schema: SCHEMA, at: now, vault: vault.shown(""), verdict, sources, limits: LIMITS }
    }
}

/// A head that was kept elsewhere; without a source where only one is checked.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub source: Option<String>,
    /// The hash.
    pub sha256: String,
}

/// Reads heads from an earlier report of this check.
pub(crate) fn read_expected_heads(report: &[u8]) -> Result<Vec<Expected>> {
    #[derive(Deserialize)]
    struct Kept {
        source: String,
        head: Option<Head>,
    }
    #[derive(Deserialize)]
    struct Earlier {
        schema: String,
        sources: Vec<Kept>,
    }
    let wrong = || {
        Error::request("this is not a report of `drill verify-evidence`")
            .hint("Keep the output of `lifeboat drill verify-evidence --json`, and pass that file.")
    };
    let earlier: Earlier = serde_json::from_slice(report).map_err(|error| wrong().caused_by(error))?;
    if earlier.schema != SCHEMA {
        return Err(wrong());
    }
    let kept = earlier.sources.into_iter().filter_map(|kept| {
        Some(Expected { source: Some(kept.source), sha256: kept.head.filter(|head| head.seq > 0)?.sha256 })
    });
    Ok(kept.collect())
}

/// Looks at some sources, or at all.
pub(crate) fn verify_evidence(
    vault: &Vault,
    only: &[String],
    expected: &[Expected],
    now: DateTime<Utc>,
) -> Result<Report> {
    let known = vault.list("drills")?.folders;
    let mut sources: BTreeSet<String> = only.iter().cloned().collect();
    if only.is_empty() {
        sources.extend(known.iter().cloned());
        sources.extend(expected.iter().filter_map(|head| head.source.clone()));
    }
    if expected.iter().any(|head| head.source.is_none()) && sources.len() != 1 {
        return Err(Error::request("the expected head names no source")
            .hint("Name one source, or write `--expect-head SOURCE=HASH`."));
    }
    let heads_of = |source: &str| -> Vec<&str> {
        let heads = expected.iter().filter(|head| head.source.as_deref().is_none_or(|of| of == source));
        heads.map(|head| head.sha256.as_str()).collect()
    };
    if let Some(source) = only.iter().find(|source| !known.contains(source) && heads_of(source).is_empty()) {
        return Err(Error::request(format!(
            "no drill of `{}` is recorded in this vault",
            source.escape_default()
        ))
        .hint("`lifeboat drill list` lists the drills; `--vault` names another vault."));
    }
    let checked = sources.iter().map(|source| verify_source(vault, source, &heads_of(source)));
    Ok(Report::of_sources(checked.collect::<Result<_>>()?, vault, now))
}

/// Checks one source, and again if it was written to in between.
pub(crate) fn verify_source(vault: &Vault, source: &str, expected: &[&str]) -> Result<Checked> {
    for _ in 0..20 {
        let before = read_change_mark(vault, source);
        let checked = verify_source_once(vault, source, expected)?;
        if checked.findings.is_empty() || read_change_mark(vault, source) == before {
            return Ok(checked);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    verify_source_once(vault, source, expected)
}

/// Whether the record of a run can be relied on, by as little reading as that takes: the link that it says it stands in, and
/// those after it.
pub(crate) fn is_record_sound(vault: &Vault, source: &str, run: &str) -> Result<bool> {
    if is_sound_by_links(vault, source, run)? {
        return Ok(true);
    }
    // From before there was a chain, or just being written, or altered.
    Ok(verify_source(vault, source, &[])?.is_sound(run))
}

fn is_sound_by_links(vault: &Vault, source: &str, run: &str) -> Result<bool> {
    #[derive(Deserialize)]
    struct Placed {
        chain: Option<ChainPosition>,
    }
    let name = format!("{run}/evidence.json");
    let Some(evidence) = vault.read(&format!("{}/{name}", source_folder(source)))? else { return Ok(false) };
    let Ok(placed) = serde_json::from_slice::<Placed>(&evidence) else { return Ok(false) };
    let Some(place) = placed.chain.filter(|place| place.seq > 0) else { return Ok(false) };
    let Some(links) = read_last_links(vault, source, place.seq)? else { return Ok(false) };
    Ok(newest_hashes(&links).get(&name).is_some_and(|(_, hash)| *hash == sha256(&evidence)))
}

/// The links from one on to the last, if each is what the next one or the head names.
fn read_last_links(vault: &Vault, source: &str, from: u64) -> Result<Option<Vec<Link>>> {
    let path = |name: &str| format!("{}/{name}", source_folder(source));
    let Some(head) = vault.read(&path("head.json"))? else { return Ok(None) };
    let Ok(head) = Head::parse(&head) else { return Ok(None) };
    let names: Vec<String> = (from.max(1)..=head.seq).map(|seq| path(&link_name(seq))).collect();
    let mut expected = head.sha256.clone();
    let mut links = Vec::new();
    for text in vault.read_all(&names)?.into_iter().rev() {
        let Ok(Some(text)) = text else { return Ok(None) };
        let Ok(link) = serde_json::from_slice::<Link>(&text) else { return Ok(None) };
        if sha256(&text) != expected || link.source != source {
            return Ok(None);
        }
        expected.clone_from(&link.previous);
        links.push(link);
    }
    links.reverse();
    Ok(Some(links))
}

/// Links at the end of a chain among which the last stamp is looked for first.
const RECENT: u64 = 12;

/// Whether the stamp of the last drill is the one that was recorded last. Without a chain there is nothing to hold it against.
pub(super) fn is_last_stamp_sound(vault: &Vault, source: &str) -> Result<bool> {
    const STAMP: &str = "last-run.json";
    let path = |name: &str| format!("{}/{name}", source_folder(source));
    let Some(stamp) = vault.read(&path(STAMP))? else { return Ok(false) };
    let last = chain::list_link_numbers(vault, source)?.into_iter().next_back().unwrap_or(0);
    if last == 0 && vault.read(&path("head.json"))?.is_none() {
        return Ok(true);
    }
    for from in [last.saturating_sub(RECENT), 1] {
        let Some(links) = read_last_links(vault, source, from)? else { break };
        if let Some((_, hash)) = newest_hashes(&links).get(STAMP) {
            if *hash == sha256(&stamp) {
                return Ok(true);
            }
            break;
        }
    }
    // It may just be being written.
    Ok(verify_source(vault, source, &[])?.findings.iter().all(|finding| finding.name != STAMP))
}

/// What changes whenever something is recorded.
fn read_change_mark(vault: &Vault, source: &str) -> (Vec<u8>, Option<u64>) {
    let head = vault.read(&format!("{}/head.json", source_folder(source))).ok().flatten().unwrap_or_default();
    let last =
        chain::list_link_numbers(vault, source).ok().and_then(|numbers| numbers.into_iter().next_back());
    (head, last)
}
