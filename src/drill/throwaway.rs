//! The instance that a drill makes: its name, its tags, the proof that it is one, and its removal.
//!
//! Nothing else in the tool deletes an instance, and [`remove`] demands a [`Proof`], which only [`prove`] gives.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use tokio::time::Instant;

use super::Event;
use crate::aws::{Aws, Delete, Fault, Poll};
use crate::error::{Error, Result};
use crate::fleet::tag::{EXPIRES, PURPOSE, RUN, SOURCE, SOURCE_RESOURCE};
use crate::fleet::{Health, Instance, InstanceId, ResourceId, RunId, Tags};

/// Prefix of every throwaway, first in the name so that IAM can bound a role by ARN.
pub const PREFIX: &str = "lifeboat-drill-";

/// How far the clocks of this machine and of AWS may differ before a throwaway is not believed to be one.
const CLOCK_SKEW: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// How long AWS may throttle, fail or be out of reach, before a removal is given up.
const ACCEPTANCE: Duration = Duration::from_secs(180);

/// How long a throwaway whose restore was asked for, without an answer, may take to show up.
const APPEARANCE: Duration = Duration::from_secs(45);

/// The name of a run's throwaway: at most 63 characters, whatever the source is called.
pub fn name(source: &str, run: &RunId) -> Result<InstanceId> {
    let tail = format!("-{}-{}", run.day(), run.random());
    let room = 63 - PREFIX.len() - tail.len();
    let middle: String = source.chars().take(room).collect();
    InstanceId::parse(&format!("{PREFIX}{}{tail}", middle.trim_end_matches('-')))
}

/// The tags of a run's throwaway. RDS would copy the source's if none were passed, and the copy would then look
/// like production to everything that goes by tags.
pub fn tags(source: &Instance, run: &RunId, expires: DateTime<Utc>) -> Tags {
    Tags::from([
        (PURPOSE.to_owned(), "drill".to_owned()),
        (RUN.to_owned(), run.to_string()),
        (SOURCE.to_owned(), source.id.to_string()),
        (SOURCE_RESOURCE.to_owned(), source.resource_id.to_string()),
        (EXPIRES.to_owned(), expires.to_rfc3339_opts(SecondsFormat::Secs, true)),
    ])
}

/// What a throwaway says of itself.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Run that made it.
    pub run: String,
    /// Source that it is a copy of.
    pub source: String,
    /// When it may be removed by anyone.
    pub expires: DateTime<Utc>,
}

/// Proof that an instance was made by a drill.
#[derive(Clone, Debug)]
pub struct Proof {
    id: InstanceId,
    resource_id: ResourceId,
    /// What it says of itself.
    pub origin: Origin,
}

/// Proves that an instance was made by a drill, or says what speaks against it.
///
/// Tags alone prove nothing, since they can be copied; nor does a name. Asked for are the prefix, all tags, a name
/// that fits the tags, a resource id that is not the source's, and that it was created after its run began, which
/// an instance that someone renamed and tagged was not.
pub fn prove(instance: &Instance) -> std::result::Result<Proof, String> {
    let tag = |key: &str| {
        instance.tags.get(key).map(String::as_str).ok_or_else(|| format!("it has no tag `{key}`"))
    };
    if !instance.id.as_str().starts_with(PREFIX) {
        return Err(format!("its name does not begin with `{PREFIX}`"));
    }
    if tag(PURPOSE)? != "drill" {
        return Err(format!("its tag `{PURPOSE}` is not `drill`"));
    }
    let (run, source, source_resource) = (tag(RUN)?, tag(SOURCE)?, tag(SOURCE_RESOURCE)?);
    let Some((run, began)) = RunId::parse(run).and_then(|run| Some((run.clone(), run.began()?))) else {
        return Err(format!("its tag `{RUN}` is not the id of a run"));
    };
    let expires = DateTime::parse_from_rfc3339(tag(EXPIRES)?)
        .map_err(|_| format!("its tag `{EXPIRES}` is not a time"))?
        .with_timezone(&Utc);
    if name(source, &run).ok().as_ref() != Some(&instance.id) {
        return Err("its name is not the one that its run would have given it".to_owned());
    }
    if source_resource == instance.resource_id.0 || source == instance.id.as_str() {
        return Err("it is its own source".to_owned());
    }
    if let Some(cluster) = &instance.cluster {
        return Err(format!("it is a member of cluster `{cluster}`"));
    }
    if instance.created_at.is_some_and(|created| created < began - CLOCK_SKEW) {
        return Err("it was created before its run began".to_owned());
    }
    let origin = Origin { run: run.to_string(), source: source.to_owned(), expires };
    Ok(Proof { id: instance.id.clone(), resource_id: instance.resource_id.clone(), origin })
}

/// What is known of a throwaway whose restore was asked for.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its name.
    pub id: InstanceId,
    /// The run that asked for it.
    pub run: RunId,
    /// Its resource id, once AWS has said it.
    pub resource_id: Option<ResourceId>,
    /// Whether AWS may have begun a restore without telling us, so that it may yet show up.
    pub may_yet_appear: bool,
}

