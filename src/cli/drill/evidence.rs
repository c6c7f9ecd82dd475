//! `drill list --year`, `drill report`, `drill annotate`, `drill verify-evidence`: a year of drills for those who were not
//! there.

mod render;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use chrono::NaiveDate;
use clap::Args;

use crate::cli::places::{Seek, Target};
use crate::cli::{Session, now, parse_day};
use crate::drill::annotate::{self, NewNote};
use crate::drill::calendar::{Existing, Period};
use crate::drill::database::Which;
use crate::drill::report::{self, Author, History};
use crate::drill::verify_evidence::{self, Expected, Verdict};
use crate::error::{Error, Kind, Result};
use crate::output::Format;
use crate::rds::account_of;

use render::YearReport;

/// For how long AWS may be asked what else there is: what the vault holds is said all the same.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

const PERIOD: &str = "Period (days in UTC)";

/// From when to when.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct PeriodArgs {
    /// A calendar year
    #[arg(help_heading = PERIOD, long, value_name = "YYYY", conflicts_with_all = ["month", "from_day", "to_day", "last_months"])]
    year: Option<i32>,
    /// A month
    #[arg(help_heading = PERIOD, long, value_name = "YYYY-MM", value_parser = parse_month, conflicts_with_all = ["from_day", "to_day", "last_months"])]
    month: Option<NaiveDate>,
    /// The whole months before this one, so many
    #[arg(help_heading = PERIOD, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=120), conflicts_with_all = ["from_day", "to_day"])]
    last_months: Option<u32>,
    /// The first day, as 2026-01-01 or "30 days ago" [default: the first of January of the last day's year]
    #[arg(help_heading = PERIOD, id = "from_day", long = "from", value_name = "DAY", value_parser = parse_day)]
    from: Option<NaiveDate>,
    /// The last day, as 2026-03-31 or `yesterday` [default: today]
    #[arg(help_heading = PERIOD, id = "to_day", long = "to", value_name = "DAY", value_parser = parse_day)]
    to: Option<NaiveDate>,
}

fn parse_month(text: &str) -> std::result::Result<NaiveDate, String> {
    NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d")
        .map_err(|_| "a month is written as 2026-03".to_owned())
}

