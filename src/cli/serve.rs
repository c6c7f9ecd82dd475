//! `lifeboat serve`: its flags, and how requests become what `backup` understands.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::backup::{asked, audited};
use super::{Session, now};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::output::{Page, Report};
use crate::server::tokens::{self, Scope, Token};
use crate::server::{Objectives, Orders, Server};
use crate::words::Tone;

/// A day and an hour: a daily backup is never later than that, and never flaps.
const USUAL_RPO: Duration = Duration::from_secs(25 * 3600);

/// Serve the REST API and the dashboard.
///
/// On 127.0.0.1 nobody needs a token. On any other address everybody does: add one first, with `serve token add`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ServeArgs {
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: String,
    #[command(flatten)]
    access: asked::AccessArgs,
    #[command(subcommand)]
    command: Option<ServeCommand>,
}

#[derive(Debug, Subcommand)]
enum ServeCommand {
    /// Say who may call from elsewhere, and what they may do.
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token. It is shown once, and kept nowhere.
    Add(AddArgs),
    /// List the tokens.
    List,
    /// End a token: the next call with it is refused.
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
struct AddArgs {
    /// What it is called in the audit log
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is good for; may be repeated, or a list with commas
    #[arg(long = "scope", value_enum, value_name = "SCOPE", value_delimiter = ',', default_value = "read")]
    scopes: Vec<Scope>,
}

#[derive(Args, Debug)]
struct RevokeArgs {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) async fn run(args: ServeArgs, session: &Arc<Session>) -> Result<Option<Kind>> {
    match args.command {
        None => serve(&args.listen, args.access, session).await,
        Some(ServeCommand::Token(command)) => token(command, session),
    }
}

async fn serve(listen: &str, access: asked::AccessArgs, session: &Arc<Session>) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let address = address(listen)?;
    let server = Server::open(address, session.vault()?, orders(access, session)?, interrupt)?;
    if server.interrupted > 0 {
        let jobs = if server.interrupted == 1 { "job was" } else { "jobs were" };
        session.output.warn(format!("{} {jobs} broken off when the last server died", server.interrupted));
    }
    let url = format!("http://{}", server.address()?);
    session.output.report(&Listening { schema: "lifeboat.serve/1", url })?;
    server.run().await?;
    session.output.say("stopped");
    Ok(None)
}

fn address(text: &str) -> Result<SocketAddr> {
    let wrong = || {
        Error::request(format!("`{}` is not an address to listen on", text.escape_default()))
            .hint("Write it as 127.0.0.1:5000, [::1]:5000 or 0.0.0.0:5000.")
    };
    let text = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    let found = text.to_socket_addrs().map_err(|error| wrong().caused_by(error))?;
    // Of a name with several addresses, one that every client has.
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(wrong)
}

fn orders(access: asked::AccessArgs, session: &Arc<Session>) -> Result<Orders> {
    let desk = Arc::new(asked::Desk::new(access, Arc::clone(session)));
    let (create, prune, restore, means) =
        (Arc::clone(&desk), Arc::clone(&desk), Arc::clone(&desk), Arc::clone(&desk));
    let settings = Arc::clone(session);
    let fleet: crate::server::Fleet = {
        let session = Arc::clone(session);
        Arc::new(move || {
            let session = Arc::clone(&session);
            Box::pin(async move { super::status::of_fleet(&session).await })
        })
    };
    Ok(Orders {
        databases: desk.databases(),
        usual: desk.usual(),
        reached: desk.reached(),
        create: Box::new(move |wanted| create.create(wanted)),
        prune: Box::new(move |made, vault| prune.prune(made, vault)),
        restore: Box::new(move |name| restore.restore(name)),
        means: Box::new(move || means.means()),
        fleet: is_region_settled(session).then_some(fleet),
        objectives: Box::new(move |database| {
            let drill = settings.config.drill_of(database);
            Objectives { rto: drill.rto, rpo: drill.rpo.unwrap_or(USUAL_RPO) }
        }),
        clock: now,
        host: super::drill::host(),
    })
}

/// Whether somebody has said in which Region the DB instances are.
fn is_region_settled(session: &Session) -> bool {
    !session.config.accounts.is_empty()
        || session.access.region.is_some()
        || !super::unset("AWS_REGION")
        || !super::unset("AWS_DEFAULT_REGION")
}

/// What is said when it answers.
#[derive(Serialize)]
struct Listening {
    schema: &'static str,
    url: String,
}

impl Report for Listening {
    fn render(&self, page: &mut Page) {
        page.line(format!("listening on {}", page.toned(Tone::Strong, &self.url)));
    }
}

fn token(command: TokenCommand, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault()?;
    match command {
        TokenCommand::Add(args) => {
            let token = audited::act(session, &vault, ("token add", &args.name), || {
                tokens::add(&vault, &args.name, &args.scopes, now())
            })?;
            session.output.report(&Added {
                schema: "lifeboat.token/1",
                name: args.name,
                scopes: args.scopes,
                token,
            })?;
            session.output.say("It is shown this once, and kept nowhere: put it where its user finds it.");
        }
        TokenCommand::List => {
            session.output.report(&Tokens { schema: "lifeboat.tokens/1", tokens: tokens::list(&vault)? })?;
        }
        TokenCommand::Revoke(args) => {
            let revoked = audited::act(session, &vault, ("token revoke", &args.name), || {
                tokens::revoke(&vault, &args.name)
            })?;
            session.output.report(&Tokens { schema: "lifeboat.tokens/1", tokens: tokens::list(&vault)? })?;
            session.output.say(format!("`{}` is refused from now on", revoked.name));
        }
    }
    Ok(None)
}

#[derive(Serialize)]
struct Added {
    schema: &'static str,
    name: String,
    scopes: Vec<Scope>,
    token: String,
}

impl Report for Added {
    fn render(&self, page: &mut Page) {
        page.verbatim(&self.token);
    }
}

#[derive(Serialize)]
struct Tokens {
    schema: &'static str,
    tokens: Vec<Token>,
}

impl Report for Tokens {
    fn render(&self, page: &mut Page) {
        if self.tokens.is_empty() {
            page.line("no tokens");
        }
        let words = |token: &Token| {
            let words: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
            words.join(", ")
        };
        let rows = self.tokens.iter().map(|token| {
            let made = token.created_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            vec![(token.name.clone(), None), (words(token), None), (made, Some(Tone::Faint))]
        });
        page.table(&["token", "scopes", "made"], rows.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_the_api_says_the_server_has_are_flags_of_the_server() {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let global = ["--vault"];
        for flag in crate::server::words::OF_THE_SERVER {
            let is_its = command.get_arguments().any(|it| it.get_long() == flag.strip_prefix("--"));
            assert!(is_its || global.contains(&flag), "{flag}");
        }
    }
}
