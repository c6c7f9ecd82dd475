//! Which server and which database a connection string means here: what it says, then the service file, then the `PG…`
//! variables, then libpq's defaults (PostgreSQL documentation, "Database Connection Control Functions").
//!
//! Stricter than libpq in one point: where nothing says how the connection is protected, a certificate is demanded of
//! every server that is not on this machine.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::parameters::{self, Role};
use super::password::{PassFile, Password};
use super::server::{ConnectionOptions, Server, is_socket};
use super::tls::{ClientCertificate, Tls, TlsMode, TlsVersion};
use super::url::{self, unsupported};
use crate::error::{Error, Result};
use crate::words::quote_names;

/// A database, or all databases of a server, and who we are there.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The server.
    pub server: Server,
    /// The database that is named.
    pub database: Option<String>,
    /// Whether something says how the connection is protected, and what does.
    pub tls_said_by: TlsSaidBy,
    /// What one may want to know.
    pub note: Option<String>,
    /// What is not as it should be, such as a password file that others can read.
    pub warnings: Vec<String>,
    /// The other servers that may be meant, in their order; the first is `server`.
    others: Vec<Server>,
    session_attributes: SessionAttributes,
}

/// What says how a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsSaidBy {
    /// The connection string, or the service that it names.
    Written,
    /// PGSSLMODE.
    Environment,
    /// Nothing: it is the default.
    Nothing,
}

/// What a server must be for the connection to count: libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SessionAttributes {
    #[default]
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// Where the socket of a server on this machine is: where Debian's and Red Hat's libpq look, and where upstream's does.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// What said a value, so that an error can name it.
#[derive(Clone, Debug)]
enum Origin {
    Written,
    Service(String),
    Variable(&'static str),
}

/// Values by libpq's names, each with what said it.
struct Settings(std::collections::BTreeMap<&'static str, (String, Origin)>);

impl Settings {
    fn gather(text: &str, environment: &Environment) -> Result<(Self, Vec<String>)> {
        let url::Written { mut values, ignored } =
            if text.is_empty() { url::Written::default() } else { url::parse(text)? };
        let mut settings = std::collections::BTreeMap::new();
        let service = values.remove("service").filter(|name| !name.is_empty());
        let file = values.remove("servicefile");
        for (name, value) in values {
            settings.insert(name, (value, Origin::Written));
        }
        if let Some(service) = service.as_deref().or(environment.variable("PGSERVICE")) {
            for (name, value) in environment.service(service, file.as_deref())? {
                settings.entry(name).or_insert((value, Origin::Service(service.to_owned())));
            }
        }
        for (name, variable) in parameters::in_environment() {
            let Some(value) = environment.variable(variable) else { continue };
            match parameters::role_of(name) {
                Some((_, Role::Obeyed)) => {
                    settings.entry(name).or_insert((value.to_owned(), Origin::Variable(variable)));
                }
                Some((_, Role::Unsupported)) => return Err(unsupported(&format!("the variable {variable}"))),
                _ => {}
            }
        }
        if environment.variable("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            settings.entry("sslmode").or_insert(("require".to_owned(), Origin::Variable("PGREQUIRESSL")));
        }
        Ok((Settings(settings), ignored))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// An empty value of a connection string is an error where libpq has no meaning for it.
    fn word(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.as_str())
    }

    /// What said the value, for people.
    fn subject(&self, name: &str) -> String {
        match self.0.get(name).map(|(_, origin)| origin) {
            Some(Origin::Variable(variable)) => (*variable).to_owned(),
            Some(Origin::Service(service)) => format!("`{name}` of service `{}`", service.escape_default()),
            Some(Origin::Written) | None => format!("`{name}` of the connection URL"),
        }
    }

    fn wrong(&self, name: &str, why: &str) -> Error {
        Error::request(format!("{} {why}", self.subject(name))).hint("Correct the value, or leave it out.")
    }

    /// One of several words.
    fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>> {
        let Some(value) = self.word(name) else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(self.wrong(name, &format!("is none of {}", words.join(", "))))
            }
        }
    }
}

