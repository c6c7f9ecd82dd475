//! Which backups are of one database, so that one may make another superfluous.
//!
//! Retention removes a backup because newer ones of *the same* database exist; where two databases are taken for one, the
//! only good copy of the second goes. So what is not known to be the same is kept apart, at the price of a copy too many:
//!
//! | database | is the same if |
//! |---|---|
//! | one that was given an id (`--database-id`) | the id is the same, wherever it is |
//! | PostgreSQL | the system identifier of the cluster, the address and the name are the same; an address of this machine counts together with its host name |
//! | SQLite | the host name is the same, and the path or the file: one that was moved is known again |
//!
//! The host name that a container is given at its start says nothing. There a cluster is known by its system identifier, and a
//! SQLite file by its file system, its inode and the time of its birth, which outlive the container on a volume.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::manifest::{Manifest, Origin};
use super::source::DatabaseType;

/// What makes a database the same as another: see [`Identity::is_same_as`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub(crate) struct Identity {
    /// The name that retention and statistics group by.
    database: String,
    kind: DatabaseType,
    given: Option<String>,
    /// `host:port` of a server.
    server: Option<String>,
    /// The database on the server, or the path of the file.
    name: String,
    /// The host, where it counts.
    host: Option<String>,
    /// What the cluster or the file is known by, where that counts.
    physical: Option<String>,
    /// What a file is known by that has a place as well.
    file: Option<String>,
}

impl Identity {
    /// The identity of the database that a backup is of.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        Self::from_origin(manifest.database_type, &manifest.source, &manifest.made_by.host)
    }

    /// The identity of a database that is reached from `host`.
    pub(super) fn from_origin(kind: DatabaseType, source: &Origin, host: &str) -> Self {
        let host = Some(host.to_owned()).filter(|host| !is_given_at_start(host));
        let mut identity = Identity {
            database: source.database.clone(),
            kind,
            given: source.database_id.clone(),
            server: source.server.clone(),
            name: source.dbname.clone().or(source.path.clone()).unwrap_or_default(),
            host: None,
            physical: None,
            file: None,
        };
        match kind {
            _ if identity.given.is_some() => (identity.server, identity.name) = (None, String::new()),
            DatabaseType::Postgresql => {
                let is_local = source.server.as_deref().is_some_and(is_this_machine);
                identity.host = host.filter(|_| is_local);
                identity.physical = source.system_identifier.clone();
            }
            DatabaseType::Sqlite => {
                identity.physical = source.file_id.clone().filter(|_| host.is_none());
                identity.file = source.file_id.clone().filter(|_| host.is_some());
                identity.host = host;
            }
        }
        identity
    }

    /// Whether both are one database.
    pub(crate) fn is_same_as(&self, other: &Identity) -> bool {
        let is_one_file = self.file.is_some() && self.file == other.file;
        self.place_key() == other.place_key()
            && self.physical == other.physical
            && (self.name == other.name || is_one_file)
    }

    /// Whether both are said to be at one place: what is known only of a database that was reached is left aside.
    pub(crate) fn is_at_the_place_of(&self, other: &Identity) -> bool {
        self.place_key() == other.place_key() && self.name == other.name
    }

    fn place_key(&self) -> (&str, DatabaseType, &Option<String>, &Option<String>, &Option<String>) {
        (&self.database, self.kind, &self.given, &self.server, &self.host)
    }

    /// The name that retention and statistics group by.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Kind of database.
    pub(crate) fn kind(&self) -> DatabaseType {
        self.kind
    }

    /// What tells it from other databases of its name: where it is, or the id that it was given.
    pub(crate) fn distinction(&self) -> String {
        if let Some(id) = &self.given {
            return format!("id {id}");
        }
        let mut parts = match (&self.server, self.kind) {
            (Some(server), _) => vec![format!("{} at {server}", self.name)],
            (None, _) => vec![self.name.clone()],
        };
        parts.extend(self.host.as_ref().map(|host| format!("on {host}")));
        match (&self.physical, self.kind) {
            (Some(id), DatabaseType::Postgresql) => parts.push(format!("cluster {id}")),
            (Some(id), DatabaseType::Sqlite) => parts.push(format!("file {id}")),
            (None, _) => {}
        }
        parts.join(", ")
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.database, self.distinction())
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.distinction()
    }
}

/// What people call each database of a list, in which one may stand several times: its name, and what tells it from another one
/// of that name, its kind or its place.
pub(crate) fn name_databases(identities: &[Identity]) -> Vec<String> {
    let groups = group_by_identity(identities);
    let firsts: Vec<&Identity> = groups.iter().map(|group| &identities[group[0]]).collect();
    let mut names = vec![String::new(); identities.len()];
    for (members, it) in groups.iter().zip(&firsts) {
        let namesakes = || firsts.iter().filter(|other| other.database == it.database);
        let name = match () {
            () if namesakes().count() == 1 => it.database.clone(),
            () if namesakes().filter(|other| other.kind == it.kind).count() == 1 => {
                format!("{} ({})", it.database, it.kind.title())
            }
            () => it.to_string(),
        };
        for member in members {
            names[*member].clone_from(&name);
        }
    }
    names
}

