//! Loading a SQL script into a scratch database, statement by statement and over a connection of our own.
//!
//! psql is not asked: its meta-commands run programs and write files of this machine, and a script that somebody has
//! altered may hold any of them. Here they mean nothing. A statement that no dump has is refused; what is left can still
//! call functions that came with the script, and those can do whatever the role may that loads it. A superuser may do
//! anything, so without proof of where a backup comes from the script is run by a role that may do nothing outside of
//! the scratch database: it is made for the purpose and dropped afterwards. What takes more rights and runs nothing of the
//! script's own, such as owners, grants and extensions, is left to the superuser, in a session of its own.

use std::io;

use super::scratch::{ScratchDatabase, loader_role_of};
use crate::backup::dump_gate::{Gate, Trust};
use crate::backup::roles::note_roles;
use crate::backup::sql_lexer::{Lexer, Piece};
use crate::backup::statement::{self, Step};
use crate::backup::token::{Statement, Token, excerpt};
use crate::backup::tolerance::{LeftOut, Omissions, Tolerance};
use crate::error::{Error, Kind, Result};
use crate::postgres::{CopyIn, QueryFailure, Server, Session, generate, quote_identifier};

/// As whom a script is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// As the user of the connection.
    Own,
    /// As a role of its own, although the user is a superuser.
    Confined,
    /// The same on a server that we have started ourselves, where no role is anybody's.
    ConfinedOnOwnServer,
}

/// A script on its way into a database.
pub(super) struct Loader {
    session: Session,
    confinement: Option<Confinement>,
    scratch: String,
    lexer: Lexer,
    flow: Flow,
    of_database_only: bool,
    tolerance: Tolerance,
}

/// What a role that may do nothing cannot do itself.
struct Confinement {
    superuser: Session,
    role: String,
    deferred: Vec<String>,
    event_triggers: Vec<String>,
    is_past_extensions: bool,
    is_own_server: bool,
}

#[derive(Default)]
struct Flow {
    gate: Gate,
    encoding: String,
    copying: Option<CopyIn>,
    /// The statement whose rows are on their way, or were refused.
    copied: Vec<u8>,
    omissions: Omissions,
    failed: Option<Error>,
}

impl Loader {
    /// Connects to a scratch database, as the user of the server or as a role that is made for it.
    pub(super) async fn open(
        scratch: &ScratchDatabase<'_>,
        (rights, trust): (Rights, Trust),
        tolerance: &Tolerance,
    ) -> Result<Self> {
        let ScratchDatabase { server, name: scratch, .. } = scratch;
        let own = server.connect(scratch).await?;
        let (session, confinement) = match rights {
            Rights::Own => (own, None),
            Rights::Confined | Rights::ConfinedOnOwnServer => {
                let role = loader_role_of(scratch);
                let session = create_loader_role(server, scratch, &role, &own).await?;
                let confinement = Confinement {
                    superuser: own,
                    role,
                    deferred: Vec::new(),
                    event_triggers: Vec::new(),
                    is_past_extensions: false,
                    is_own_server: rights == Rights::ConfinedOnOwnServer,
                };
                (session, Some(confinement))
            }
        };
        // A setting of the server must not change how the script is read.
        session.execute("set standard_conforming_strings = on").await?;
        Ok(Loader {
            session,
            confinement,
            scratch: scratch.clone(),
            lexer: Lexer::new(),
            flow: Flow { gate: Gate::new(trust), ..Flow::default() },
            of_database_only: false,
            tolerance: tolerance.clone(),
        })
    }

    /// Passes over everything that is not said of the database itself.
    pub(super) fn of_database_only(self) -> Self {
        Loader { of_database_only: true, ..self }
    }

