//! What somebody asks of the server as the requests that the same words on the command line would make: the rules about
//! flags, lifeboat.toml and environment are those of `backup create` and `backup restore`, and stand there.

use std::sync::Arc;

use clap::{Args, FromArgMatches};

use super::{CreateArgs, MeansArgs, UrlArgs, manage, plan_prune_after, requests};
use crate::backup::prune::Plan;
use crate::backup::restore::{Destination, Manner};
use crate::backup::{Compression, Manifest, Means, create::Request};
use crate::cli::Session;
use crate::error::{Error, Kind, Result};
use crate::server::{Reached, Wanted};
use crate::vault::Vault;

/// How databases are reached.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct AccessArgs {
    #[command(flatten)]
    means: MeansArgs,
    #[command(flatten)]
    connect: UrlArgs,
}

/// Makes requests.
pub(in crate::cli) struct Desk {
    access: AccessArgs,
    session: Arc<Session>,
}

impl Desk {
    pub(in crate::cli) fn new(access: AccessArgs, session: Arc<Session>) -> Self {
        Desk { access, session }
    }

    /// The databases of lifeboat.toml that can be backed up.
    pub(in crate::cli) fn databases(&self) -> Vec<String> {
        let databases = self.session.config.databases.iter();
        databases.filter(|(_, it)| it.backup.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The one that is meant when none is named: the only one of lifeboat.toml, unless DATABASE_URL names another.
    pub(in crate::cli) fn usual(&self) -> Option<String> {
        let is_named = std::env::var("DATABASE_URL").is_ok_and(|url| !url.trim().is_empty());
        let mut databases = self.databases();
        (!is_named && databases.len() == 1).then(|| databases.remove(0))
    }

    /// What can be backed up from here, and which databases that is.
    pub(in crate::cli) fn reached(&self) -> Vec<Reached> {
        let reached = |named: Option<String>| {
            let wanted = Wanted { database: named.clone(), ..Wanted::default() };
            let request = self.create(&wanted).ok();
            Reached { named, identity: request.map(|it| it.identity(&crate::cli::drill::host())) }
        };
        let mut all: Vec<Reached> = self.databases().into_iter().map(|name| reached(Some(name))).collect();
        if self.usual().is_none() {
            // Where none is meant, there is no such request.
            all.extend(Some(reached(None)).filter(|it| it.identity.is_some()));
        }
        all
    }

    pub(in crate::cli) fn create(&self, wanted: &Wanted) -> Result<Request> {
        let database = wanted.database.clone().or_else(|| self.usual());
        if database.is_none() && !self.databases().is_empty() && std::env::var_os("DATABASE_URL").is_none() {
            return Err(Error::request("it is not said which database is to be backed up")
                .hint(format!("Name one with `database`: `{}`.", self.databases().join("`, `"))));
        }
        let mut words = vec!["create", "--trigger", "api", "--no-wait"];
        words.extend(database.as_deref());
        if let Some(name) = &wanted.name {
            words.extend(["--name", name.as_str()]);
        }
        if wanted.compress == Some(false) {
            words.push("--no-compress");
        }
        let request = self.request(&words)?;
        if wanted.compress == Some(true) && request.packing.compression == Compression::None {
            words.extend(["--compression", "gzip"]);
            return self.request(&words);
        }
        Ok(request)
    }

    fn request(&self, words: &[&str]) -> Result<Request> {
        let mut args: CreateArgs = parsed(words)?;
        args.means = self.access.means.clone();
        args.connect = self.access.connect.clone();
        let mut requests = requests(&args, &self.session)?;
        requests.pop().ok_or_else(|| Error::new(Kind::Bug, "nothing is to be backed up"))
    }

    /// What a new backup makes superfluous.
    pub(in crate::cli) fn prune(&self, made: &Manifest, vault: &Vault) -> Result<Option<Plan>> {
        plan_prune_after(made, vault, &self.session)
    }

    pub(in crate::cli) fn restore(&self, name: &str) -> Result<(Destination, Manner)> {
        let mut args: manage::RestoreArgs = parsed(&["restore", name])?;
        args.means = self.access.means.clone();
        args.connect = self.access.connect.clone();
        Ok((manage::destination(&args, &self.session)?, manage::manner(&args, &self.session)?))
    }

    pub(in crate::cli) fn means(&self) -> Result<Means> {
        self.access.means.means(&self.session)
    }
}

/// Flags with their usual values.
fn parsed<T: Args + FromArgMatches>(words: &[&str]) -> Result<T> {
    let wrong = |error: clap::Error| Error::request("the request cannot be understood").caused_by(error);
    let command = T::augment_args(clap::Command::new("lifeboat"));
    let matches = command.try_get_matches_from(words).map_err(wrong)?;
    T::from_arg_matches(&matches).map_err(wrong)
}
