//! The instance that a drill makes: its name, its tags, and the proof that it is one.

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::rds::tag::{EXPIRES, PURPOSE, RUN, SOURCE, SOURCE_RESOURCE};
use crate::rds::{Instance, InstanceId, ResourceId, RunId, THROWAWAY_PREFIX, Tags};
use crate::when::format_time;

/// How far the clocks of this machine and of AWS may differ before a throwaway is not believed to be one.
const CLOCK_SKEW: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// The name of a run's throwaway: at most 63 characters, whatever the source is called.
pub(crate) fn throwaway_name(source: &str, run: &RunId) -> Result<InstanceId> {
    let tail = format!("-{}-{}", run.day(), run.random());
    let room = 63 - THROWAWAY_PREFIX.len() - tail.len();
    let middle: String = source.chars().take(room).collect();
    InstanceId::parse(&format!("{THROWAWAY_PREFIX}{}{tail}", middle.trim_end_matches('-')))
}

/// The tags of a run's throwaway. RDS would copy the source's if none were passed, and the copy would then look
/// like production to everything that goes by tags.
pub(crate) fn throwaway_tags(source: &Instance, run: &RunId, expires: DateTime<Utc>) -> Tags {
    Tags::from([
        (PURPOSE.to_owned(), "drill".to_owned()),
        (RUN.to_owned(), run.to_string()),
        (SOURCE.to_owned(), source.id.to_string()),
        (SOURCE_RESOURCE.to_owned(), source.resource_id.to_string()),
        (EXPIRES.to_owned(), format_time(expires)),
    ])
}

/// What a throwaway says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Run that made it.
    pub run: String,
    /// Source that it is a copy of.
    pub source: String,
    /// When it may be removed by anyone.
    pub expires: DateTime<Utc>,
}

/// Proof that an instance was made by a drill.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(super) id: InstanceId,
    pub(super) resource_id: ResourceId,
    /// What it says of itself.
    pub origin: Origin,
}

/// Proves that an instance was made by a drill, or says what counts against it.
///
/// Tags alone prove nothing, since they can be copied; nor does a name. Asked for are the prefix, all tags, a name
/// that fits the tags, a resource id that is not the source's, and that it was created after its run began, which
/// an instance that someone renamed and tagged was not.
pub(crate) fn prove_throwaway(instance: &Instance) -> std::result::Result<Proof, String> {
    let (run, origin) = read_tags(instance)?;
    if !instance.id.as_str().starts_with(THROWAWAY_PREFIX) {
        return Err(format!("its name does not begin with `{THROWAWAY_PREFIX}`"));
    }
    if throwaway_name(&origin.source, &run).ok().as_ref() != Some(&instance.id) {
        return Err("its name is not the one that its run would have given it".to_owned());
    }
    let began = run.began().unwrap_or(DateTime::<Utc>::MAX_UTC);
    if instance.created_at.is_some_and(|created| created < began - CLOCK_SKEW) {
        return Err("it was created before its run began".to_owned());
    }
    Ok(Proof { id: instance.id.clone(), resource_id: instance.resource_id.clone(), origin })
}

/// Proves that an instance is the one that AWS made for a run, whatever it is called by now: its resource id is the one
/// that AWS gave to that run and never gives again, and its tags are those of the run.
pub(crate) fn prove_by_resource_id(
    instance: &Instance,
    run: &str,
    made: &ResourceId,
) -> std::result::Result<Proof, String> {
    if instance.resource_id != *made {
        return Err("another instance has taken its name".to_owned());
    }
    let (_, origin) = read_tags(instance)?;
    if origin.run != run {
        return Err(format!("it belongs to run `{}`", origin.run));
    }
    Ok(Proof { id: instance.id.clone(), resource_id: instance.resource_id.clone(), origin })
}

/// What the tags of a throwaway say, if it has all of them and nothing shows that it is something else.
fn read_tags(instance: &Instance) -> std::result::Result<(RunId, Origin), String> {
    let (run, origin) = read_origin_tags(&instance.tags)?;
    let source_resource = instance.tags.get(SOURCE_RESOURCE);
    if source_resource == Some(&instance.resource_id.0) || origin.source == instance.id.as_str() {
        return Err(OWN_SOURCE.to_owned());
    }
    if let Some(cluster) = &instance.cluster {
        return Err(format!("it is a member of cluster `{cluster}`"));
    }
    Ok((run, origin))
}

/// Protects production that somebody gave the tags of a drill.
pub(super) const OWN_SOURCE: &str = "it is its own source";

