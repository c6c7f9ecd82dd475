//! Several accounts and Regions at once: where a command looks, where a named database is, and what could not be reached.
//!
//! Without `[[accounts]]` in `lifeboat.toml` there is one place, and nothing here costs a call.

use std::future::Future;

use futures::future::join_all;
use futures::{StreamExt as _, TryStreamExt as _};

use super::Session;
use crate::aws::{Access, Aws, Failure};
use crate::error::{Error, Kind, Result};
use crate::rds::{InstanceId, Place, SnapshotId, Unreached};

/// How many places are looked at together.
const ABREAST: usize = 8;

/// What is to be done with a database that was found while another place could not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seek {
    /// It is only read: to be told that there may be another one of that name is enough.
    ToRead,
    /// It is changed, or something is made of it: it must be certain which one is meant.
    ToChange,
}

/// A place, and the databases that are looked at in it; none named means all.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) aws: Aws,
    pub(super) only: Vec<InstanceId>,
}

/// Where a command looks.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) found: Vec<Target>,
    pub(super) unreached: Vec<Unreached>,
}

/// What came of looking at several places.
#[derive(Debug)]
pub(super) struct Looked<T> {
    /// Of each place that could be looked at, in their order.
    pub(super) done: Vec<T>,
    /// The others.
    pub(super) unreached: Vec<Unreached>,
}

impl<T> Looked<T> {
    /// The exit code where nothing worse is known: what was not looked at is not fine.
    pub(super) fn kind(&self) -> Option<Kind> {
        (!self.unreached.is_empty()).then_some(Kind::Partial)
    }
}

impl Targets {
    /// Does the same in every place. One that fails does not hide the others; where all fail, the first says why.
    pub(super) async fn each<T, F, W>(self, session: &Session, work: F) -> Result<Looked<T>>
    where
        F: Fn(Target) -> W,
        W: Future<Output = Result<T>>,
    {
        let places: Vec<Place> = self.found.iter().map(|target| target.aws.location()).collect();
        let works: Vec<W> = self.found.into_iter().map(&work).collect();
        let ended: Vec<Result<T>> = futures::stream::iter(works).buffered(ABREAST).collect().await;
        let is_alone = places.len() + self.unreached.len() == 1;
        let mut unreached = self.unreached;
        let (done, failed) = sift(places.into_iter().zip(ended), &mut unreached);
        if !is_alone {
            tell(&unreached, session);
        }
        match failed {
            Some(error) if done.is_empty() => Err(error),
            _ => Ok(Looked { done, unreached }),
        }
    }
}

/// Every place that could not be looked at is named.
fn tell(unreached: &[Unreached], session: &Session) {
    for one in unreached {
        session.output.warn(format!("{} could not be reached: {}", one.place, one.error));
    }
}

impl Session {
    /// The accounts and Regions that commands over a fleet span.
    pub(super) fn places(&self) -> Result<Vec<Access>> {
        self.config.list_accesses(&self.access, &self.narrow)
    }

    /// AWS, for what can only be in one place: flags must say which, if there are several.
    pub(super) async fn aws(&self) -> Result<Aws> {
        match self.places()?.as_slice() {
            [only] => Aws::connect(only).await,
            several => Err(Error::request("lifeboat.toml names several accounts and Regions")
                .hint(format!("Choose one: {}.", alternatives(several.iter().map(place_of))))),
        }
    }

    /// Where some databases are; with none named, every place. In one place alone nothing is looked for.
    pub(super) async fn targets(&self, ids: &[InstanceId], seek: Seek) -> Result<Targets> {
        let places = self.places()?;
        if let [only] = places.as_slice() {
            let target = Target { aws: Aws::connect(only).await?, only: ids.to_vec() };
            return Ok(Targets { found: vec![target], unreached: Vec::new() });
        }
        let (reached, unreached) = connect_all(&places).await?;
        if ids.is_empty() {
            let found = reached.into_iter().map(|aws| Target { aws, only: Vec::new() }).collect();
            return Ok(Targets { found, unreached });
        }
        self.locate(ids, reached, unreached, seek).await
    }