    /// Takes the next bytes of the script. It blocks until the server has them, so it is for a thread of its own.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Loader { session, confinement, scratch, lexer, flow, of_database_only, tolerance } = self;
        let of_database_only = *of_database_only;
        let mut act = Act { session, confinement, scratch, flow, of_database_only, tolerance };
        lexer.feed(bytes, &mut |piece| act.take(piece))
    }

    /// Why it stopped, if the server or the script was the reason.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.flow.failed.take()
    }

    /// Runs what was left for the end, and says what was left out. The script must be complete.
    pub(super) async fn finish(mut self) -> Result<Omissions> {
        if !self.lexer.is_between_statements() || self.flow.copying.is_some() {
            return Err(Error::new(Kind::No, "the backup's SQL ends in the middle of a statement"));
        }
        let Some(confinement) = self.confinement.take() else { return Ok(self.flow.omissions) };
        drop(self.session);
        confinement.finish(&self.tolerance, &mut self.flow.omissions).await?;
        Ok(self.flow.omissions)
    }
}

/// Makes a role that owns the scratch database and may do nothing else, and connects as it.
async fn create_loader_role(
    server: &Server,
    scratch: &str,
    role: &str,
    superuser: &Session,
) -> Result<Session> {
    let password = generate();
    superuser
        .execute("set standard_conforming_strings = on; set search_path = ''; set log_statement = 'none'")
        .await?;
    let (name, database) = (quote_identifier(role), quote_identifier(scratch));
    // The owner of a table must see its rows whatever its policies say.
    let make = format!(
        "create role {name} login nosuperuser nocreatedb nocreaterole noreplication bypassrls password '{}';
         alter database {database} owner to {name}",
        password.expose()
    );
    superuser.execute(&make).await?;
    let can_write: bool = superuser
        .row("select exists (select from pg_catalog.pg_roles where rolname = 'pg_write_all_data')", &[])
        .await?
        .get(0);
    if can_write {
        // For the rows that belong to the tables of extensions, which the superuser owns.
        superuser.execute(&format!("grant pg_write_all_data to {name}")).await?;
    }
    let server = Server { user: role.to_owned(), password: Some(password), ..server.clone() };
    server.connect(scratch).await.map_err(|failure| {
        Error::outside(format!("role `{role}`, created to load the backup, cannot log in"))
            .caused_by(failure.error)
            .hint(
                "A superuser runs no SQL of a backup that carries no seal. Restore as a user who is no superuser, let \
                 the server accept passwords, or, if you trust the vault, pass `--trust-content`.",
            )
    })
}

/// One piece of a script, being taken.
struct Act<'a> {
    session: &'a Session,
    confinement: &'a mut Option<Confinement>,
    scratch: &'a str,
    flow: &'a mut Flow,
    of_database_only: bool,
    tolerance: &'a Tolerance,
}

/// Waits in a thread in which nothing else waits.
fn wait_for<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(work)
}

