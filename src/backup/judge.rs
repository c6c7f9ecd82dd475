//! Whether a restored copy is what was backed up.
//!
//! Rows, definitions and sequences are held against what was observed in the source at the moment of the dump. What a dump
//! of one database cannot carry is said, and is no fault: the attributes of roles, which belong to the server; the version
//! of an extension, which is the one that is installed there; and where PostgreSQL words an expression otherwise when it
//! has read it again.

use std::collections::BTreeSet;

use super::finding::{Deviation, Finding};
use super::manifest::Manifest;
use crate::error::Result;
use crate::postgres::{AS_IT_IS, RawText, Server, Session, Target, quote_identifier};
use crate::verify::judge::{DefinitionVerdict, KINDS_NAMING_ROLES};
use crate::verify::schema::Definitions;
use crate::verify::wording::{RECIPE as RECIPE_OF_WORDINGS, read_wordings, says_the_same};
use crate::verify::{self, Word};

/// Whether a copy has something of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It has.
    Restored,
    /// It was left out.
    LeftOut,
}

impl Part {
    pub(super) fn left_out_if(is_left_out: bool) -> Self {
        if is_left_out { Part::LeftOut } else { Part::Restored }
    }
}

/// Which parts of its source a copy has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) owners: Part,
    pub(super) settings: Part,
}

/// Holds a restored database against what was recorded of its source.
pub(super) async fn judge_restored(
    manifest: &Manifest,
    server: &Server,
    database: &str,
    Parts { owners, settings }: Parts,
) -> Result<Finding> {
    let Some(recorded) = manifest.observation.clone() else {
        let doubt = "nothing was recorded of the source to compare the copy with".to_owned();
        return Ok(Finding { doubts: vec![doubt], ..Finding::default() });
    };
    let depth = recorded.seen.databases.values().flatten().map(|table| table.depth).min().unwrap_or_default();
    let rule = if depth == verify::Depth::Content { "content" } else { "counts" };
    let target = Target::of_database(server.clone(), database);
    let comparison = verify::pair::Comparison {
        left: verify::pair::Operand::Kept(Box::new(recorded)),
        right: verify::pair::Operand::Server(Box::new(target)),
        look: verify::Look {
            depths: verify::Depths::new([rule.parse()?]),
            copies: verify::Copies::Dumped,
            ..verify::Look::default()
        },
        ignored: Vec::new(),
        extent: verify::row_differences::Extent {
            rows: 3,
            show_rows: false,
            told: verify::row_differences::RowsNamed::All,
        },
    };
    let report = verify::pair::compare_operands(&comparison, &|_, _| ()).await?;
    let mut finding = Finding::default();
    for table in &report.tables {
        let verdict = &table.verdict;
        let told = format!("table `{}.{}`: {}", verdict.schema, verdict.table, by_source(&verdict.reason));
        match verdict.verdict {
            Word::Differs | Word::Missing | Word::Unexpected => finding.deviations.push(Deviation {
                name: format!("table {}", quoted_name(&verdict.schema, &verdict.table)),
                text: told,
            }),
            Word::Unknown => finding.doubts.push(told),
            Word::Identical | Word::Equal | Word::Within => {
                finding.checked.0 += 1;
                finding.checked.1 += verdict.observed_rows.unwrap_or_default();
            }
            Word::Skipped => {}
        }
    }
    finding.notes.extend(report.notes.iter().map(|note| by_source(&note.sentence())));
    let parts = [&report.definitions, &report.extensions, &report.sequences];
    let different: Vec<&DefinitionVerdict> = parts.into_iter().flat_map(|part| &part.differences).collect();
    if different.is_empty() {
        return Ok(finding);
    }
    let session = server.connect(database).await?;
    let roles = names_of_roles(&session).await?;
    let jury = Jury { manifest, owners, settings, roles, wordings: reread(manifest, &session).await? };
    for found in different {
        jury.weigh(found, &mut finding);
    }
    Ok(finding)
}

