//! Keeps a restored copy from acting by itself.
//!
//! A copy starts with everything that its source had: a logical subscription goes on receiving, and with that takes over the
//! slot of the source on the publisher, whose rows the source then never gets; pg_cron runs its jobs. Of what is in a backup
//! nothing can be known before it runs, and the source of today says little of it: a subscription may have been disabled, or
//! dropped, since. So a copy that is not meant for use starts with a DB parameter group that was made for it: what the source's
//! group sets, without logical replication workers and without libraries that start workers of their own. The group is
//! associated by the restore itself, so that the very first start has it.
//!
//! Reads the source, makes and removes groups; never changes one that it did not make.

use std::time::Duration;

use tokio::time::Instant;

use crate::aws::{Aws, Failure, Fault, Parameter, Poll};
use crate::error::{Error, Kind, Result};
use crate::postgres::{QueryFailure, Server, Session};
use crate::rds::{Tags, tag};

/// Without such workers no subscription receives anything. Static: a server that has started with it cannot be told otherwise.
const WORKERS: &str = "max_logical_replication_workers";

/// Libraries that the server, or each session, loads by itself.
const PRELOADED: [&str; 3] =
    ["shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"];

/// Libraries that RDS offers, or that are common, and that do nothing until they are asked.
const HARMLESS: [&str; 24] = [
    "auth_delay",
    "auto_explain",
    "credcheck",
    "decoderbufs",
    "orafce",
    "passwordcheck",
    "pg_bigm",
    "pg_buffercache",
    "pg_hint_plan",
    "pg_ivm",
    "pg_prewarm",
    "pg_proctab",
    "pg_qualstats",
    "pg_similarity",
    "pg_stat_kcache",
    "pg_stat_monitor",
    "pg_stat_statements",
    "pg_wait_sampling",
    "pgaudit",
    "pgauditlogtofile",
    "plpgsql_check",
    "plprofiler",
    "rdsutils",
    "wal2json",
];

/// What to switch off where the family has it: triggers on logins and on definitions, functions that are asked about logins.
const SWITCHES: [(&str, &str); 3] =
    [("event_triggers", "off"), ("pg_tle.enable_clientauth", "off"), ("cron.launch_active_jobs", "off")];

/// Settings of libraries that are not loaded any more.
const OF_LIBRARIES: [&str; 4] = ["cron.", "pg_partman_bgw.", "pglogical.", "pg_tle."];

/// What is wanted of the isolation of a copy.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// What the group will be called, if one is made.
    pub name: &'a str,
    /// Its tags.
    pub tags: Tags,
    /// Version of PostgreSQL that the copy runs.
    pub engine_version: &'a str,
    /// The group of the source, if that is known.
    pub source_group: Option<&'a str>,
    /// The group that the user has chosen, if so.
    pub given: Option<&'a str>,
}

/// How a copy is kept from acting by itself.
#[derive(Clone, Debug)]
pub(crate) struct Isolation {
    /// What would act, as far as the source of today tells.
    pub acting: Vec<String>,
    /// What is done about it.
    pub way: Way,
    /// What the user ought to know about it.
    pub notes: Vec<String>,
}

/// What is done to keep a copy from acting.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// It gets a group that is made for it.
    Made(Group),
    /// It gets the group that the user has chosen, in which nothing acts.
    Given,
    /// Nothing: nothing is known to act, and no group can be created.
    Nothing,
}

/// A DB parameter group that is going to be made.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Its name.
    pub name: String,
    family: String,
    tags: Tags,
    values: Vec<(String, String)>,
}

impl Isolation {
    /// The group that is going to be made.
    pub(crate) fn group_to_create(&self) -> Option<&Group> {
        match &self.way {
            Way::Made(group) => Some(group),
            Way::Given | Way::Nothing => None,
        }
    }

    /// How long a group that was made has to settle before the copy starts with it: not at all where nothing is known to act, since
    /// what a copy of such a source may do is rare, and five minutes are not.
    pub(crate) fn settling_time(&self, poll: Poll) -> Duration {
        if self.acting.is_empty() { Duration::ZERO } else { poll.every * SETTLING }
    }