impl Act<'_> {
    fn take(&mut self, piece: Piece<'_>) -> io::Result<()> {
        let done = match piece {
            Piece::Comment(_) => Ok(()),
            Piece::Data(rows) => match &mut self.flow.copying {
                Some(copying) => match wait_for(copying.send(rows)) {
                    Ok(()) => Ok(()),
                    Err(failure) => {
                        self.flow.copying = None;
                        self.go_on_past(&failure, Refused::Rows)
                    }
                },
                None => Ok(()),
            },
            Piece::EndOfData => match self.flow.copying.take().map(|copying| wait_for(copying.finish())) {
                Some(Err(failure)) => self.go_on_past(&failure, Refused::Rows),
                Some(Ok(_)) | None => Ok(()),
            },
            Piece::Command(_) | Piece::Statement(_) => match (self.flow.gate.admit(piece), piece) {
                (Err(why), _) => Err(refuse_script(&why)),
                (Ok(Some(step)), Piece::Statement(statement)) => self.run(step, &statement),
                (Ok(_), _) => Ok(()),
            },
        };
        done.map_err(|error| {
            self.flow.failed = Some(error);
            io::Error::other("the script was stopped")
        })
    }

    fn run(&mut self, step: Step, statement: &Statement<'_>) -> Result<()> {
        let text = statement.text;
        if self.of_database_only && !matches!(step, Step::Database(_) | Step::Encoding(_)) {
            return Ok(());
        }
        match step {
            Step::CreateDatabase(_) | Step::DropDatabase => Ok(()),
            _ if self.tolerance.no_owner && says_whose(statement) => {
                self.flow
                    .omissions
                    .leave_out(excerpt(text), "owners and privileges were left out as requested");
                Ok(())
            }
            Step::Encoding(encoding) => {
                self.flow.encoding = encoding;
                Ok(())
            }
            Step::Copy(_) => self.begin_copy(text),
            Step::Database(name) => {
                if self.confinement.is_some() && statement::takes_over_sessions(text) {
                    return Err(needs_superuser(text));
                }
                let renamed = statement::rename_database(text, &name, self.scratch);
                self.attribute(&renamed, Some(statement))
            }
            Step::Attribution => self.attribute(text, None),
            Step::EventTrigger => {
                let sql = self.decoded(text)?;
                match &mut *self.confinement {
                    // It would run at the very next login, whoever logs in.
                    Some(_) if names_login(statement) => Err(needs_superuser(text)),
                    Some(confinement) => {
                        if let (true, Some(owner)) = (confinement.is_own_server, new_owner(statement)) {
                            // Nobody else may own one, and what roles of the source may do is not in a dump.
                            confinement.event_triggers.push(format!("alter role {owner} superuser"));
                        }
                        confinement.event_triggers.push(sql);
                        Ok(())
                    }
                    None => self.run_here(&sql, text),
                }
            }
            Step::Privileged => {
                let sql = self.decoded(text)?;
                match &self.confinement {
                    Some(confinement) => match confinement.try_run(&sql) {
                        Ok(()) => Ok(()),
                        Err(failure) => self.go_on_past(&failure, Refused::Statement(text)),
                    },
                    None => self.run_here(&sql, text),
                }
            }
            Step::Extension => {
                let sql = self.decoded(text)?;
                let Some(confinement) = &self.confinement else { return self.run_here(&sql, text) };
                match confinement.add_extension(&sql)? {
                    Ok(()) => Ok(()),
                    Err(failure) => self.go_on_past(&failure, Refused::Statement(text)),
                }
            }
            Step::Setting if statement::names_tablespace(statement).is_some() => {
                self.choose_tablespace(statement)
            }
            Step::Setting | Step::Session | Step::Definition | Step::Rows(..) => {
                if let Some(confinement) = self.confinement
                    && matches!(step, Step::Definition | Step::Rows(..))
                {
                    confinement.is_past_extensions |= !comes_before_extensions(statement);
                }
                let sql = self.decoded(text)?;
                self.run_here(&sql, text)
            }
        }
    }

    fn run_here(&mut self, sql: &str, text: &[u8]) -> Result<()> {
        let Err(failure) = wait_for(self.session.execute(sql)) else { return Ok(()) };
        let is_denied = failure.sqlstate.as_deref() == Some("42501") && self.confinement.is_some();
        if is_denied && !self.tolerance.keep_going {
            return Err(explain_refusal(&failure, text).hint(SUPERUSER_HINT));
        }
        self.go_on_past(&failure, Refused::Statement(text))
    }

    /// Goes on past what the server refused, if whoever restores puts up with that; otherwise it is the end.
    fn go_on_past(&mut self, failure: &QueryFailure, refused: Refused<'_>) -> Result<()> {
        let text = match refused {
            Refused::Statement(text) => text.to_owned(),
            Refused::Rows => std::mem::take(&mut self.flow.copied),
        };
        if !failure.session_survives() {
            return Err(explain_refusal(failure, &text));
        }
        put_up_with(failure, &text, self.tolerance, &mut self.flow.omissions)
    }

    /// A tablespace belongs to the server: where there is none of the name, what was in it goes where everything else does.
    fn choose_tablespace(&mut self, statement: &Statement<'_>) -> Result<()> {
        let text = statement.text;
        let sql = self.decoded(text)?;
        if let (Some(name), Some(confinement)) = (statement::names_tablespace(statement), &self.confinement) {
            // Revoked with everything else that the role was granted. Whether there is such a tablespace shows in a moment.
            let grant = format!(
                "grant create on tablespace {} to {}",
                quote_identifier(&name),
                quote_identifier(&confinement.role)
            );
            let _ = confinement.try_run(&grant);
        }
        let Err(failure) = wait_for(self.session.execute(&sql)) else { return Ok(()) };
        if !failure.session_survives() {
            return Err(explain_refusal(&failure, text));
        }
        let name = statement::names_tablespace(statement).unwrap_or_default();
        self.flow.omissions.leave_out(
            format!("tablespace {}", quote_identifier(&name)),
            "the server has no such tablespace, so its content was restored to the default one",
        );
        wait_for(self.session.execute("set default_tablespace = ''"))
            .map_err(|failure| explain_refusal(&failure, text))
    }

    /// Runs what says something of the database, or whose something is; `of_database` is the statement as it stood.
    fn attribute(&mut self, text: &[u8], of_database: Option<&Statement<'_>>) -> Result<()> {
        let sql = self.decoded(text)?;
        if let Some(confinement) = self.confinement {
            if confinement.is_own_server
                && let Some(owner) = owner_that_must_be_superuser(&sql)
            {
                confinement.deferred.push(format!("alter role {owner} superuser"));
            }
            confinement.deferred.push(sql);
            return Ok(());
        }
        let Err(failure) = wait_for(self.session.execute(&sql)) else { return Ok(()) };
        let text = of_database.map_or(text, |statement| statement.text);
        // Whoever may not make a setting here could not have made it in the source, either: a superuser did.
        let is_denied = failure.sqlstate.as_deref() == Some("42501");
        if is_denied && failure.session_survives() && of_database.is_some_and(statement::makes_setting) {
            self.flow.omissions.settings = true;
            self.flow.omissions.leave_out(excerpt(text), failure.message.clone());
            return Ok(());
        }
        self.go_on_past(&failure, Refused::Statement(text))
    }

    fn begin_copy(&mut self, text: &[u8]) -> Result<()> {
        let mut sql = self.decoded(text)?;
        if self.flow.encoding == "SQL_ASCII" && std::str::from_utf8(text).is_err() {
            return Err(refuse_script(&format!("a name in it is not UTF-8: {}", excerpt(text))).hint(
                "pg_restore can load it: back the database up with `--format custom`, and restore it with `--trust-content`.",
            ));
        }
        if !self.is_utf8() {
            sql.push_str(&format!(" with (encoding '{}')", self.flow.encoding));
        }
        self.flow.copied = text.to_owned();
        match wait_for(self.session.begin_copy(&sql)) {
            Ok(copying) => {
                self.flow.copying = Some(copying);
                Ok(())
            }
            Err(failure) => self.go_on_past(&failure, Refused::Rows),
        }
    }

    fn is_utf8(&self) -> bool {
        ["", "UTF8"].contains(&self.flow.encoding.as_str())
    }

    /// A statement as text. Where the script has another encoding than ours, the server knows it.
    fn decoded(&self, text: &[u8]) -> Result<String> {
        let is_own = text.is_ascii() || self.is_utf8() || self.flow.encoding == "SQL_ASCII";
        if let (true, Ok(text)) = (is_own, std::str::from_utf8(text)) {
            return Ok(text.to_owned());
        }
        if self.is_utf8() {
            return Err(refuse_script("it claims to be UTF-8 but is not"));
        }
        if self.flow.encoding == "SQL_ASCII" {
            let digits: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok(format!(
                "do language plpgsql $run$ begin execute convert_from('\\x{digits}', 'SQL_ASCII'); end $run$"
            ));
        }
        let row = wait_for(
            self.session
                .row("select pg_catalog.convert_from($1, $2::text::name)", &[&text, &self.flow.encoding]),
        );
        Ok(row.map_err(|failure| explain_refusal(&failure, text))?.get(0))
    }
}