impl Target {
    /// One database of a server that is known.
    pub(crate) fn of_database(server: Server, database: &str) -> Self {
        Target {
            server,
            database: Some(database.to_owned()),
            tls_said_by: TlsSaidBy::Written,
            note: None,
            warnings: Vec::new(),
            others: Vec::new(),
            session_attributes: SessionAttributes::Any,
        }
    }

    /// What a connection string means to this process.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Target::resolve(text, &Environment::of_process())
    }

    /// What the environment alone means, as for `psql` without arguments.
    pub(crate) fn of_environment() -> Result<Self> {
        Target::resolve("", &Environment::of_process())
    }

    /// A login on a server whose address is known, with the password that the environment or the password file has for it.
    pub(crate) fn of_login(host: &str, port: u16, user: &str) -> Server {
        let environment = Environment::of_process();
        let place = host_of(host.to_owned(), None, port);
        let settings = Settings(std::collections::BTreeMap::from_iter(
            ["PGPASSWORD", "PGPASSFILE"].into_iter().zip(["password", "passfile"]).filter_map(
                |(variable, name)| {
                    let value = environment.variable(variable)?.to_owned();
                    Some((name, (value, Origin::Variable(variable))))
                },
            ),
        ));
        let passfile = PassFiles::of(&settings, &environment, &mut Vec::new()).of_server(&place, user);
        Server {
            host: place.host,
            port,
            user: user.to_owned(),
            password: settings.get("password").map(Password::new),
            tls: Tls::default(),
            application_name: "lifeboat".to_owned(),
            wire: ConnectionOptions::with_passfile(passfile),
        }
    }

    /// What a connection string means in an environment.
    pub(crate) fn resolve(text: &str, environment: &Environment) -> Result<Self> {
        let (settings, ignored) = Settings::gather(text, environment)?;
        let (mut note, mut warnings) = (None, Vec::new());
        if !ignored.is_empty() {
            let (names, verb) = (
                quote_names(&ignored),
                if ignored.len() == 1 {
                    "is for the application and changes"
                } else {
                    "are for the application and change"
                },
            );
            note = Some(format!("{names} in the connection URL {verb} nothing here"));
        }
        if settings.get("gssencmode") == Some("require") {
            return Err(unsupported(&format!(
                "{}=require (GSSAPI encryption)",
                settings.subject("gssencmode")
            )));
        }
        let user = match settings.word("user") {
            Some(user) if !user.is_empty() => user.to_owned(),
            Some(_) | None => environment.account.clone().ok_or_else(|| {
                Error::request(
                    "the connection URL names no user, and this process runs under an account without a name",
                )
                .hint("Write the user into the URL, or set PGUSER.")
            })?,
        };
        let database = settings.get("dbname").map(str::to_owned);
        let places = list_hosts(&settings)?;
        let (tls, tls_said_by) = resolve_tls(&settings, environment, &places)?;
        let passwords = PassFiles::of(&settings, environment, &mut warnings);
        let wire = read_connection_options(&settings)?;
        let password = settings.get("password").map(Password::new);
        let servers = places.into_iter().map(|place| {
            let passfile = match &password {
                Some(_) => Vec::new(),
                None => passwords.of_server(&place, &user),
            };
            Server {
                host: place.host,
                port: place.port,
                user: user.clone(),
                password: password.clone(),
                tls: tls.clone(),
                application_name: "lifeboat".to_owned(),
                wire: ConnectionOptions {
                    address: place.address,
                    passfile,
                    named_database: database.clone(),
                    ..wire.clone()
                },
            }
        });
        let mut servers: Vec<Server> = servers.collect();
        if settings.one_of("load_balance_hosts", &[("disable", false), ("random", true)])? == Some(true) {
            rand::seq::SliceRandom::shuffle(servers.as_mut_slice(), &mut rand::rng());
        }
        let session_attributes = settings
            .one_of(
                "target_session_attrs",
                &[
                    ("any", SessionAttributes::Any),
                    ("read-write", SessionAttributes::ReadWrite),
                    ("read-only", SessionAttributes::ReadOnly),
                    ("primary", SessionAttributes::Primary),
                    ("standby", SessionAttributes::Standby),
                    ("prefer-standby", SessionAttributes::PreferStandby),
                ],
            )?
            .unwrap_or_default();
        let others = servers.split_off(1);
        let server = servers.remove(0);
        Ok(Target { server, database, tls_said_by, note, warnings, others, session_attributes })
    }

    /// Whether several servers may be meant, or one only if it is what is asked for.
    pub(crate) fn is_a_choice(&self) -> bool {
        !self.others.is_empty() || self.session_attributes != SessionAttributes::Any
    }

    /// Every server that may be meant, in the order in which libpq tries them.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.server).chain(&self.others)
    }

    /// Changes every server that may be meant.
    pub(crate) fn for_each_server(&mut self, change: impl Fn(&mut Server)) {
        std::iter::once(&mut self.server).chain(&mut self.others).for_each(change);
    }

    /// Connects to one server after the other, as libpq does, and keeps the first that lets us in and is what is asked for:
    /// all connections of a run must reach the same one.
    pub(crate) async fn choose_server(mut self) -> Result<Self> {
        if !self.is_a_choice() {
            return Ok(self);
        }
        let database = self.database.clone().unwrap_or_else(|| self.server.user.clone());
        let rounds = match self.session_attributes {
            SessionAttributes::PreferStandby => vec![SessionAttributes::Standby, SessionAttributes::Any],
            asked => vec![asked],
        };
        let all: Vec<Server> = self.servers().cloned().collect();
        let mut failures = Vec::new();
        for asked in rounds {
            for server in &all {
                let session = match server.connect_plainly(&database).await {
                    Ok(session) => session,
                    // As libpq: a server that is not there or is starting is passed over, one that refuses us is not.
                    Err(failure) if failure.lets_another_try() => {
                        failures.push(failure.error.chain());
                        continue;
                    }
                    Err(failure) => return Err(failure.error),
                };
                if is_what_is_asked(&session, asked).await? {
                    self.server = server.clone();
                    self.others.clear();
                    self.session_attributes = SessionAttributes::Any;
                    return Ok(self);
                }
                failures.push(format!("{} is not what `target_session_attrs` asks for", server.place()));
            }
        }
        Err(Error::outside("none of the servers of the connection URL can be used")
            .caused_by(failures.join("; "))
            .hint("Each was tried in its order; correct the hosts, or `target_session_attrs`."))
    }

    /// The URL without its password, for people, and for whoever gives it to psql or to us again.
    pub(crate) fn display_url(&self) -> String {
        self.server.url(self.database.as_deref().unwrap_or_default())
    }
}

