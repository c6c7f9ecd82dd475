//! Loading a SQL script into a scratch database, statement by statement and over a connection of our own.
//!
//! psql is not asked: its meta-commands run programs and write files of this machine, and a script that somebody has
//! altered may hold any of them. Here they mean nothing. A statement that no dump has is refused; what is left can still
//! call functions that came with the script, and those can do whatever the role may that loads it. A superuser may do
//! anything, so without proof of where a backup comes from the script is run by a role that may do nothing outside of
//! the scratch database: it is made for the purpose and dropped afterwards. What takes more rights and runs nothing of the
//! script's own, such as owners, grants and extensions, is left to the superuser, in a session of its own.

use std::io;

use crate::backup::script::{Gate, Lexer, Piece, Statement, Token, Trust, excerpt};
use crate::backup::statement::{self, Step};
use crate::error::{Error, Kind, Result};
use crate::postgres::{CopyIn, QueryFailure, Server, Session, generate, quoted};

/// Roles that load scripts are named this and the digits of their scratch database.
pub(super) const LOADER: &str = "lifeboat_loader_";

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
    failed: Option<Error>,
}

impl Loader {
    /// Connects to a scratch database, as the user of the server or as a role that is made for it.
    pub(super) async fn open(server: &Server, scratch: &str, rights: Rights, trust: Trust) -> Result<Self> {
        let own = server.connect(scratch).await?;
        let (session, confinement) = match rights {
            Rights::Own => (own, None),
            Rights::Confined | Rights::ConfinedOnOwnServer => {
                let role = role_of(scratch);
                let session = confined(server, scratch, &role, &own).await?;
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
        session.run("set standard_conforming_strings = on").await?;
        Ok(Loader {
            session,
            confinement,
            scratch: scratch.to_owned(),
            lexer: Lexer::new(),
            flow: Flow { gate: Gate::new(trust), ..Flow::default() },
            of_database_only: false,
        })
    }

    /// Passes over everything that is not said of the database itself.
    pub(super) fn of_database_only(self) -> Self {
        Loader { of_database_only: true, ..self }
    }

    /// Takes the next bytes of the script. It blocks until the server has them, so it is for a thread of its own.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Loader { session, confinement, scratch, lexer, flow, of_database_only } = self;
        let mut act = Act { session, confinement, scratch, flow, of_database_only: *of_database_only };
        lexer.feed(bytes, &mut |piece| act.take(piece))
    }

    /// Why it stopped, if the server or the script was the reason.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.flow.failed.take()
    }

    /// Runs what was left for the end. The script must be complete.
    pub(super) async fn finish(mut self) -> Result<()> {
        if !self.lexer.is_between_statements() || self.flow.copying.is_some() {
            return Err(Error::new(Kind::No, "the script of the backup ends within a statement"));
        }
        let Some(confinement) = self.confinement.take() else { return Ok(()) };
        drop(self.session);
        confinement.finish().await
    }
}

/// The role that loads a scratch database.
pub(super) fn role_of(scratch: &str) -> String {
    let digits = scratch.rsplit('_').next().unwrap_or_default();
    format!("{LOADER}{digits}")
}