impl Confinement {
    fn run(&self, sql: &str) -> Result<()> {
        self.try_run(sql).map_err(|failure| explain_refusal(&failure, sql.as_bytes()))
    }

    fn try_run(&self, sql: &str) -> std::result::Result<(), QueryFailure> {
        wait_for(self.superuser.run_alone(sql))
    }

    /// Extensions come first in a dump. Later the script could have laid out objects for an extension's own script, which
    /// the superuser runs, to stumble over.
    fn add_extension(&self, sql: &str) -> Result<std::result::Result<(), QueryFailure>> {
        if self.is_past_extensions {
            return Err(needs_superuser(sql.as_bytes()));
        }
        if let Err(failure) = self.try_run(sql) {
            return Ok(Err(failure));
        }
        let wrappers = wait_for(
            self.superuser.rows("select fdwname::text from pg_catalog.pg_foreign_data_wrapper", &[]),
        )
        .map_err(|failure| explain_refusal(&failure, b""))?;
        for row in wrappers {
            let wrapper = quote_identifier(row.get(0));
            self.run(&format!(
                "grant usage on foreign data wrapper {wrapper} to {}",
                quote_identifier(&self.role)
            ))?;
        }
        Ok(Ok(()))
    }

    async fn finish(self, tolerance: &Tolerance, omissions: &mut Omissions) -> Result<()> {
        let run = async |sql: &str| {
            self.superuser.run_alone(sql).await.map_err(|failure| explain_refusal(&failure, sql.as_bytes()))
        };
        for sql in &self.deferred {
            let Err(failure) = self.superuser.run_alone(sql).await else { continue };
            put_up_with(&failure, sql.as_bytes(), tolerance, omissions)?;
        }
        let role = quote_identifier(&self.role);
        run("reset session authorization").await?;
        run(&format!("reassign owned by {role} to current_user")).await?;
        run(&format!("drop owned by {role}")).await?;
        run(&format!("drop role {role}")).await?;
        // From here on what the script brought along may run when something is defined.
        for sql in &self.event_triggers {
            run(sql).await?;
        }
        Ok(())
    }
}