fn quoted_name(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

/// The left side is the source here, and the right one the copy.
fn by_source(text: &str) -> String {
    text.replace("on the left", "in the source").replace("on the right", "here")
}

async fn names_of_roles(session: &Session) -> Result<BTreeSet<String>> {
    let rows = session.rows("select quote_ident(rolname) from pg_catalog.pg_roles", &[]).await?;
    Ok(rows.iter().map(|row| row.get::<_, RawText>(0).into_string()).collect())
}

/// How the definitions of a copy read, if it is known how those of the source did.
async fn reread(manifest: &Manifest, session: &Session) -> Result<Option<Definitions>> {
    if wordings_of(manifest).is_none() {
        return Ok(None);
    }
    session.execute(AS_IT_IS).await?;
    session.execute("begin read only; set local search_path = pg_catalog; set local jit = off").await?;
    let read = read_wordings(session).await?;
    session.execute("rollback").await?;
    Ok(Some(read))
}

/// What the definitions of the source say, by the rule of this version.
fn wordings_of(manifest: &Manifest) -> Option<&Definitions> {
    manifest.wordings.as_ref().filter(|_| manifest.wordings_recipe == RECIPE_OF_WORDINGS)
}

/// What decides whether a difference is a fault.
struct Jury<'a> {
    manifest: &'a Manifest,
    owners: Part,
    settings: Part,
    roles: BTreeSet<String>,
    wordings: Option<Definitions>,
}

/// Whether a definition names owners, or says who may do what.
fn names_owners(kind: &str) -> bool {
    KINDS_NAMING_ROLES.contains(&kind) || matches!(kind, "setting" | "database")
}

impl Jury<'_> {
    fn weigh(&self, found: &DefinitionVerdict, finding: &mut Finding) {
        let (kind, name) = (found.kind.as_str(), &found.name);
        let object = format!("{kind} `{name}`");
        let deviation =
            |what: &str| Deviation { name: format!("{kind} {name}"), text: format!("{object} {what}") };
        if self.manifest.moved_definitions.contains(&format!("{kind} {name}")) {
            finding.notes.push(format!("{object} was changed while the source was dumped"));
            return;
        }
        match (kind, found.verdict) {
            ("role", Word::Missing) if self.roles.contains(name) => {}
            ("role", Word::Missing) if self.owners == Part::LeftOut => {
                finding.notes.push(format!("{object} is not on the server; owners were left out as requested"));
            }
            ("role", Word::Missing) => {
                finding
                    .deviations
                    .push(deviation("is not on the server, and objects of the source name it"));
            }
            ("role", Word::Differs) => finding.notes.push(format!(
                "{object} has other attributes here: roles belong to the server, and a dump of a database does not include them"
            )),
            ("role", _) => {}
            ("extension", Word::Differs) => {
                finding.notes.push(format!("{object} has another version or schema here than in the source"));
            }
            ("database", _) => finding.notes.push(format!("{object} differ from those of the source")),
            ("extension" | "schema" | "setting", Word::Unexpected) => {
                finding.notes.push(format!("{object} was not in the source"));
            }
            ("setting", _) if self.settings == Part::LeftOut => {
                finding.notes.push(format!("{object} differs from the source: it was left out"));
            }
            ("setting", Word::Missing) if self.owners == Part::LeftOut && self.is_of_missing_role(name) => {
                finding.notes.push(format!("{object} is not here: the server has no such role"));
            }
            ("policy" | "user mapping" | "default rights" | "rights", Word::Missing) if self.owners == Part::LeftOut => {
                finding.notes.push(format!("{object} is not here; owners and privileges were left out as requested"));
            }
            (_, Word::Missing) => finding.deviations.push(deviation("is missing")),
            _ if self.owners == Part::LeftOut && names_owners(kind) => {}
            ("sequence", Word::Differs) if found.reason.contains("stands at") => {
                self.weigh_position(found, &object, finding);
            }
            (_, Word::Differs) if wordings_of(self.manifest).is_none() => {
                finding.notes.push(format!("{object} is worded differently than in the source"));
            }
            (_, Word::Differs) if self.reads_the_same(found) => {}
            (_, Word::Differs) => {
                finding.deviations.push(deviation("is defined differently than in the source"));
            }
            _ => finding.deviations.push(deviation("was not in the source")),
        }
    }

    /// Settings are called `search_path`, and those of a role in the database `search_path for clerk`.
    fn is_of_missing_role(&self, setting: &str) -> bool {
        setting.split_once(" for ").is_some_and(|(_, role)| !self.roles.contains(role))
    }

    /// Sequences are not part of the moment that was dumped: only one that did not move has to stand where it stood.
    fn weigh_position(&self, found: &DefinitionVerdict, object: &str, finding: &mut Finding) {
        match &self.manifest.moved_sequences {
            Some(moved) if !moved.contains(&found.name) => finding.deviations.push(Deviation {
                name: format!("sequence {}", found.name),
                text: format!("{object}: {}", by_source(&found.reason)),
            }),
            _ => finding.notes.push(format!("{object} may have moved while the source was dumped")),
        }
    }

    fn reads_the_same(&self, found: &DefinitionVerdict) -> bool {
        let both = wordings_of(self.manifest).zip(self.wordings.as_ref());
        both.is_some_and(|(source, copy)| says_the_same(found, source, copy))
    }
}