    /// The place of one database, which must be the only one of its name.
    pub(super) async fn aws_of(&self, id: &InstanceId, seek: Seek) -> Result<Aws> {
        let targets = self.targets(std::slice::from_ref(id), seek).await?;
        let Some(target) = targets.found.into_iter().next() else {
            return Err(nowhere(&format!("instance `{id}`")));
        };
        tell(&targets.unreached, self);
        Ok(target.aws)
    }

    /// The place of one snapshot, which must be the only one of its name.
    pub(super) async fn aws_of_snapshot(&self, id: &SnapshotId, seek: Seek) -> Result<Aws> {
        let has = |aws: Aws| async move { Ok(aws.snapshot(id).await?.is_some()) };
        self.aws_where(&format!("snapshot `{id}`"), has, seek).await
    }

    /// The place of automated backups: by the name of their instance, which may be gone, or its resource id.
    pub(super) async fn aws_of_backups(&self, name: &str, seek: Seek) -> Result<Aws> {
        let has = |aws: Aws| async move {
            let is_named = |it: &str| it.eq_ignore_ascii_case(name);
            let backups = aws.automated_backups().await?;
            if backups.iter().any(|backup| is_named(&backup.instance) || is_named(&backup.resource_id.0)) {
                return Ok(true);
            }
            // Without backups it is there all the same, and the reason is better said there.
            match InstanceId::parse(name) {
                Ok(id) => Ok(aws.instance(&id).await?.is_some()),
                Err(_) => Ok(false),
            }
        };
        self.aws_where(&format!("`{}`", name.escape_default()), has, seek).await
    }

    /// The only place that has something. In one place alone nothing is looked for.
    async fn aws_where<F, W>(&self, what: &str, has: F, seek: Seek) -> Result<Aws>
    where
        F: Fn(Aws) -> W,
        W: Future<Output = std::result::Result<bool, Failure>>,
    {
        let places = self.places()?;
        if let [only] = places.as_slice() {
            return Aws::connect(only).await;
        }
        let (reached, mut unreached) = connect_all(&places).await?;
        let answers = ask_all(reached, has, &mut unreached).await?;
        let homes = answers.into_iter().filter(|(_, has)| *has).map(|(aws, _)| aws).collect();
        let aws = one_home(what, homes, &unreached, seek)?;
        tell(&unreached, self);
        Ok(aws)
    }

    async fn locate(
        &self,
        ids: &[InstanceId],
        reached: Vec<Aws>,
        mut unreached: Vec<Unreached>,
        seek: Seek,
    ) -> Result<Targets> {
        let names = |aws: Aws| async move {
            match ids {
                [one] => Ok(aws.instance(one).await?.map(|it| it.id).into_iter().collect::<Vec<_>>()),
                _ => Ok(aws.instances().await?.into_iter().map(|it| it.id).collect()),
            }
        };
        let there = ask_all(reached, names, &mut unreached).await?;
        let mut found: Vec<Target> =
            there.iter().map(|(aws, _)| Target { aws: aws.clone(), only: Vec::new() }).collect();
        for id in ids {
            let homes = there.iter().filter(|(_, names)| names.contains(id)).map(|(aws, _)| aws.clone());
            let home = one_home(&format!("instance `{id}`"), homes.collect(), &unreached, seek)?;
            let place = home.location();
            if let Some(target) = found.iter_mut().find(|target| target.aws.location() == place)
                && !target.only.contains(id)
            {
                target.only.push(id.clone());
            }
        }
        found.retain(|target| !target.only.is_empty());
        Ok(Targets { found, unreached })
    }
}

fn place_of(access: &Access) -> Place {
    Place { account: access.account.clone(), region: access.region.clone().unwrap_or_default() }
}

