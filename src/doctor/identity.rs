//! Credentials: who we are, from which source, for how long; and the clock, on which signatures and ages depend.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Check, Outcome, Task};
use crate::aws::{Access, Aws, Failure};
use crate::error::{Error, Kind};
use crate::rds::Place;

/// Credentials that expire within this time get a warning: a drill of a large database takes hours.
const SOON: TimeDelta = TimeDelta::hours(1);

/// The result of logging in to an account and Region.
#[derive(Debug)]
pub(crate) struct Login {
    /// The connection, if AWS knows us.
    pub aws: Option<Aws>,
    /// The ARN of who we are.
    pub caller: String,
    /// What was seen on the way.
    pub checks: Vec<Check>,
}

/// Logs in: finds credentials, assumes the role if there is one, and asks AWS who that is.
pub(crate) async fn log_in(access: &Access, now: DateTime<Utc>) -> Login {
    let place = Place { account: access.account.clone(), region: access.region.clone().unwrap_or_default() };
    let failed = |check: Check| Login { aws: None, caller: String::new(), checks: vec![check] };
    let aws = match Aws::connect(access).await {
        Ok(aws) => aws,
        Err(error) => return failed(not_connected(access, &error).at(&place)),
    };
    let place = aws.location();
    let mut checks = Vec::new();
    if let Ok(who) = aws.who().await {
        let mut message = format!("from {}, access key …{}", who.source, who.key_ending);
        let mut verdict = Outcome::Pass;
        match who.expires {
            None => message.push_str(", without expiry"),
            Some(at) => {
                message.push_str(&format!(", valid until {}", crate::when::format_time(at)));
                let is_renewed = access.role.is_some() || !who.source.contains("environment");
                if at - now < SOON && !is_renewed {
                    verdict = Outcome::Warning;
                    message.push_str(": they may expire before a drill ends");
                }
            }
        }
        let mut check = Check::new("credentials", "credentials", verdict, message).at(&place);
        if verdict == Outcome::Warning {
            check = check.mended_by("Use a profile or a role, whose credentials are renewed while it runs.");
        }
        checks.push(check.for_tasks(&Task::OF_AWS));
    }
    match aws.caller().await {
        Ok(caller) => {
            let check =
                Check::new("credentials", "identity", Outcome::Pass, format!("authenticated as {caller}"));
            checks.push(check.at(&place).for_tasks(&Task::OF_AWS));
            Login { aws: Some(aws), caller, checks }
        }
        Err(failure) => {
            checks.push(unknown_to_aws(&failure).at(&place).for_tasks(&Task::OF_AWS));
            // The network is still checked; nothing else can be.
            let is_refused = failure.code.is_some();
            Login { aws: (!is_refused).then_some(aws), caller: String::new(), checks }
        }
    }
}

fn not_connected(access: &Access, error: &Error) -> Check {
    let usual = || std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
    let profile = access.profile.clone().or_else(usual);
    let code = match (&access.role, error.to_string()) {
        (Some(_), text) if text.contains("could not be assumed") => "role",
        (_, text) if text.contains("Region") => "region",
        (_, text) if text.contains("endpoint") => "endpoint",
        _ if profile.is_some() => "profile",
        _ => "credentials",
    };
    let mut message = error.chain();
    if let (Some(profile), "profile") = (&profile, code) {
        message = format!("profile `{}`: {message}", profile.escape_default());
    }
    let verdict = if error.kind() == Kind::Bug { Outcome::Unknown } else { Outcome::Fail };
    let check = Check::new("credentials", code, verdict, message).for_tasks(&Task::OF_AWS);
    match (code, error.hints().first()) {
        ("profile", _) => check.mended_by(
            "`aws configure list-profiles` lists the profiles: correct `--profile`, AWS_PROFILE or ~/.aws/config. If the SSO \
             session has expired, run `aws sso login`.",
        ),
        (_, Some(hint)) => check.mended_by(hint),
        (_, None) => check,
    }
}

fn unknown_to_aws(failure: &Failure) -> Check {
    let Some(code) = failure.code.as_deref() else {
        let message = format!("the caller's identity could not be determined: {}", failure.message);
        return Check::new("credentials", "identity", Outcome::Unknown, message)
            .mended_by("See the checks of the network.");
    };
    let remedy = match code {
        "ExpiredToken" | "ExpiredTokenException" => {
            "They have expired: log in again (`aws sso login`), or get new ones."
        }
        "SignatureDoesNotMatch" | "RequestTimeTooSkewed" | "RequestExpired" => {
            "The secret access key does not belong to the access key id, or this machine's clock is wrong."
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "AWS does not know the access key id: it was deleted, mistyped, or belongs to another partition."
        }
        _ => "sts:GetCallerIdentity needs no permission: look for an explicit deny, and check the endpoint.",
    };
    let message = format!("AWS refuses the credentials: {} ({code})", failure.message.trim_end_matches('.'));
    Check::new("credentials", "identity", Outcome::Fail, message).mended_by(remedy)
}

/// This machine's clock against AWS's. `asked` is AWS after it has answered something.
pub(crate) fn clock(asked: &Aws, here: DateTime<Utc>) -> Check {
    let there = asked.now(here);
    let off = here - there;
    let check =
        |verdict, message: String| Check::new("clock", "clock", verdict, message).for_tasks(&Task::ALL);
    if !asked.has_told_time() {
        return check(Outcome::Unknown, "AWS did not report the time".to_owned())
            .mended_by("Run it again when AWS answers.");
    }
    if asked.clock_is_off_by(here).is_none() {
        return check(
            Outcome::Pass,
            format!("agrees with AWS's to within {} s", off.num_seconds().abs() + 1),
        );
    }
    let way = if off > TimeDelta::zero() { "ahead of" } else { "behind" };
    let amount = match off.num_minutes().abs() {
        minutes @ ..=180 => format!("{minutes} minutes"),
        minutes => format!("{} hours", (minutes + 30) / 60),
    };
    check(Outcome::Fail, format!("this machine's clock is {amount} {way} AWS's: AWS rejects its signatures, and names and dates of backups are wrong"))
        .mended_by("Synchronize it: `timedatectl set-ntp true`, or `chronyc makestep`.")
}
