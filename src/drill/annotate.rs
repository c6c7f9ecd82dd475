//! What people add to the record of a drill: what was done about it, and who signed it off. A note is stored beside the
//! evidence, has a link of its own in the chain, and is never changed.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::chain::{self, What};
use super::evidence::{ChainPosition, to_json};
use super::journal;
use crate::error::{Error, Result};
use crate::vault::Vault;

/// Name and version of the document.
pub(crate) const SCHEMA: &str = "lifeboat.note/1";

/// The longest text of a note: more belongs in the ticket.
const LONGEST: usize = 10_000;

/// A note to be added.
#[derive(Clone, Debug)]
pub(crate) struct NewNote {
    /// The text.
    pub note: String,
    /// Where the work is tracked.
    pub ticket: Option<String>,
    /// Who is responsible for what follows.
    pub owner: Option<String>,
    pub due: Option<NaiveDate>,
    /// Who has reviewed the drill, if this signs it off.
    pub reviewer: Option<String>,
    /// Who writes it, according to this machine.
    pub by: String,
    /// On which machine.
    pub host: String,
}

/// A note.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    /// `lifeboat.note/1`.
    pub schema: String,
    /// The run that it is about.
    pub run: String,
    pub source: String,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// Who wrote it, according to that machine.
    pub by: String,
    /// On which machine.
    pub host: String,
    /// The text.
    pub note: String,
    /// Where the work is tracked.
    pub ticket: Option<String>,
    /// Who is responsible for what follows.
    pub owner: Option<String>,
    pub due: Option<NaiveDate>,
    /// Who has reviewed the drill, if this signs it off.
    pub reviewer: Option<String>,
    /// Where it lies.
    pub file: String,
    /// Its place in the chain.
    pub chain: ChainPosition,
}

/// Adds a note to a run. Earlier notes are never changed.
pub(crate) fn add_note(vault: &Vault, run: &str, wanted: NewNote, now: DateTime<Utc>) -> Result<Note> {
    let texts = [Some(&wanted.note), wanted.ticket.as_ref(), wanted.owner.as_ref(), wanted.reviewer.as_ref()];
    if texts.iter().flatten().any(|text| text.trim().is_empty()) {
        return Err(Error::request("a note cannot be empty")
            .hint("Say what was done or decided: `--note \"index rebuilt, drill again on Monday\"`."));
    }
    if texts.iter().flatten().any(|text| text.chars().count() > LONGEST) {
        return Err(Error::request(format!("a note has at most {LONGEST} characters"))
            .hint("Keep the rest in the ticket, and name it with `--ticket`."));
    }
    let source = journal::source_of(vault, run)?;
    let mut written = None;
    let entry = chain::Entry { run, what: What::Noted, at: now };
    chain::append_to_chain(vault, &source, entry, |place| {
        let file = format!("{run}/note-{:06}.json", place.seq);
        let note = Note {
            schema: SCHEMA.to_owned(),
            run: run.to_owned(),
            source: source.clone(),
            at: now,
            by: wanted.by,
            host: wanted.host,
            note: wanted.note,
            ticket: wanted.ticket,
            owner: wanted.owner,
            due: wanted.due,
            reviewer: wanted.reviewer,
            file: vault.shown(&format!("{}/{file}", chain::source_folder(&source))),
            chain: place.clone(),
        };
        let text = to_json(&note)?;
        written = Some(note);
        Ok(vec![(file, text)])
    })?;
    written.ok_or_else(|| Error::new(crate::error::Kind::Bug, "a note was recorded and is not known"))
}

/// The notes of a run, oldest first, and those that cannot be read, with the reason.
pub(crate) fn notes_of(vault: &Vault, source: &str, run: &str) -> Result<(Vec<Note>, Vec<String>)> {
    let folder = format!("{}/{run}", chain::source_folder(source));
    let names: Vec<String> = vault
        .list(&folder)?
        .files
        .into_iter()
        .filter(|file| file.name.starts_with("note-") && file.name.ends_with(".json"))
        .map(|file| format!("{folder}/{}", file.name))
        .collect();
    let (mut notes, mut damaged) = (Vec::new(), Vec::new());
    for (name, text) in names.iter().zip(vault.read_all(&names)?) {
        match text.map(|text| serde_json::from_slice::<Note>(&text.unwrap_or_default())) {
            Ok(Ok(note)) => notes.push(note),
            Ok(Err(error)) => damaged.push(format!("`{}` is damaged: {error}", vault.shown(name))),
            Err(error) => damaged.push(error.chain()),
        }
    }
    notes.sort_by_key(|note| note.chain.seq);
    Ok((notes, damaged))
}