    /// Goes on without isolation, or refuses to where something is known to act.
    pub(crate) fn run_without(&mut self, copy_of: &str, why: &str) -> Result<()> {
        if !self.acting.is_empty() {
            return Err(refuse_active_copy(copy_of, &self.acting, why));
        }
        self.way = Way::Nothing;
        self.notes.push(not_isolated(why));
        Ok(())
    }
}

fn not_isolated(why: &str) -> String {
    format!(
        "the copy is not kept from acting by itself: {why}; the source has no subscription now, but the backup may hold one"
    )
}

/// Something would act, and nothing can be done about it.
fn refuse_active_copy(copy_of: &str, acting: &[String], why: &str) -> Error {
    let error =
        Error::new(Kind::Guard, format!("a copy of `{copy_of}` would act by itself: {}", acting.join(", ")));
    error.caused_by(why.to_owned()).hint(format!(
        "Give this role rds:CreateDBParameterGroup, rds:ModifyDBParameterGroup and rds:DeleteDBParameterGroup on \
         `pg:lifeboat-*`, so that the copy gets a group in which nothing acts; or pass `--parameter-group` with one of the \
         same family in which {WORKERS} is 0 and no library that starts workers is loaded."
    ))
}

/// What would act in a copy of this server by itself, as far as it tells: its logical subscriptions, whether they are enabled
/// now or not, since they may have been when the backup was taken.
pub(crate) async fn find_subscriptions(session: &Session) -> std::result::Result<Vec<String>, QueryFailure> {
    // Everybody may read these columns, and see those of every database from any.
    let rows = session
        .rows(
            "select s.subname::text, d.datname::text, s.subenabled from pg_catalog.pg_subscription s
             join pg_catalog.pg_database d on d.oid = s.subdbid order by 2, 1",
            &[],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| {
            let (name, database, is_enabled): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
            let remark = if is_enabled { "" } else { " (disabled now, which it may not be in the backup)" };
            format!("subscription `{name}` of database `{database}`{remark}")
        })
        .collect())
}

/// The same of a server that is not connected to yet.
pub(crate) async fn find_subscriptions_of(server: &Server, databases: &[String]) -> Result<Vec<String>> {
    Ok(find_subscriptions(&any_session(server, databases).await?).await?)
}

/// A session of whichever database lets us in; what is asked is the same in each.
async fn any_session(server: &Server, databases: &[String]) -> Result<Session> {
    let mut failed = None;
    for database in databases.iter().map(String::as_str).chain(["postgres", "template1"]) {
        match server.connect(database).await {
            Ok(session) => return Ok(session),
            Err(failure) => failed = failed.or(Some(failure.error)),
        }
    }
    Err(failed.unwrap_or_else(|| Error::outside("there is no database to connect to")))
}

/// Decides how a copy is kept from acting. Reads only. `acting` is what the source tells of itself.
pub(crate) async fn plan_isolation(
    aws: &Aws,
    copy_of: &str,
    wanted: Wanted<'_>,
    acting: Vec<String>,
) -> Result<Isolation> {
    let mut isolation = Isolation { acting, way: Way::Nothing, notes: Vec::new() };
    if let Some(given) = wanted.given {
        let why = match aws.parameters(given).await {
            Ok(parameters) => list_active(&parameters),
            Err(failure) => vec![format!("its parameters could not be read: {failure}")],
        };
        if why.is_empty() {
            isolation.way = Way::Given;
        } else {
            isolation.run_without(copy_of, &format!("in parameter group `{given}` {}", why.join(", ")))?;
        }
        return Ok(isolation);
    }
    let family = format!("postgres{}", wanted.engine_version.split('.').next().unwrap_or_default());
    let source = match wanted.source_group {
        Some(group) if is_of_family(aws, group, &family).await => Some(group.to_owned()),
        Some(group) => {
            isolation.notes.push(format!(
                "the parameters of group `{group}` are not carried over to the copy: it is of another family than {family}, or \
                 cannot be read"
            ));
            None
        }
        None => None,
    };
    let parameters = match aws.parameters(source.as_deref().unwrap_or(&format!("default.{family}"))).await {
        Ok(parameters) => parameters,
        Err(failure) => {
            isolation
                .notes
                .push(format!("the parameters of the source are not carried over to the copy: {failure}"));
            Vec::new()
        }
    };
    isolation.acting.extend(list_preloaded(&parameters));
    if !parameters.is_empty() && !parameters.iter().any(|it| it.name == WORKERS && it.is_modifiable) {
        isolation.run_without(copy_of, &format!("family {family} has no parameter {WORKERS}"))?;
        return Ok(isolation);
    }
    let values = isolating_parameters(&parameters);
    let name = wanted.name.to_owned();
    isolation.way = Way::Made(Group { name, family, tags: wanted.tags, values });
    Ok(isolation)
}