impl PeriodArgs {
    /// The period that is meant, if one is.
    pub(super) fn period(&self) -> Result<Option<Period>> {
        let today = now().date_naive();
        if let Some(year) = self.year {
            return Period::of_year(year).map(Some);
        }
        if let Some(month) = self.month {
            return Period::month_of(month).map(Some);
        }
        if let Some(count) = self.last_months {
            return Period::last_months(count, today).map(Some);
        }
        if self.from.is_none() && self.to.is_none() {
            return Ok(None);
        }
        let to = self.to.unwrap_or(today);
        let from = match self.from {
            Some(from) => from,
            None => Period::of_year(chrono::Datelike::year(&to))?.from,
        };
        Period::new(from, to).map(Some)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ReportArgs {
    /// Only drills of these databases
    #[arg(value_name = "DB")]
    databases: Vec<String>,
    #[command(flatten)]
    period: PeriodArgs,
    /// Write the page to this file, and a summary to stdout [default: the page goes to stdout, unless that is a terminal]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Do not ask AWS which databases exist
    #[arg(long)]
    vault_only: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct AnnotateArgs {
    /// Id of the run, as `drill list` shows it
    #[arg(value_name = "RUN")]
    run: String,
    /// What was done, found or decided; with `--sign-off`, the reviewer's comment
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Where the work is tracked
    #[arg(long, value_name = "ID")]
    ticket: Option<String>,
    /// Who is responsible for what follows
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// By when
    #[arg(long, value_name = "YYYY-MM-DD")]
    due: Option<NaiveDate>,
    /// Sign the drill off as this reviewer
    #[arg(long, value_name = "NAME")]
    sign_off: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct VerifyEvidenceArgs {
    /// Only evidence of these databases
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// A head that was kept elsewhere: the chain must contain it; may be repeated
    #[arg(long = "expect-head", value_name = "[SOURCE=]HASH", value_parser = parse_expected)]
    expected: Vec<Expected>,
    /// Heads that were kept elsewhere: the output of `drill verify-evidence --json` of another day
    #[arg(long = "expect-heads", value_name = "FILE")]
    kept: Option<PathBuf>,
}

fn parse_expected(text: &str) -> std::result::Result<Expected, String> {
    let (source, hash) = match text.rsplit_once('=') {
        Some((source, hash)) => (Some(source.to_owned()), hash),
        None => (None, text),
    };
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hash {
        return Err(
            "a head is a SHA-256: 64 hexadecimal digits, as `drill verify-evidence` prints it".to_owned()
        );
    }
    Ok(Expected { source, sha256: hash.to_ascii_lowercase() })
}

/// What `drill list` shows of a period.
pub(super) struct PeriodQuery<'a> {
    pub(super) databases: &'a [String],
    pub(super) period: Period,
    /// AWS is not asked which databases exist.
    pub(super) is_vault_only: bool,
    /// The exit code says whether the period is complete.
    pub(super) is_judged: bool,
}

/// `drill list` over a period.
pub(super) async fn list_period(query: PeriodQuery<'_>, session: &Session) -> Result<Option<Kind>> {
    let PeriodQuery { databases, period, is_vault_only, is_judged } = query;
    let vault = session.vault_to_read()?;
    let history = History::read(&vault, databases)?;
    for record in &history.unreadable {
        session.output.warn(record);
    }
    let existing = list_existing_databases(databases, is_vault_only, session).await;
    let calendar = history.calendar_of(period, existing, now());
    let altered =
        history.findings.iter().map(|finding| format!("`{}`: {}", finding.file, finding.message)).collect();
    let unchained = history.count_unchained(period);
    let evidence = render::Evidence {
        altered,
        is_altered: history.is_altered,
        unchained,
        unreadable: history.unreadable,
    };
    let report = YearReport::new(calendar, evidence, is_judged, now());
    let kind = report.kind();
    session.output.report(&report)?;
    Ok(kind)
}

/// The databases that AWS has and that could be drilled; that it could not be asked is an answer too.
async fn list_existing_databases(only: &[String], vault_only: bool, session: &Session) -> Existing {
    let not_asked = |reason: String| Existing { asked: false, reason: Some(reason), ..Existing::default() };
    if vault_only {
        return Existing { is_left_out: true, ..not_asked("`--vault-only`".to_owned()) };
    }
    let asked = async {
        let targets = session.targets(&[], Seek::ToRead).await?;
        let looking = async |target: Target| {
            let instances = target.aws.instances().await?;
            Ok::<_, Error>((target.aws.region().to_owned(), instances))
        };
        targets.each(session, looking).await
    };
    let looked = match tokio::time::timeout(PATIENCE, asked).await {
        Err(_) => return not_asked(format!("no answer within {} seconds", PATIENCE.as_secs())),
        Ok(Err(error)) => return not_asked(error.chain()),
        Ok(Ok(looked)) => looked,
    };
    let unreached: Vec<String> =
        looked.unreached.iter().map(|one| format!("{}: {}", one.place, one.error)).collect();
    let mut existing = Existing {
        asked: unreached.is_empty(),
        reason: (!unreached.is_empty()).then(|| unreached.join("; ")),
        ..Existing::default()
    };
    let is_meant = |id: &str| only.is_empty() || only.iter().any(|one| one == id);
    for (region, instances) in looked.done {
        let account = instances.iter().find_map(|instance| account_of(&instance.arn)).map(str::to_owned);
        existing.regions.insert(region.clone());
        existing.places.insert((account.clone(), region.clone()));
        let sources = instances
            .iter()
            .filter(|instance| instance.why_no_source().is_none() && is_meant(instance.id.as_str()));
        existing.databases.extend(sources.map(|instance| {
            let (account, region) = (account.clone(), region.clone());
            (Which { id: instance.id.to_string(), account, region }, instance.created_at)
        }));
    }
    existing
}

pub(super) async fn show_report(args: &ReportArgs, session: &Session) -> Result<Option<Kind>> {
    let period = args.period.period()?.ok_or_else(|| {
        Error::request("a report needs a period")
            .hint("For example `--year 2026`, or `--from 2026-01-01 --to 2026-03-31`.")
    })?;
    let vault = session.vault_to_read()?;
    let existing = list_existing_databases(&args.databases, args.vault_only, session).await;
    let author = Author {
        by: crate::cli::user_name(),
        host: crate::cli::host_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let dossier = report::draw_up(&vault, &args.databases, (period, existing), author, now())?;
    for record in &dossier.unreadable {
        session.output.warn(record);
    }
    let kind = kind_of(dossier.integrity.verdict);
    if kind.is_some() {
        session.output.warn("the evidence was changed after it was recorded, or could not be read: run `lifeboat drill verify-evidence` to see where");
    }
    let page = report::render_report(&dossier);
    match (&args.output, session.output.format()) {
        (Some(path), _) => {
            write_page(path, &page)?;
            session.output.say(format!("the page is in `{}`", path.display()));
            session.output.report(&dossier)?;
        }
        (None, Format::Json) => session.output.report(&dossier)?,
        // A person cannot read HTML; a pipe or a file takes it.
        (None, Format::Text) if std::io::stdout().is_terminal() => {
            session.output.report(&dossier)?;
            session.output.say("the page itself is written with `--output FILE`, or to a pipe");
        }
        (None, Format::Text) => session.output.report(&render::Html(page))?,
    }
    Ok(kind)
}

/// Written completely or not at all, so that nobody gets half a report.
fn write_page(path: &std::path::Path, page: &str) -> Result<()> {
    use std::io::Write as _;
    let failed = |error: std::io::Error| {
        Error::request(format!("cannot write `{}`", path.display()))
            .caused_by(error)
            .hint("Name a file in a directory that exists and that you may write to.")
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(std::path::Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(page.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

pub(super) fn annotate_drill(args: AnnotateArgs, session: &Session) -> Result<Option<Kind>> {
    let wanted = NewNote {
        note: args.note,
        ticket: args.ticket,
        owner: args.owner,
        due: args.due,
        reviewer: args.sign_off,
        by: crate::cli::user_name(),
        host: crate::cli::host_name(),
    };
    let note = annotate::add_note(&session.vault()?, &args.run, wanted, now())?;
    session.output.report(&note)?;
    Ok(None)
}

pub(super) fn show_verification(args: &VerifyEvidenceArgs, session: &Session) -> Result<Option<Kind>> {
    let mut expected = args.expected.clone();
    if let Some(path) = &args.kept {
        let text = std::fs::read(path)
            .map_err(|error| Error::request(format!("cannot read `{}`", path.display())).caused_by(error))?;
        let kept = verify_evidence::read_expected_heads(&text)?;
        expected.extend(kept.into_iter().filter(|head| {
            args.sources.is_empty()
                || head.source.as_ref().is_some_and(|source| args.sources.contains(source))
        }));
    }
    let report =
        verify_evidence::verify_evidence(&session.vault_to_read()?, &args.sources, &expected, now())?;
    session.output.report(&report)?;
    Ok(kind_of(report.verdict))
}

fn kind_of(verdict: Verdict) -> Option<Kind> {
    match verdict {
        Verdict::Intact | Verdict::Unchained => None,
        Verdict::Unknown => Some(Kind::Outside),
        Verdict::Altered => Some(Kind::No),
    }
}