/// Makes a role that owns the scratch database and may do nothing else, and connects as it.
async fn confined(server: &Server, scratch: &str, role: &str, superuser: &Session) -> Result<Session> {
    let password = generate();
    superuser
        .run("set standard_conforming_strings = on; set search_path = ''; set log_statement = 'none'")
        .await?;
    let (name, database) = (quoted(role), quoted(scratch));
    // The owner of a table must see its rows whatever its policies say.
    let make = format!(
        "create role {name} login nosuperuser nocreatedb nocreaterole noreplication bypassrls password '{}';
         alter database {database} owner to {name}",
        password.expose()
    );
    superuser.run(&make).await?;
    let can_write: bool = superuser
        .row("select exists (select from pg_catalog.pg_roles where rolname = 'pg_write_all_data')", &[])
        .await?
        .get(0);
    if can_write {
        // For the rows that belong to the tables of extensions, which the superuser owns.
        superuser.run(&format!("grant pg_write_all_data to {name}")).await?;
    }
    let server = Server { user: role.to_owned(), password: Some(password), ..server.clone() };
    server.connect(scratch).await.map_err(|failure| {
        Error::outside(format!("the role `{role}` that was made to load the backup cannot log in"))
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
                Some(copying) => wait_for(copying.send(rows)).map_err(|failure| told(&failure, b"")),
                None => Ok(()),
            },
            Piece::EndOfData => match self.flow.copying.take() {
                Some(copying) => wait_for(copying.finish()).map(drop).map_err(|failure| told(&failure, b"")),
                None => Ok(()),
            },
            Piece::Command(_) | Piece::Statement(_) => match (self.flow.gate.admit(piece), piece) {
                (Err(why), _) => Err(refused(&why)),
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
            Step::Encoding(encoding) => {
                self.flow.encoding = encoding;
                Ok(())
            }
            Step::Copy(_) => self.begin_copy(text),
            Step::Database(name) => {
                if self.confinement.is_some() && statement::takes_over_sessions(text) {
                    return Err(needs_superuser(text));
                }
                let renamed = statement::renamed(text, &name, self.scratch);
                self.attribute(&renamed)
            }
            Step::Attribution => self.attribute(text),
            Step::EventTrigger => {
                let sql = self.decoded(text)?;
                match self.confinement {
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
                match self.confinement {
                    Some(confinement) => confinement.run(&sql),
                    None => self.run_here(&sql, text),
                }
            }
            Step::Extension => {
                let sql = self.decoded(text)?;
                match self.confinement {
                    Some(confinement) => confinement.add_extension(&sql),
                    None => self.run_here(&sql, text),
                }
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

    fn run_here(&self, sql: &str, text: &[u8]) -> Result<()> {
        wait_for(self.session.run(sql)).map_err(|failure| {
            let is_denied = failure.sqlstate.as_deref() == Some("42501");
            let error = told(&failure, text);
            if is_denied && self.confinement.is_some() { error.hint(SUPERUSER_HINT) } else { error }
        })
    }

    fn attribute(&mut self, text: &[u8]) -> Result<()> {
        let sql = self.decoded(text)?;
        match self.confinement {
            Some(confinement) => {
                confinement.deferred.push(sql);
                Ok(())
            }
            None => self.run_here(&sql, text),
        }
    }

    fn begin_copy(&mut self, text: &[u8]) -> Result<()> {
        let mut sql = self.decoded(text)?;
        if !self.is_utf8() {
            sql.push_str(&format!(" with (encoding '{}')", self.flow.encoding));
        }
        let copying = wait_for(self.session.begin_copy(&sql)).map_err(|failure| told(&failure, text))?;
        self.flow.copying = Some(copying);
        Ok(())
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
            return Err(refused("it says that it is UTF-8, and is not"));
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
        Ok(row.map_err(|failure| told(&failure, text))?.get(0))
    }
}

impl Confinement {
    fn run(&self, sql: &str) -> Result<()> {
        wait_for(self.superuser.run_alone(sql)).map_err(|failure| told(&failure, sql.as_bytes()))
    }

    /// Extensions come first in a dump. Later the script could have laid out objects for an extension's own script, which
    /// the superuser runs, to stumble over.
    fn add_extension(&self, sql: &str) -> Result<()> {
        if self.is_past_extensions {
            return Err(needs_superuser(sql.as_bytes()));
        }
        self.run(sql)?;
        let wrappers = wait_for(
            self.superuser.rows("select fdwname::text from pg_catalog.pg_foreign_data_wrapper", &[]),
        )
        .map_err(|failure| told(&failure, b""))?;
        for row in wrappers {
            let wrapper = quoted(row.get(0));
            self.run(&format!("grant usage on foreign data wrapper {wrapper} to {}", quoted(&self.role)))?;
        }
        Ok(())
    }

    async fn finish(self) -> Result<()> {
        let run = async |sql: &str| {
            self.superuser.run_alone(sql).await.map_err(|failure| told(&failure, sql.as_bytes()))
        };
        for sql in &self.deferred {
            run(sql).await?;
        }
        let role = quoted(&self.role);
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

const SUPERUSER_HINT: &str = "The backup carries no seal, so its SQL is run by a role without a superuser's rights. If you trust \
                              the vault, pass `--trust-content`; a seal (`--seal-key`) makes that needless for new backups.";

fn needs_superuser(text: &[u8]) -> Error {
    Error::outside("the backup holds a statement that only a superuser may run, and carries no seal")
        .caused_by(excerpt(text))
        .hint(SUPERUSER_HINT)
}

fn refused(why: &str) -> Error {
    Error::new(Kind::No, "the script of the backup was refused").caused_by(why.to_owned())
}

/// What the server has against a statement or against rows.
fn told(failure: &QueryFailure, text: &[u8]) -> Error {
    let at = match (failure.place(), text) {
        (Some(place), _) => format!(" ({})", place.lines().next().unwrap_or_default()),
        (None, []) => String::new(),
        (None, text) => format!(": {}", excerpt(text)),
    };
    let message = failure.message.clone();
    let error = Error::outside("the script of the backup failed, and the database is as it was")
        .caused_by(format!("{message}{at}"));
    if message.contains("role") && message.contains("does not exist") {
        error.hint(super::postgres::ROLES_HINT)
    } else {
        error
    }
}