async fn is_of_family(aws: &Aws, group: &str, family: &str) -> bool {
    if let Some(default) = group.strip_prefix("default.") {
        return default == family;
    }
    matches!(aws.look_at_parameter_group(group).await, Ok(Some(found)) if found.family == family)
}

/// The libraries that a value names.
fn list_libraries(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|name| name.trim().trim_matches(['"', '\''])).filter(|name| !name.is_empty())
}

fn is_harmless(library: &str) -> bool {
    HARMLESS.iter().any(|known| known.eq_ignore_ascii_case(library))
}

/// Libraries in a group that may start workers of their own.
fn list_preloaded(parameters: &[Parameter]) -> Vec<String> {
    let values = parameters.iter().filter(|it| PRELOADED.contains(&it.name.as_str()));
    let loaded = values.filter_map(|it| Some((it.name.as_str(), it.value.as_deref()?)));
    loaded
        .flat_map(|(name, value)| {
            let acting = list_libraries(value).filter(|library| !is_harmless(library));
            acting.map(move |library| format!("library `{library}` in {name}")).collect::<Vec<_>>()
        })
        .collect()
}

/// What lets a copy act that starts with these parameters.
fn list_active(parameters: &[Parameter]) -> Vec<String> {
    let workers = parameters.iter().find(|it| it.name == WORKERS).and_then(|it| it.value.as_deref());
    let mut active = list_preloaded(parameters);
    if workers.map(str::trim) != Some("0") {
        active.push(format!("{WORKERS} is {}", workers.unwrap_or("not set to 0")));
    }
    active
}

/// The parameters of a copy that does not act: what somebody has set in these, but for what makes a copy act.
fn isolating_parameters(parameters: &[Parameter]) -> Vec<(String, String)> {
    let mut values = vec![(WORKERS.to_owned(), "0".to_owned())];
    for parameter in parameters.iter().filter(|it| it.is_modifiable) {
        let name = parameter.name.as_str();
        if let Some((_, off)) = SWITCHES.iter().find(|(switch, _)| *switch == name) {
            values.push((name.to_owned(), (*off).to_owned()));
            continue;
        }
        let Some(value) = parameter.value.as_deref().filter(|_| parameter.is_set_by_user) else { continue };
        if name == WORKERS || OF_LIBRARIES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if PRELOADED.contains(&name) {
            let kept: Vec<&str> = list_libraries(value).filter(|library| is_harmless(library)).collect();
            match (kept.is_empty(), name == PRELOADED[0]) {
                // What AWS loads by itself; an empty value is none.
                (true, true) => values.push((name.to_owned(), "pg_stat_statements".to_owned())),
                (true, false) => {}
                (false, _) => values.push((name.to_owned(), kept.join(","))),
            }
            continue;
        }
        values.push((name.to_owned(), value.to_owned()));
    }
    values
}

/// How many pauses of the usual poll a new group is given before the first instance starts with it: at 15 seconds the five minutes
/// that AWS advises ("wait at least 5 minutes before creating your first DB instance that uses that DB parameter group", Amazon RDS
/// API, `CreateDBParameterGroup`).
const SETTLING: u32 = 20;

