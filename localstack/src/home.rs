//! The directory of a stack, and the user that its servers run as.
//!
//! ```text
//! DIR/ca.pem            the certificate clients trust; its key is beside it
//! DIR/state.json        what the stack knows
//! DIR/secret            the password of `rdsadmin`, the stack's own superuser
//! DIR/lock              held by the stack that uses DIR
//! DIR/clusters/DB-…/    one per instance: data, configuration, certificate, log
//! DIR/archive/DB-…/     its archived write-ahead log; outlives it when its automated backup is kept
//! DIR/backups/…         base backups: what snapshots refer to
//! DIR/templates/…       a fresh database cluster per PostgreSQL version, copied for each new instance
//! ```
//!
//! A template takes a second to make, so the stacks of a user share them in a cache directory, and with them the
//! password of `rdsadmin`. If the directory has a different password, or the cache cannot be trusted, the templates
//! lie in DIR instead.
//!
//! PostgreSQL refuses to run as root. If the stack runs as root, the servers run as `postgres`, or as `nobody` where
//! there is no such user, and own their files.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use fs4::fs_std::FileExt as _;

use crate::atomic_file::replace_file;

/// The user that owns the databases' files and runs their servers, if it is not the one that runs the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// DIR, locked for this process.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) root: PathBuf,
    pub(crate) templates: PathBuf,
    pub(crate) owner: Option<Owner>,
    /// The password of `rdsadmin` in every cluster of this directory.
    pub(crate) secret: String,
    lock: Mutex<Option<File>>,
}

/// The paths of one instance's cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterPaths {
    pub(crate) root: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) conf: PathBuf,
    pub(crate) log: PathBuf,
}

impl ClusterPaths {
    pub(crate) fn at_root(root: PathBuf) -> Self {
        Self { data: root.join("data"), conf: root.join("conf"), log: root.join("log"), root }
    }
}

impl Home {
    /// Locks DIR for this process, and makes it if it does not exist.
    ///
    /// # Errors
    ///
    /// When another stack uses it, or the servers' user could not reach it.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let owner = server_owner()?;
        if directory == default_directory()
            && fs::symlink_metadata(directory).is_ok()
            && !belongs_to_me(directory)
        {
            bail!("others can write to `{}`: choose another directory with `--data`", directory.display());
        }
        make_directory(directory, 0o755).with_context(|| format!("cannot make `{}`", directory.display()))?;
        let root =
            directory.canonicalize().with_context(|| format!("cannot open `{}`", directory.display()))?;
        let me = rustix::process::geteuid().as_raw();
        if fs::metadata(&root)?.uid() != me && owner.is_none() {
            bail!("`{}` belongs to another user: choose another directory with `--data`", root.display());
        }
        if let Some(owner) = owner {
            make_reachable(&root, owner)?;
        }
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(root.join("lock"))
            .with_context(|| format!("cannot lock `{}`", root.display()))?;
        if !lock.try_lock_exclusive().unwrap_or(false) {
            bail!(
                "another local stack uses `{}`: stop it or choose another directory with `--data`",
                root.display()
            );
        }
        let cache = open_cache(owner);
        let templates = cache.clone().unwrap_or_else(|| root.clone()).join("templates");
        let mut home = Self { root, templates, owner, secret: String::new(), lock: Mutex::new(Some(lock)) };
        for part in ["clusters", "archive", "backups"] {
            home.make_passage(&home.root.join(part))?;
        }
        let shared = cache.map(|cache| read_or_make_secret(&cache.join("secret"), None)).transpose()?;
        home.secret = read_or_make_secret(&home.root.join("secret"), shared.as_deref())?;
        if shared.is_some_and(|shared| shared != home.secret) {
            home.templates = home.root.join("templates");
        }
        home.make_passage(&home.templates)?;
        Ok(home)
    }

    /// Lets another stack use the directory.
    pub(crate) fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn clusters(&self) -> PathBuf {
        self.root.join("clusters")
    }

    pub(crate) fn cluster(&self, resource_id: &str) -> ClusterPaths {
        ClusterPaths::at_root(self.clusters().join(resource_id))
    }

    pub(crate) fn archives(&self) -> PathBuf {
        self.root.join("archive")
    }

    pub(crate) fn archive(&self, resource_id: &str) -> PathBuf {
        self.archives().join(resource_id)
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }

    pub(crate) fn backup(&self, id: &str) -> PathBuf {
        self.backups().join(id)
    }

    /// Makes a directory that the servers' user can traverse, whatever the umask.
    fn make_passage(&self, directory: &Path) -> io::Result<()> {
        let mode = if self.owner.is_some() { 0o711 } else { 0o700 };
        make_directory(directory, mode)?;
        fs::set_permissions(directory, Permissions::from_mode(mode))
    }

    /// Makes a directory that only the servers' user can read.
    pub(crate) fn make_private(&self, directory: &Path) -> io::Result<()> {
        make_directory(directory, 0o700)?;
        self.give_to_owner(directory)
    }

    /// Hands a file or directory to the servers' user.
    pub(crate) fn give_to_owner(&self, path: &Path) -> io::Result<()> {
        give_to_owner(self.owner, path)
    }

    /// Writes a file that only the servers' user can read.
    pub(crate) fn write_private(&self, file: &Path, content: &str) -> io::Result<()> {
        replace_file(file, content.as_bytes())?;
        self.give_to_owner(file)
    }
}