/// Removes the throwaway of a run, and returns when AWS no longer knows it; `false` if there never was one.
pub async fn remove_claimed(
    aws: &Aws,
    claim: &Claim,
    poll: Poll,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<bool> {
    let appear_until = Instant::now() + if claim.may_yet_appear { APPEARANCE } else { Duration::ZERO };
    let started = Instant::now();
    let instance = loop {
        match aws.instance(&claim.id).await {
            Ok(Some(instance)) => break instance,
            // Known to have been there, it was removed by someone else.
            Ok(None) if Instant::now() >= appear_until => return Ok(claim.resource_id.is_some()),
            Ok(None) => {}
            Err(failure) if failure.fault.is_transient() && started.elapsed() < ACCEPTANCE => {}
            Err(failure) => return Err(failure.into()),
        }
        tokio::time::sleep(poll.every.min(Duration::from_secs(3))).await;
    };
    let proof = prove(&instance).and_then(|proof| {
        if proof.origin.run != claim.run.as_str() {
            Err(format!("it belongs to run `{}`", proof.origin.run))
        } else if claim.resource_id.as_ref().is_some_and(|known| *known != proof.resource_id) {
            Err("another instance has taken its name".to_owned())
        } else {
            Ok(proof)
        }
    });
    match proof {
        Ok(proof) => remove(aws, proof, poll, tell).await.map(|()| true),
        Err(reason) => Err(Error::outside(format!("instance `{}` was not deleted: {reason}", claim.id))
            .hint("Look at who changed its tags; a drill deletes only what it can prove to be its own.")),
    }
}

/// Removes a proven throwaway, and returns when AWS no longer knows it.
pub async fn remove(aws: &Aws, proof: Proof, poll: Poll, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
    let started = Instant::now();
    let give_up = started + poll.give_up_after;
    let mut accepted = false;
    let mut refusals = 0;
    let mut last_refusal: Option<Error> = None;
    let mut said = String::from("available");
    let mut heard = Instant::now();
    loop {
        let seen = match aws.instance(&proof.id).await {
            Ok(seen) => seen,
            Err(failure)
                if failure.fault.is_transient()
                    && heard.elapsed() < ACCEPTANCE
                    && Instant::now() < give_up =>
            {
                tokio::time::sleep(poll.every.min(Duration::from_secs(3))).await;
                continue;
            }
            Err(failure) => return Err(failure.into()),
        };
        heard = Instant::now();
        // A new instance under the old name is not ours.
        let Some(instance) = seen.filter(|instance| instance.resource_id == proof.resource_id) else {
            return Ok(());
        };
        if instance.reported_status.0 != said {
            said.clone_from(&instance.reported_status.0);
            tell(Event::Status { id: &proof.id, status: &said, elapsed: started.elapsed() });
        }
        if instance.reported_status.0 == "deleting" {
            accepted = true;
        } else if !accepted {
            match aws.begin_delete_for_good(&proof.id).await {
                Ok(Delete::Gone) => return Ok(()),
                Ok(Delete::Accepted) => accepted = true,
                Err(failure) => {
                    // A state that passes by itself, throttling and a failing service are worth waiting for.
                    let passes = failure.fault == Fault::WrongState
                        && instance.reported_status.health() == Health::InTransit;
                    let may_pass = passes || (failure.fault.is_transient() && started.elapsed() < ACCEPTANCE);
                    if !may_pass {
                        refusals += 1;
                    }
                    last_refusal = Some(failure.into());
                }
            }
        }
        if refusals >= 3 || Instant::now() >= give_up {
            let error = Error::outside(format!("instance `{}` could not be deleted", proof.id));
            return Err(match last_refusal.filter(|_| !accepted) {
                Some(refusal) => error.caused_by(refusal),
                None => error.caused_by(format!(
                    "it is still `{}` after {}",
                    instance.reported_status,
                    humantime::format_duration(Duration::from_secs(started.elapsed().as_secs()))
                )),
            });
        }
        let pause = if accepted { poll.every } else { poll.every.min(Duration::from_secs(5)) };
        Poll { every: pause, ..poll }.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Status;

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
            vpc_id: None,
            security_groups: Vec::new(),
            parameter_group: None,
            option_group: None,
            deletion_protection: true,
            iam_authentication: false,
            cluster: None,
            ..Instance::default()
        };
        let mut copy = source.clone();
        copy.id = name("orders-prod", &run).unwrap();
        copy.resource_id = ResourceId("db-COPY".into());
        copy.created_at = Some(now + chrono::TimeDelta::minutes(1));
        copy.tags = tags(&source, &run, now + chrono::TimeDelta::hours(6));
        (copy, run)
    }

    #[test]
    fn a_throwaway_proves_itself() {
        let (copy, run) = throwaway();
        assert_eq!(prove(&copy).unwrap().origin.run, run.as_str());
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
            assert!(prove(&copy).is_err(), "{attack} passed");
        }
    }

    #[test]
    fn names_of_throwaways_follow_the_rule_of_aws_whatever_the_source_is_called() {
        let run = RunId::new("2026-11-21T14:05:00Z".parse().unwrap());
        for source in ["a", &"a".repeat(63), &"ab-".repeat(20)[..59], &format!("{}-x", "a".repeat(31))] {
            let id = name(source, &run).unwrap();
            assert!(id.as_str().len() <= 63 && id.as_str().starts_with(PREFIX), "{id}");
        }
    }
}