async fn is_what_is_asked(session: &super::Session, asked: SessionAttributes) -> Result<bool> {
    let state = session
        .texts("select current_setting('transaction_read_only') = 'on', pg_catalog.pg_is_in_recovery()")
        .await?;
    let is_true = |column: usize| {
        state.first().and_then(|row| row.get(column)?.as_deref().map(|text| text == "t")).unwrap_or(false)
    };
    let (is_read_only, is_standby) = (is_true(0), is_true(1));
    Ok(match asked {
        SessionAttributes::Any | SessionAttributes::PreferStandby => true,
        SessionAttributes::ReadWrite => !is_read_only && !is_standby,
        SessionAttributes::ReadOnly => is_read_only || is_standby,
        SessionAttributes::Primary => !is_standby,
        SessionAttributes::Standby => is_standby,
    })
}

/// Where one server is.
struct Host {
    host: String,
    /// libpq's `hostaddr`: where to connect to, in place of the host's own address.
    address: Option<String>,
    port: u16,
    /// What lines of the password file call it.
    in_passfile: Vec<String>,
}

fn list_hosts(settings: &Settings) -> Result<Vec<Host>> {
    let list = |name: &str| -> Vec<String> {
        settings.get(name).map_or(Vec::new(), |text| text.split(',').map(str::to_owned).collect())
    };
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len()).max(1);
    let counted = |name: &str, found: usize| {
        let why = format!("has {found} values, and there are {count} hosts");
        Err(settings.wrong(name, &why))
    };
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return counted("hostaddr", addresses.len());
    }
    if ports.len() > 1 && ports.len() != count {
        return counted("port", ports.len());
    }
    (0..count)
        .map(|index| {
            let port = ports.get(index).or(ports.first().filter(|_| ports.len() == 1)).map(|port| port.trim());
            let port = match port {
                None | Some("") => 5432,
                Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                    settings.wrong("port", "is not a number from 1 to 65535").hint(
                        "If a password holds `@`, `:`, `/` or `?`, write them as `%40`, `%3A`, `%2F` and `%3F`.",
                    )
                })?,
            };
            let host = hosts.get(index).cloned().unwrap_or_default();
            let address = addresses.get(index).cloned().filter(|address| !address.is_empty());
            Ok(host_of(host, address, port))
        })
        .collect()
}