/// The role at the end of `… OWNER TO role`, as it stands there.
fn new_owner(statement: &Statement<'_>) -> Option<String> {
    let [.., owner, to, role] = statement.tokens else { return None };
    let word = |token: &Token| String::from_utf8_lossy(&statement.text[token.span.clone()]).into_owned();
    let is_change = word(owner).eq_ignore_ascii_case("owner") && word(to).eq_ignore_ascii_case("to");
    is_change.then(|| word(role))
}

/// The new owner of something that only a superuser can own, as it stands there. What roles of the source may do is not in a dump.
fn owner_that_must_be_superuser(sql: &str) -> Option<&str> {
    let is_such = ["SUBSCRIPTION", "FOREIGN DATA WRAPPER", "PUBLICATION"]
        .iter()
        .any(|kind| sql.strip_prefix("ALTER ").is_some_and(|rest| rest.starts_with(kind)));
    sql.rsplit_once(" OWNER TO ").filter(|_| is_such).map(|(_, owner)| owner)
}

/// Whether an event trigger waits for logins.
fn names_login(statement: &Statement<'_>) -> bool {
    let words = statement.tokens.iter().map(|token| &statement.text[token.span.clone()]);
    words
        .into_iter()
        .any(|word| word.eq_ignore_ascii_case(b"login") || word.eq_ignore_ascii_case(b"\"login\""))
}