/// Sorts databases that are the same together: the numbers of those in each group, in the order in which they are first met.
pub(crate) fn group_by_identity(identities: &[Identity]) -> Vec<Vec<usize>> {
    // Of thousands of backups few are of different databases.
    let mut alike: BTreeMap<&Identity, Vec<usize>> = BTreeMap::new();
    for (number, identity) in identities.iter().enumerate() {
        alike.entry(identity).or_default().push(number);
    }
    let mut groups: Vec<(Vec<&Identity>, Vec<usize>)> = Vec::new();
    for (identity, mut numbers) in alike {
        // A file that was moved stands in one group with both of its places.
        let is_one = |(group, _): &(Vec<&Identity>, _)| group.iter().any(|other| other.is_same_as(identity));
        let (same, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_one);
        groups = apart;
        let mut members = vec![identity];
        for (others, their_numbers) in same {
            members.extend(others);
            numbers.extend(their_numbers);
        }
        numbers.sort_unstable();
        groups.push((members, numbers));
    }
    let mut groups: Vec<Vec<usize>> = groups.into_iter().map(|(_, numbers)| numbers).collect();
    groups.sort_by_key(|group| group[0]);
    groups
}

/// Whether an address means another machine wherever it is used: a socket, a loopback address.
fn is_this_machine(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.is_empty()
        || host.starts_with('/')
        || host.starts_with('@')
        || host.starts_with("%2F")
        || host.starts_with("%2f")
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// Whether a host name is one that a container gets at its start, another one each time: Docker's twelve hexadecimal
/// digits, and what Kubernetes appends to the names of the pods of Deployments, Jobs and CronJobs.
fn is_given_at_start(host: &str) -> bool {
    let is_hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if matches!(host.len(), 12 | 64) && is_hexadecimal(host) {
        return true;
    }
    // Kubernetes draws from letters and digits without vowels and without what looks like another (`rand.SafeEncodeString`).
    let is_drawn = |text: &str| text.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
    let Some((rest, suffix)) = host.rsplit_once('-') else { return false };
    if suffix.len() != 5 || !is_drawn(suffix) {
        return false;
    }
    // A name that people chose is not taken for a drawn one: a Job's alone has no more than the five letters.
    let hash = rest.rsplit_once('-').map_or("", |(_, hash)| hash);
    let is_template = (8..=10).contains(&hash.len()) && is_drawn(hash);
    let is_cron_time = hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_digit());
    is_template || is_cron_time || suffix.bytes().any(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_container_is_given_say_nothing() {
        for drawn in [
            "3f2a9c01b7de",
            "api-7d9f8b6c54-x2k8z",
            "backup-29384756-8vqwz",
            "backup-x2k8z",
            &"ab".repeat(32),
        ] {
            assert!(is_given_at_start(drawn), "{drawn}");
        }
        for chosen in ["web1", "web-2", "db-prod-east", "app-0", "orders-api", "deadbeef", "ip-10-0-0-12", ""]
        {
            assert!(!is_given_at_start(chosen), "{chosen}");
        }
    }

    #[test]
    fn a_file_that_was_moved_is_one_database_and_its_copy_is_another() {
        let of = |path: &str, file: &str, host: &str| {
            let origin = Origin {
                database: "app".to_owned(),
                server: None,
                dbname: None,
                path: Some(path.to_owned()),
                server_version: String::new(),
                database_id: None,
                system_identifier: None,
                file_id: Some(file.to_owned()),
            };
            Identity::from_origin(DatabaseType::Sqlite, &origin, host)
        };
        let identities = [
            of("/a", "1", "web1"),
            of("/b", "2", "web1"),
            of("/b", "1", "web1"),
            of("/a", "1", "web2"),
            of("/c", "3", "web1"),
            of("/a", "9", "3f2a9c01b7de"),
            of("/a", "9", "0f2a9c01b7de"),
            of("/a", "8", "0f2a9c01b7de"),
        ];
        assert_eq!(group_by_identity(&identities), [vec![0, 1, 2], vec![3], vec![4], vec![5, 6], vec![7]]);
    }

    #[test]
    fn databases_of_one_name_are_told_apart_by_as_little_as_it_takes() {
        let of = |name: &str, kind: DatabaseType, place: &str| {
            let is_file = kind == DatabaseType::Sqlite;
            let origin = Origin {
                database: name.to_owned(),
                server: (!is_file).then(|| place.to_owned()),
                dbname: (!is_file).then(|| name.to_owned()),
                path: is_file.then(|| place.to_owned()),
                server_version: String::new(),
                database_id: None,
                system_identifier: None,
                file_id: None,
            };
            Identity::from_origin(kind, &origin, "web1")
        };
        let (server, file) = (DatabaseType::Postgresql, DatabaseType::Sqlite);
        let identities = [
            of("app", server, "db:5432"),
            of("app", file, "/a"),
            of("shop", file, "/a"),
            of("shop", file, "/b"),
            of("app", server, "db:5432"),
            of("one", server, "db:5432"),
        ];
        assert_eq!(
            name_databases(&identities),
            [
                "app (PostgreSQL)",
                "app (SQLite)",
                "shop (/a, on web1)",
                "shop (/b, on web1)",
                "app (PostgreSQL)",
                "one"
            ]
        );
    }

    #[test]
    fn addresses_of_this_machine_are_known_in_every_spelling() {
        for local in ["localhost:5432", "127.0.0.1:1", "[::1]:5", "/run/pg:5432", "0.0.0.0:5", "Localhost:1"]
        {
            assert!(is_this_machine(local), "{local}");
        }
        for other in ["db:5432", "10.0.0.1:5432", "[2001:db8::1]:5432", "localhost.example:1"] {
            assert!(!is_this_machine(other), "{other}");
        }
    }
}