fn host_of(host: String, address: Option<String>, port: u16) -> Host {
    match (host.as_str(), address) {
        // Without a name, the address is what a certificate must be for.
        ("", Some(address)) => {
            // The documentation has libpq look for the address; it looks for `localhost`.
            let in_passfile = vec!["localhost".to_owned(), address.clone()];
            Host { host: address, address: None, port, in_passfile }
        }
        ("", None) => {
            Host { host: socket_folder(port), address: None, port, in_passfile: vec!["localhost".to_owned()] }
        }
        (folder, _) if is_socket(folder) => {
            let is_usual =
                SOCKET_FOLDERS.iter().any(|usual| *usual == folder && *usual == socket_folder(port));
            let in_passfile = if is_usual { "localhost".to_owned() } else { folder.to_owned() };
            Host { host, address: None, port, in_passfile: vec![in_passfile] }
        }
        (_, address) => Host { in_passfile: vec![host.clone()], host, address, port },
    }
}

/// Where a server on this machine has its socket. Without any, the first place: no other database is taken in its stead.
fn socket_folder(port: u16) -> String {
    let has_socket = |folder: &&&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    let exists = |folder: &&&str| Path::new(folder).is_dir();
    let found = SOCKET_FOLDERS.iter().find(has_socket).or_else(|| SOCKET_FOLDERS.iter().find(exists));
    found.map_or(SOCKET_FOLDERS[0], |folder| *folder).to_owned()
}