/// Whether a definition may stand before those of extensions: it defines nothing that could be called.
fn comes_before_extensions(statement: &Statement<'_>) -> bool {
    let words: Vec<String> = statement
        .tokens
        .iter()
        .take(3)
        .map(|token| String::from_utf8_lossy(&statement.text[token.span.clone()]).to_ascii_lowercase())
        .collect();
    words.first().is_some_and(|first| first == "create")
        && words.get(1).is_some_and(|kind| ["schema", "collation"].contains(&kind.as_str()))
}

/// What the server refused.
#[derive(Clone, Copy)]
enum Refused<'a> {
    Statement(&'a [u8]),
    /// The rows of the latest `COPY`.
    Rows,
}

/// Notes what the server refused, if whoever restores puts up with that; otherwise it is the end.
fn put_up_with(
    failure: &QueryFailure,
    text: &[u8],
    tolerance: &Tolerance,
    omissions: &mut Omissions,
) -> Result<()> {
    if !failure.session_survives() {
        return Err(explain_refusal(failure, text));
    }
    let names_missing_role =
        failure.sqlstate.as_deref() == Some("42704") && failure.message.starts_with("role ");
    if tolerance.no_owner && names_missing_role {
        omissions.leave_out(excerpt(text), failure.message.clone());
        return Ok(());
    }
    if !tolerance.keep_going {
        return Err(explain_refusal(failure, text).hint(KEEP_GOING_HINT));
    }
    omissions.complaints.push(LeftOut { what: excerpt(text), why: failure.message.clone() });
    Ok(())
}

/// Whether a statement says whose something is, or who may do what with it. Settings of a role in the database are neither.
fn says_whose(statement: &Statement<'_>) -> bool {
    if statement::makes_setting(statement) {
        return false;
    }
    let first = statement.tokens.first().map(|token| &statement.text[token.span.clone()]);
    let is_of_rights = first.is_some_and(|word| [&b"GRANT"[..], b"REVOKE"].contains(&word));
    let is_other = |word: &[u8]| [&b"ALTER"[..], b"SET", b"RESET"].contains(&word);
    let mut roles = std::collections::BTreeSet::new();
    note_roles(statement, &mut roles);
    is_of_rights || (first.is_some_and(is_other) && !roles.is_empty())
}

/// What to do when a role of the source is missing.
pub(super) const ROLES_HINT: &str = "Roles are not part of a database's backup: create them, restore the globals beside it, or pass \
                                     `--no-owner`.";

pub(super) const KEEP_GOING_HINT: &str =
    "`--keep-going` continues after statements that the server refuses, as psql does, and lists them.";

const SUPERUSER_HINT: &str = "The backup carries no seal, so its SQL is run by a role without a superuser's rights. If you trust \
                              the vault, pass `--trust-content`; a seal (`--seal-key`) makes that needless for new backups.";

fn needs_superuser(text: &[u8]) -> Error {
    Error::outside("the backup is not sealed and holds a statement that only a superuser may run")
        .caused_by(excerpt(text))
        .hint(SUPERUSER_HINT)
}

fn refuse_script(why: &str) -> Error {
    Error::new(Kind::No, "the SQL of the backup was refused").caused_by(why.to_owned())
}

/// What the server has against a statement or against rows.
fn explain_refusal(failure: &QueryFailure, text: &[u8]) -> Error {
    let at = match (failure.place(), text) {
        (Some(place), _) => format!(" ({})", place.lines().next().unwrap_or_default()),
        (None, []) => String::new(),
        (None, text) => format!(": {}", excerpt(text)),
    };
    let message = failure.message.clone();
    let error = Error::outside("a statement of the backup failed; the database is unchanged")
        .caused_by(format!("{message}{at}"));
    if message.contains("role") && message.contains("does not exist") {
        error.hint(ROLES_HINT)
    } else if message.contains("must be member of role") || message.contains("must be able to SET ROLE") {
        error.hint("Only a superuser can make other roles owners: restore as one, or pass `--no-owner` to own everything.")
    } else {
        error
    }
}