/// What the tags of something say that a drill made.
pub(super) fn read_origin_tags(tags: &Tags) -> std::result::Result<(RunId, Origin), String> {
    let tag = |key: &str| tags.get(key).map(String::as_str).ok_or_else(|| format!("it has no tag `{key}`"));
    if tag(PURPOSE)? != "drill" {
        return Err(format!("its tag `{PURPOSE}` is not `drill`"));
    }
    let (run, source, _) = (tag(RUN)?, tag(SOURCE)?, tag(SOURCE_RESOURCE)?);
    let run = RunId::parse(run).ok_or_else(|| format!("its tag `{RUN}` is not the id of a run"))?;
    let expires = DateTime::parse_from_rfc3339(tag(EXPIRES)?)
        .map_err(|_| format!("its tag `{EXPIRES}` is not a time"))?
        .with_timezone(&Utc);
    let origin = Origin { run: run.to_string(), source: source.to_owned(), expires };
    Ok((run, origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rds::Status;

    fn throwaway() -> (Instance, RunId) {
        let now = "2026-11-21T14:05:00Z".parse().unwrap();
        let run = RunId::new(now);
        let source = Instance {
            id: InstanceId::parse("orders-prod").unwrap(),
            resource_id: ResourceId("db-SOURCE".into()),
            arn: String::new(),
            engine: "postgres".into(),
            engine_version: "15.18".into(),
            reported_status: Status("available".into()),
            class: "db.m6g.large".into(),
            endpoint: None,
            master_user: "postgres".into(),
            master_secret_arn: None,
            retention_days: 7,
            latest_restorable: None,
            created_at: Some("2024-01-01T00:00:00Z".parse().unwrap()),
            storage_gib: 100,
            storage_type: None,
            encrypted: true,
            subnet_group: None,
            security_groups: Vec::new(),
            parameter_group: None,
            option_group: None,
            deletion_protection: true,
            iam_authentication: false,
            cluster: None,
            ..Instance::default()
        };
        let mut copy = source.clone();
        copy.id = throwaway_name("orders-prod", &run).unwrap();
        copy.resource_id = ResourceId("db-COPY".into());
        copy.created_at = Some(now + chrono::TimeDelta::minutes(1));
        copy.tags = throwaway_tags(&source, &run, now + chrono::TimeDelta::hours(6));
        (copy, run)
    }

    #[test]
    fn a_throwaway_proves_itself() {
        let (copy, run) = throwaway();
        assert_eq!(prove_throwaway(&copy).unwrap().origin.run, run.as_str());
    }

    #[test]
    fn nothing_else_passes_for_a_throwaway() {
        type Change = fn(&mut Instance);
        let attacks: [(&str, Change); 10] = [
            ("production with the tags of a drill", |it| it.id = InstanceId::parse("orders-prod").unwrap()),
            ("our prefix without tags", |it| it.tags.clear()),
            ("another purpose", |it| drop(it.tags.insert(PURPOSE.into(), "restore".into()))),
            ("no expiry", |it| drop(it.tags.remove(EXPIRES))),
            ("an expiry that is no time", |it| drop(it.tags.insert(EXPIRES.into(), "soon".into()))),
            ("a run that is none", |it| drop(it.tags.insert(RUN.into(), "my-run".into()))),
            ("another name with our prefix", |it| it.id = InstanceId::parse("lifeboat-drill-me").unwrap()),
            ("production renamed: the resource id of the source", |it| {
                it.resource_id = ResourceId("db-SOURCE".into())
            }),
            ("an old instance renamed and tagged", |it| {
                it.created_at = Some("2024-01-01T00:00:00Z".parse().unwrap())
            }),
            ("a cluster member", |it| it.cluster = Some("orders".into())),
        ];
        for (attack, change) in attacks {
            let (mut copy, _) = throwaway();
            change(&mut copy);
            assert!(prove_throwaway(&copy).is_err(), "{attack} passed");
        }
    }

    #[test]
    fn names_of_throwaways_follow_the_rule_of_aws_whatever_the_source_is_called() {
        let run = RunId::new("2026-11-21T14:05:00Z".parse().unwrap());
        for source in ["a", &"a".repeat(63), &"ab-".repeat(20)[..59], &format!("{}-x", "a".repeat(31))] {
            let id = throwaway_name(source, &run).unwrap();
            assert!(id.as_str().len() <= 63 && id.as_str().starts_with(THROWAWAY_PREFIX), "{id}");
        }
    }
}
