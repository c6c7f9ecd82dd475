//! Read-only steps: checked against the list of known commands, then run without a shell and without psql.
//!
//! A step is run in a plan, and again after an interruption without asking anybody, if it says `read-only` and is confined. The
//! same words are run in the same way by a plan and by a run, so that a plan shows what a run will see.

use std::time::Instant;

use tokio::process::Command;

use super::confined::statement::{Statement, uses_of_expression};
use super::confined::{Argv, Block, Program, ReadsOnly, Refusal, judge_call, search_path};
use super::document::{Act, Kind, Runbook, SqlTarget, Step};
use super::script::{self, Done, Ended, Settings};
use super::sql;
use super::values::Values;
use crate::aws::Aws;
use crate::error::Result;
use crate::postgres::{QueryFailure, Session};

/// A read-only step.
pub(super) enum Reading {
    Calls(Vec<Program>),
    Query(Statement, SqlTarget),
}

/// Why a step is not run in a plan.
pub(super) const NO_PROMISE: &str = "it does not say `read-only`";

/// The step with its values, if it is read-only; otherwise why it is not.
pub(super) fn confine_step(
    step: &Step,
    runbook: &Runbook,
    values: &Values,
    reads_only: ReadsOnly<'_>,
) -> std::result::Result<Reading, String> {
    let act = step.kind.act().ok_or(NO_PROMISE)?;
    if !act.read_only {
        return Err(NO_PROMISE.to_owned());
    }
    if let Kind::Sql(act, place) = &step.kind {
        let statement = Statement::of_step(&act.script.text, values)?;
        return Ok(Reading::Query(statement, place.clone()));
    }
    let filled = read_block(act, runbook)
        .and_then(|block| block.fill(values))
        .map_err(|refusal| refusal.to_string())?;
    let mut programs = Vec::new();
    for Argv { line, words } in filled {
        let found = judge_call(&words, reads_only).and_then(|()| Program::find(&words));
        programs.push(found.map_err(|why| Refusal { line, why }.to_string())?);
    }
    Ok(Reading::Calls(programs))
}

/// Why a step that says `read-only` cannot be confined whatever its values are.
pub(super) fn first_refusal(step: &Step, runbook: &Runbook, reads_only: ReadsOnly<'_>) -> Option<Refusal> {
    let act = step.kind.act()?;
    if let Kind::Sql(..) = step.kind {
        let known = runbook.names();
        let example = |name: &str| known.contains_key(name).then(|| "x".to_owned());
        let why = Statement::read(&act.script.text, &example).err()?;
        return Some(Refusal { line: 0, why });
    }
    let filled = match read_block(act, runbook) {
        Ok(block) => block.fill_with_examples(),
        Err(refusal) => return Some(refusal),
    };
    filled
        .into_iter()
        .find_map(|Argv { line, words }| Some(Refusal { line, why: judge_call(&words, reads_only).err()? }))
}

fn read_block(act: &Act, runbook: &Runbook) -> std::result::Result<Block, Refusal> {
    if !act.sets.is_empty() {
        let why = "only a shell sets variables; take what is printed with `capture`".to_owned();
        return Err(Refusal { line: 0, why });
    }
    let known = runbook.names();
    Block::read(&act.script.text, &|name| known.contains_key(name))
}

/// Runs it.
pub(super) async fn run_reading(
    reading: Reading,
    aws: Option<&Aws>,
    settings: &Settings<'_>,
    mut started: impl FnMut(u32) -> Result<()>,
    mut says: impl FnMut(&str),
) -> Result<Done> {
    match reading {
        Reading::Query(statement, place) => ask_database(&statement, &place, aws, settings).await,
        Reading::Calls(programs) => {
            let began = Instant::now();
            let mut whole = Done::default();
            for program in programs {
                let left = settings.timeout.saturating_sub(began.elapsed());
                let settings = Settings { timeout: left, ..*settings };
                let done =
                    script::run_script(command_of(&program), "", &settings, &mut started, &mut says).await?;
                whole.stdout.push_str(&done.stdout);
                whole.stderr.push_str(&done.stderr);
                (whole.exit, whole.end) = (done.exit, done.end);
                if done.end != Ended::ByItself || done.exit != Some(0) {
                    break;
                }
            }
            Ok(whole)
        }
    }
}