/// How long the parameters that were set may not show yet.
const VISIBLE: Duration = Duration::from_secs(60);

/// Makes the group, makes sure that AWS has it as it has to be, and then waits for `settling`. Says what could not be carried
/// over.
pub(crate) async fn create_group(
    aws: &Aws,
    group: &Group,
    settling: Duration,
) -> std::result::Result<Option<String>, Failure> {
    let description = "made by lifeboat so that a restored copy does not act by itself";
    match aws.create_parameter_group(&group.name, &group.family, description, &group.tags).await {
        Ok(()) => {}
        // After a lost answer it is ours, which the tag of its run tells.
        Err(failure) if failure.fault == Fault::AlreadyExists => {
            let Some(found) = aws.look_at_parameter_group(&group.name).await? else { return Err(failure) };
            if aws.tags_of(&found.arn).await?.get(tag::RUN) != group.tags.get(tag::RUN) {
                return Err(failure);
            }
        }
        Err(failure) => return Err(failure),
    }
    let mut note = None;
    if let Err(failure) = aws.set_parameters(&group.name, &group.values).await {
        if failure.fault != Fault::Refused || group.values.len() == 1 {
            return Err(failure);
        }
        // One that this family does not take must not keep the copy from being isolated.
        aws.set_parameters(&group.name, &group.values[..1]).await?;
        note = Some(format!("not all parameters of the source are carried over to the copy: {failure}"));
    }
    let give_up = Instant::now() + VISIBLE;
    let active = loop {
        let active = list_active(&aws.parameters(&group.name).await?);
        if active.is_empty() {
            tokio::time::sleep(settling).await;
            return Ok(note);
        }
        if Instant::now() >= give_up {
            break active;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    Err(Failure::new(
        "ModifyDBParameterGroup",
        format!("parameter group `{}`", group.name),
        Fault::Refused,
        format!("AWS did not take the parameters: {}", active.join(", ")),
    ))
}

/// Whether a copy runs without the workers that would act.
pub(crate) async fn is_at_rest(copy: &Server, databases: &[String]) -> Result<bool> {
    let session = any_session(copy, databases).await?;
    let row = session.row("select current_setting($1)", &[&WORKERS]).await?;
    Ok(row.get::<_, String>(0) == "0")
}

/// What would act in a copy of a source that its user means to use, as far as the source tells: an error if anything would take
/// from the source what is its own. `parameter_group` is the one that the copy gets. Returns what is only worth knowing.
pub(crate) async fn check_that_nothing_competes(
    aws: &Aws,
    source: &str,
    server: &Server,
    parameter_group: Option<&str>,
) -> Result<Vec<String>> {
    let subscriptions = find_subscriptions_of(server, &[]).await?;
    let parameters = match parameter_group {
        Some(group) => aws.parameters(group).await.unwrap_or_default(),
        None => Vec::new(),
    };
    if list_active(&parameters).is_empty() {
        return Ok(Vec::new());
    }
    if !subscriptions.is_empty() {
        return Err(Error::new(
            Kind::Guard,
            format!("a copy of `{source}` would compete with it for its slots: {}", subscriptions.join(", ")),
        )
        .hint(
            "The copy would take rows from the publisher that the source then never gets. Pass `--isolated`, and nothing in the \
             copy acts by itself; or, if the source is not to receive any more, `--allow-active`.",
        ));
    }
    Ok(list_preloaded(&parameters))
}

/// How long a group may be in use after its instance is gone.
const IN_USE: Duration = Duration::from_secs(600);

/// How often in a row a group must not be found before it counts as gone.
const LOOKS: u32 = 3;

/// Removes a group that a run has made, and returns when AWS no longer knows it.
pub(crate) async fn remove_group(aws: &Aws, name: &str, poll: Poll) -> Result<()> {
    let give_up = Instant::now() + IN_USE.min(poll.give_up_after);
    let (mut looks, mut refused) = (0, None);
    loop {
        match aws.look_at_parameter_group(name).await {
            Ok(None) => {
                looks += 1;
                if looks >= LOOKS {
                    return Ok(());
                }
            }
            Ok(Some(_)) => {
                looks = 0;
                // AWS refuses while it believes that an instance uses it.
                if let Err(failure) = aws.delete_parameter_group(name).await {
                    let passes = failure.fault.is_transient() || failure.fault == Fault::WrongState;
                    if !passes {
                        return Err(failure.into());
                    }
                    refused = Some(failure);
                }
            }
            Err(failure) if failure.fault.is_transient() => refused = Some(failure),
            Err(failure) => return Err(failure.into()),
        }
        if Instant::now() >= give_up {
            let error = Error::outside(format!("parameter group `{name}` could not be removed"));
            return Err(match refused {
                Some(failure) => error.caused_by(failure),
                None => error.caused_by("it is still there"),
            });
        }
        Poll { every: poll.every.min(Duration::from_secs(2)), ..poll }.pause().await;
    }
}

/// The command with which a person removes a group.
pub(crate) fn remove_group_command(name: &str, region: &str) -> String {
    format!("aws rds delete-db-parameter-group --region {region} --db-parameter-group-name {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, value: &str, is_set_by_user: bool) -> Parameter {
        let (name, value) = (name.to_owned(), Some(value.to_owned()));
        Parameter { name, value, is_set_by_user, is_modifiable: true }
    }

    #[test]
    fn a_copy_gets_what_the_source_sets_but_nothing_that_acts() {
        let parameters = [
            parameter("work_mem", "8192", true),
            parameter("rds.logical_replication", "1", true),
            parameter(WORKERS, "8", true),
            parameter("shared_preload_libraries", "pg_stat_statements, PG_CRON,pgaudit,pglogical", true),
            parameter("session_preload_libraries", "unheard_of", true),
            parameter("cron.database_name", "app", true),
            parameter("event_triggers", "on", false),
            parameter("max_connections", "LEAST({DBInstanceClassMemory/9531392},5000)", false),
            Parameter { is_modifiable: false, ..parameter("block_size", "8192", true) },
        ];
        let expected = [
            (WORKERS, "0"),
            ("work_mem", "8192"),
            ("rds.logical_replication", "1"),
            ("shared_preload_libraries", "pg_stat_statements,pgaudit"),
            ("event_triggers", "off"),
        ];
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(isolating_parameters(&parameters), expected);
        assert_eq!(
            list_preloaded(&parameters),
            [
                "library `PG_CRON` in shared_preload_libraries",
                "library `pglogical` in shared_preload_libraries",
                "library `unheard_of` in session_preload_libraries",
            ]
        );
        // Where nothing is known of the source, the copy does not act either.
        assert_eq!(isolating_parameters(&[]), expected[..1]);
    }

    #[test]
    fn a_group_lets_a_copy_act_unless_it_says_otherwise() {
        assert!(list_active(&[parameter(WORKERS, "0", true)]).is_empty());
        for acts in [
            vec![],
            vec![parameter(WORKERS, "4", false)],
            vec![parameter(WORKERS, "0", true), parameter("shared_preload_libraries", "pg_cron", true)],
        ] {
            assert!(!list_active(&acts).is_empty(), "{acts:?}");
        }
    }

    #[test]
    fn without_isolation_a_copy_of_a_source_with_a_subscription_is_refused() {
        let isolation = |acting: &[&str]| Isolation {
            acting: acting.iter().map(|it| (*it).to_owned()).collect(),
            way: Way::Nothing,
            notes: Vec::new(),
        };
        let refused =
            isolation(&["subscription `s` of database `app`"]).run_without("orders", "denied").unwrap_err();
        assert_eq!(refused.kind(), Kind::Guard);
        assert!(refused.to_string().contains("subscription `s`"), "{refused}");
        let mut quiet = isolation(&[]);
        quiet.run_without("orders", "denied").unwrap();
        assert!(quiet.notes[0].contains("denied"), "{:?}", quiet.notes);
    }
}