/// Whether traffic to this host leaves the machine.
fn is_this_machine(place: &Host) -> bool {
    let host = place.address.as_deref().unwrap_or(&place.host);
    is_socket(host)
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn resolve_tls(settings: &Settings, environment: &Environment, places: &[Host]) -> Result<(Tls, TlsSaidBy)> {
    let mode = settings.one_of(
        "sslmode",
        &[
            ("disable", TlsMode::Disable),
            ("allow", TlsMode::Allow),
            ("prefer", TlsMode::Prefer),
            ("require", TlsMode::Require),
            ("verify-ca", TlsMode::VerifyCa),
            ("verify-full", TlsMode::VerifyFull),
        ],
    )?;
    let said_by = match settings.0.get("sslmode").map(|(_, origin)| origin) {
        None => TlsSaidBy::Nothing,
        Some(Origin::Variable(_)) => TlsSaidBy::Environment,
        Some(Origin::Written | Origin::Service(_)) => TlsSaidBy::Written,
    };
    let by_default = if places.iter().all(is_this_machine) { TlsMode::Prefer } else { TlsMode::VerifyFull };
    let path = |name: &str| settings.get(name).map(PathBuf::from);
    let authorities = path("sslrootcert").or_else(|| environment.file_at_home(".postgresql/root.crt"));
    if authorities.as_deref().is_some_and(|path| path.as_os_str() == "system")
        && mode.is_some_and(|mode| mode != TlsMode::VerifyFull)
    {
        let error =
            settings.wrong("sslmode", "is weaker than verify-full, which `sslrootcert=system` demands");
        return Err(error.hint("Leave `sslmode` out, or write `sslmode=verify-full`."));
    }
    let version = |name: &str| {
        settings.one_of(
            name,
            &[
                ("", None),
                ("TLSv1", Some(TlsVersion::Older)),
                ("TLSv1.1", Some(TlsVersion::Older)),
                ("TLSv1.2", Some(TlsVersion::Tls12)),
                ("TLSv1.3", Some(TlsVersion::Tls13)),
            ],
        )
    };
    let highest = version("ssl_max_protocol_version")?.flatten();
    if highest == Some(TlsVersion::Older) {
        return Err(unsupported(&format!("{} below TLSv1.2", settings.subject("ssl_max_protocol_version"))));
    }
    let key = |name: &str| match settings.get(name) {
        Some(value) if value.starts_with("engine:") => {
            Err(unsupported(&format!("{} from an OpenSSL engine", settings.subject(name))))
        }
        value => Ok(value.map(PathBuf::from)),
    };
    let certificate = path("sslcert").or_else(|| environment.file_at_home(".postgresql/postgresql.crt"));
    let usual_key = || environment.home.as_ref().map(|home| home.join(".postgresql/postgresql.key"));
    let client = match certificate.filter(|certificate| certificate.exists()) {
        Some(certificate) => {
            let key = key("sslkey")?.or_else(usual_key).unwrap_or_default();
            Some(ClientCertificate { certificate, key })
        }
        None => None,
    };
    let direct =
        settings.one_of("sslnegotiation", &[("postgres", false), ("direct", true)])?.unwrap_or_default();
    let mode = mode.unwrap_or(by_default);
    if direct && !matches!(mode, TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull) {
        return Err(settings.wrong("sslnegotiation", "is direct, which needs `sslmode=require` or stricter"));
    }
    let tls = Tls {
        mode,
        authorities,
        client,
        revoked: path("sslcrl").or_else(|| environment.file_at_home(".postgresql/root.crl")),
        hides_name: settings.get("sslsni") == Some("0"),
        lowest: version("ssl_min_protocol_version")?.flatten(),
        highest,
        direct,
    };
    Ok((tls, said_by))
}

fn read_connection_options(settings: &Settings) -> Result<ConnectionOptions> {
    let connect_timeout = match settings.get("connect_timeout").map(str::trim) {
        None => None,
        Some(text) => {
            let seconds: i32 = text
                .parse()
                .map_err(|_| settings.wrong("connect_timeout", "is not a whole number of seconds"))?;
            // Zero and less is no limit to libpq, and one second is two.
            Some(u32::try_from(seconds).unwrap_or(0)).map(|seconds| if seconds == 1 { 2 } else { seconds })
        }
    };
    let channel_binding = settings
        .one_of("channel_binding", &[("disable", "disable"), ("prefer", "prefer"), ("require", "require")])?;
    Ok(ConnectionOptions {
        options: settings.get("options").map(str::to_owned),
        connect_timeout,
        channel_binding,
        ..ConnectionOptions::default()
    })
}

/// The password file, read once.
struct PassFiles(Option<PassFile>);

impl PassFiles {
    fn of(settings: &Settings, environment: &Environment, warnings: &mut Vec<String>) -> Self {
        if settings.get("password").is_some() {
            return PassFiles(None);
        }
        let file = settings.get("passfile").map(PathBuf::from);
        let Some(file) = file.or_else(|| environment.file_at_home(".pgpass")) else { return PassFiles(None) };
        match PassFile::read(&file) {
            Ok(file) => PassFiles(file),
            Err(warning) => {
                warnings.push(warning);
                PassFiles(None)
            }
        }
    }

    fn of_server(&self, place: &Host, user: &str) -> Vec<(String, Password)> {
        let Some(file) = &self.0 else { return Vec::new() };
        place.in_passfile.iter().flat_map(|host| file.passwords_for(host, place.port, user)).collect()
    }
}

#[cfg(test)]
mod tests;