/// Connects everywhere at once. What is wrong with the configuration is an error; so is that nothing can be reached.
async fn connect_all(places: &[Access]) -> Result<(Vec<Aws>, Vec<Unreached>)> {
    let connections = futures::stream::iter(places.iter().map(Aws::connect)).buffered(ABREAST);
    let connections: Vec<Result<Aws>> = connections
        .map(|connection| match connection {
            Err(error) if error.kind() == Kind::Request => Err(error),
            other => Ok(other),
        })
        .try_collect()
        .await?;
    let mut unreached = Vec::new();
    match sift(places.iter().map(place_of).zip(connections), &mut unreached) {
        (reached, Some(error)) if reached.is_empty() => {
            let names = name_places(&unreached);
            Err(Error::outside(format!("none of {names} could be reached")).caused_by(error))
        }
        (reached, _) => Ok((reached, unreached)),
    }
}

/// What each place answers; one that does not joins those that were not reached. Where none does, the first says why.
async fn ask_all<T, F, W>(
    reached: Vec<Aws>,
    question: F,
    unreached: &mut Vec<Unreached>,
) -> Result<Vec<(Aws, T)>>
where
    F: Fn(Aws) -> W,
    W: Future<Output = std::result::Result<T, Failure>>,
{
    let answers = join_all(reached.iter().cloned().map(question)).await;
    let answers = reached
        .into_iter()
        .zip(answers)
        .map(|(aws, answer)| (aws.location(), answer.map(|answer| (aws, answer)).map_err(Error::from)));
    match sift(answers, unreached) {
        (answered, Some(error)) if answered.is_empty() => Err(error),
        (answered, _) => Ok(answered),
    }
}

/// What succeeded, and the first failure. A place that failed joins those that were not reached.
fn sift<T>(
    outcomes: impl Iterator<Item = (Place, Result<T>)>,
    unreached: &mut Vec<Unreached>,
) -> (Vec<T>, Option<Error>) {
    let (mut done, mut first) = (Vec::new(), None);
    for (place, outcome) in outcomes {
        match outcome {
            Ok(it) => done.push(it),
            Err(error) => {
                unreached.push(Unreached { place, error: error.chain() });
                first = first.or(Some(error));
            }
        }
    }
    (done, first)
}

fn name_places(unreached: &[Unreached]) -> String {
    unreached.iter().map(|one| one.place.to_string()).collect::<Vec<_>>().join(", ")
}

/// The only home of something; two are one too many to guess.
fn one_home(what: &str, homes: Vec<Aws>, unreached: &[Unreached], seek: Seek) -> Result<Aws> {
    let unsure = || name_places(unreached);
    let why =
        || unreached.iter().map(|one| format!("{}: {}", one.place, one.error)).collect::<Vec<_>>().join("; ");
    match homes.as_slice() {
        [] if unreached.is_empty() => Err(nowhere(what)),
        [] => Err(Error::outside(format!("{what} was not found, and {} could not be reached", unsure()))
            .caused_by(why())
            .hint("It may be there. Run the command again once that can be reached.")),
        [home] if unreached.is_empty() || seek == Seek::ToRead => Ok(home.clone()),
        [home] => Err(Error::outside(format!(
            "{what} is in {}; {} could not be searched for another one",
            home.location(),
            unsure()
        ))
        .caused_by(why())
        .hint(format!("If this is the right one, run `{}`.", home.location().flags()))),
        several => {
            let places: Vec<Place> = several.iter().map(Aws::location).collect();
            let names: Vec<String> = places.iter().map(ToString::to_string).collect();
            Err(Error::request(format!("{what} is in more than one place: {}", names.join(", ")))
                .hint(format!("Choose one: {}.", alternatives(places.into_iter()))))
        }
    }
}

fn nowhere(what: &str) -> Error {
    Error::request(format!("{what} was not found in any of the accounts and Regions searched"))
        .hint("`lifeboat status` lists the databases of all accounts and Regions of lifeboat.toml.")
}

fn alternatives(places: impl Iterator<Item = Place>) -> String {
    let flags: Vec<String> = places.take(6).map(|place| format!("`{}`", place.flags())).collect();
    flags.join(" or ")
}