/// Values reach it as arguments only: an environment variable may have a special meaning.
fn command_of(program: &Program) -> Command {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments);
    if let Ok(path) = std::env::join_paths(search_path()) {
        command.env("PATH", path);
    }
    // Python must not take modules from the current folder.
    command.env("PYTHONSAFEPATH", "1").env_remove("PYTHONSTARTUP");
    command
}

/// How many bytes of an answer are read.
const LONGEST: usize = 256 * 1024;

async fn ask_database(
    statement: &Statement,
    place: &SqlTarget,
    aws: Option<&Aws>,
    settings: &Settings<'_>,
) -> Result<Done> {
    let (server, database) = sql::server(place, settings.values, aws).await?;
    let query = async {
        let session = server
            .connect_for_others(&database)
            .await
            .map_err(|failure| Unread::Failed(failure.error.chain()))?;
        let milliseconds = settings.timeout.as_millis();
        run_statement(&session, statement, milliseconds).await
    };
    let mut done = Done::default();
    tokio::select! {
        biased;
        kind = settings.interrupt.wait(1) => done.end = Ended::Interrupted(kind),
        () = tokio::time::sleep(settings.timeout) => done.end = Ended::TooLong,
        answered = query => match answered {
            Ok(rows) => (done.exit, done.stdout) = (Some(0), rows),
            Err(Unread::Failed(why)) => (done.exit, done.stderr) = (Some(3), format!("error: {why}\n")),
            Err(Unread::Refused(why)) => {
                let told = format!("error: it would {why}, and a step that says `read-only` may not\n");
                (done.exit, done.stderr) = (Some(3), told);
                done.refused = Some(format!("it would {why}"));
            }
        },
    }
    Ok(done)
}

/// What a statement returns, as `psql -At` would print it. The transaction has taken a snapshot before the statement comes, so that
/// PostgreSQL lets nothing make it read-write (`SET TRANSACTION`), and it is always rolled back.
async fn run_statement(
    session: &Session,
    statement: &Statement,
    milliseconds: u128,
) -> std::result::Result<String, Unread> {
    session
        .execute(&format!(
            "set statement_timeout = {milliseconds}; set standard_conforming_strings = on; set backslash_quote = off; \
             begin isolation level repeatable read read only"
        ))
        .await?;
    session.row("select pg_catalog.now()", &[]).await?;
    // Prepared, it is refused if it is more than one statement.
    session.columns(&statement.text).await?;
    refuse_code_of_the_database(session, statement).await?;
    let rows = session.texts_up_to(&statement.text, LONGEST).await?;
    session.execute("rollback").await?;
    let line = |row: Vec<Option<String>>| {
        row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|") + "\n"
    };
    Ok(rows.into_iter().map(line).collect())
}