/// Hands a file or directory to the servers' user, if there is one.
pub(crate) fn give_to_owner(owner: Option<Owner>, path: &Path) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid)))
}

/// The directory of a stack that was given none: one per user, so that the next start finds it, and on a disk that
/// the servers' user can reach, which root's home directory is not.
pub(crate) fn default_directory() -> PathBuf {
    user_directory("XDG_STATE_HOME", ".local/state", "lifeboat-localstack")
}

/// The directory for what the stacks of a user share and can make again.
fn cache_directory() -> PathBuf {
    user_directory("XDG_CACHE_HOME", ".cache", "lifeboat-localstack-cache")
}

fn user_directory(variable: &str, below_home: &str, name: &str) -> PathBuf {
    let uid = rustix::process::geteuid();
    let given = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(below_home));
    match given.or(home) {
        Some(parent) if !uid.is_root() => parent.join(name),
        _ => PathBuf::from(format!("/var/tmp/{name}-{}", uid.as_raw())),
    }
}

/// The cache, unless it cannot be made or somebody else could have put something into it.
fn open_cache(owner: Option<Owner>) -> Option<PathBuf> {
    let directory = cache_directory();
    make_directory(&directory, 0o711).ok()?;
    belongs_to_me(&directory).then_some(())?;
    if let Some(owner) = owner {
        make_reachable(&directory, owner).ok()?;
    }
    directory.canonicalize().ok()
}

/// Whether only we can write to a directory. `/var/tmp` is open to everybody: somebody may have put a directory or a
/// link of the same name there first.
fn belongs_to_me(directory: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == me && found.mode() & 0o022 == 0)
}

fn server_owner() -> anyhow::Result<Option<Owner>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    match find_account(&accounts, "postgres").or_else(|| find_account(&accounts, "nobody")) {
        Some(owner) => Ok(Some(owner)),
        None => {
            bail!(
                "PostgreSQL does not run as root, and neither user `postgres` nor user `nobody` exists to run it"
            )
        }
    }
}

fn find_account(accounts: &str, name: &str) -> Option<Owner> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (user, _password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (user == name)
            .then_some(Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
            .filter(|o| o.uid != 0)
    })
}

/// Makes sure that the servers' user can reach `root`.
///
/// A directory of ours below the system's temporary directory is made traversable (not listable): `mktemp -d` makes
/// directories for one user only. Elsewhere that is for the directory's owner to decide.
fn make_reachable(root: &Path, owner: Owner) -> anyhow::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    let temporary = std::env::temp_dir();
    for directory in root.ancestors() {
        let found = fs::metadata(directory)?;
        let mode = found.mode();
        let reachable = mode & 0o001 != 0
            || (found.uid() == owner.uid && mode & 0o100 != 0)
            || (found.gid() == owner.gid && mode & 0o010 != 0);
        if reachable {
            continue;
        }
        if found.uid() == me && (directory == root || directory.starts_with(&temporary)) {
            fs::set_permissions(directory, Permissions::from_mode(mode & 0o7777 | 0o011))?;
        } else {
            bail!(
                "the user that runs the databases (uid {}) cannot reach `{}`: run `chmod o+x {}` or choose another \
                 directory with `--data`",
                owner.uid,
                directory.display(),
                directory.display()
            );
        }
    }
    Ok(())
}

fn make_directory(directory: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(directory)
}

/// The secret in a file. If there is none yet, `shared` or a new one is written.
fn read_or_make_secret(file: &Path, shared: Option<&str>) -> anyhow::Result<String> {
    match fs::read_to_string(file) {
        Ok(secret) if secret.trim().len() >= 32 => Ok(secret.trim().to_owned()),
        Ok(_) => bail!(
            "`{}` is damaged: the databases in this directory cannot be reached without it",
            file.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = shared.map_or_else(|| random_hex(24), |shared| Ok(shared.to_owned()))?;
            write_new(file, &secret).with_context(|| format!("cannot write `{}`", file.display()))?;
            // Another stack may have written one first.
            Ok(fs::read_to_string(file)?.trim().to_owned())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", file.display())),
    }
}

/// Writes a file that does not exist yet, whole or not at all. If it exists by now, it stays as it is.
fn write_new(file: &Path, content: &str) -> io::Result<()> {
    let partial = file.with_extension(format!("{:08x}", rand::random::<u32>()));
    replace_file(&partial, content.as_bytes())?;
    let outcome = fs::hard_link(&partial, file);
    fs::remove_file(&partial)?;
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_and_root_is_never_taken() {
        let accounts = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:PG:/:/bin/sh\nfake:x:0:0::/:/bin/sh\n";
        assert_eq!(find_account(accounts, "postgres"), Some(Owner { uid: 101, gid: 104 }));
        assert_eq!(find_account(accounts, "nobody"), None);
        assert_eq!(find_account(accounts, "fake"), None);
    }

    #[test]
    fn a_directory_is_not_shared_and_keeps_its_secret() {
        let directory = tempfile::tempdir().unwrap();
        let first = Home::open(directory.path()).unwrap();
        let refused = Home::open(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("another local stack uses"), "{refused}");
        let secret = first.secret.clone();
        drop(first);
        assert_eq!(Home::open(directory.path()).unwrap().secret, secret);
    }
}