/// Functions that somebody has put into the database can do anything that PostgreSQL's own can: one that a statement would run by a
/// view, a rule of row security, an operator or a name is refused.
async fn refuse_code_of_the_database(
    session: &Session,
    statement: &Statement,
) -> std::result::Result<(), Unread> {
    let mut uses = statement.uses.clone();
    for row in session.rows(RELATIONS, &[]).await? {
        let (name, kind, definition): (String, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
        if kind == "f" {
            return Err(Unread::Refused(format!(
                "read the foreign table {name}, whose server may do anything"
            )));
        }
        if let Some(definition) = definition {
            let of_it = uses_of_expression(&definition);
            uses.extend(
                of_it.map_err(|why| Unread::Refused(format!("read {name}, and behind that, {why}")))?,
            );
        }
    }
    let lists =
        [uses.functions, uses.names, uses.operators].map(|names| names.into_iter().collect::<Vec<_>>());
    let found = session.rows(CODE, &[&lists[0], &lists[1], &lists[2]]).await?;
    match found.first() {
        None => Ok(()),
        Some(row) => Err(Unread::Refused(format!("run {} of this database", row.get::<_, String>(0)))),
    }
}

/// Why there is no answer.
enum Unread {
    Failed(String),
    /// It was not run, because it would have done more than read.
    Refused(String),
}

impl From<QueryFailure> for Unread {
    fn from(failure: QueryFailure) -> Self {
        Unread::Failed(failure.message)
    }
}

/// What the statement reads, by the locks that it has taken: tables with their partitions and the expressions that planning
/// looks into, and views with what they are made of.
const RELATIONS: &str = "
    with recursive locked as (
        select l.relation as oid from pg_catalog.pg_locks l
        where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation'
          and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
        union select i.inhrelid from pg_catalog.pg_inherits i join locked on i.inhparent = locked.oid
    ),
    read as (
        select c.oid, c.relkind, c.relrowsecurity from locked join pg_catalog.pg_class c on c.oid = locked.oid
        where c.relnamespace not in (select oid from pg_catalog.pg_namespace where nspname in ('pg_catalog', 'information_schema', 'pg_toast'))
    )
    select read.oid::pg_catalog.regclass::text, relkind::text, case relkind when 'v' then pg_catalog.pg_get_viewdef(read.oid) end from read
    union all
    select read.oid::pg_catalog.regclass::text, 'policy', pg_catalog.pg_get_expr(p.polqual, p.polrelid)
    from read join pg_catalog.pg_policy p on p.polrelid = read.oid where relrowsecurity and p.polqual is not null
    union all -- planning works out what is constant in all of these
    select read.oid::pg_catalog.regclass::text, 'index', pg_catalog.concat_ws(' , ', pg_catalog.pg_get_expr(i.indexprs, i.indrelid), pg_catalog.pg_get_expr(i.indpred, i.indrelid))
    from read join pg_catalog.pg_index i on i.indrelid = read.oid where i.indexprs is not null or i.indpred is not null
    union all
    select read.oid::pg_catalog.regclass::text, 'check', pg_catalog.pg_get_expr(k.conbin, k.conrelid)
    from read join pg_catalog.pg_constraint k on k.conrelid = read.oid where k.contype = 'c'
    union all
    select read.oid::pg_catalog.regclass::text, 'statistics', pg_catalog.pg_get_expr(s.stxexprs, s.stxrelid)
    from read join pg_catalog.pg_statistic_ext s on s.stxrelid = read.oid where s.stxexprs is not null
    union all
    select read.oid::pg_catalog.regclass::text, 'partitions', pg_catalog.pg_get_expr(t.partexprs, t.partrelid)
    from read join pg_catalog.pg_partitioned_table t on t.partrelid = read.oid where t.partexprs is not null";

/// Functions that were made in this database (those of PostgreSQL have smaller numbers), as far as the statement may come to them; of
/// extensions, those that are not written in C.
const CODE: &str = "
    with made_here as (
        select p.* from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid = p.prolang
        where p.oid >= 16384 and not (l.lanname = 'c' and exists (
            select from pg_catalog.pg_depend d
            where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid and d.deptype = 'e'))
    )
    select 'function ' || p.oid::pg_catalog.regprocedure::text from made_here p
    where p.proname::text = any ($1::text[])
       or (p.proname::text = any ($2::text[]) and p.pronargs - p.pronargdefaults <= 1 and exists (
              select from pg_catalog.pg_type t where t.oid = p.proargtypes[0] and t.typtype in ('c', 'p')))
    union all
    select 'operator ' || o.oid::pg_catalog.regoperator::text from pg_catalog.pg_operator o join made_here p on p.oid = o.oprcode
    where o.oprname::text = any ($3::text[])
    union all
    select 'a cast to ' || c.casttarget::pg_catalog.regtype::text from pg_catalog.pg_cast c join made_here p on p.oid = c.castfunc
    union all
    select 'the check of domain ' || t.oid::pg_catalog.regtype::text from pg_catalog.pg_type t
    where t.typtype = 'd' and t.typname::text = any ($2::text[]) and exists (
        select from pg_catalog.pg_constraint k join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass and d.objid = k.oid
        where k.contypid = t.oid and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
    limit 1";
