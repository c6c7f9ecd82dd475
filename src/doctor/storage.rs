//! The vault, tried for real: write, read, remove; and what may fail later, such as space and permissions.

use std::path::{Path, PathBuf};

use super::{Check, Outcome, Task};
use crate::aws::Access;
use crate::vault::Vault;

const TASKS: [Task; 3] = [Task::Backup, Task::Serve, Task::Drill];

/// A backup is unlikely to fit into less.
const LITTLE: u64 = 256 << 20;

/// Tries the vault at `place`. One that does not exist yet is not made.
pub(crate) fn check_vault(place: &str, access: &Access) -> Vec<Check> {
    let checks = match place.contains("://") {
        true => tried(place, access),
        false => directory(place, access),
    };
    checks.into_iter().map(|check| check.for_tasks(&TASKS)).collect()
}

fn check_of(code: &str, verdict: Outcome, message: String) -> Check {
    Check::new("vault", code, verdict, message)
}

fn directory(place: &str, access: &Access) -> Vec<Check> {
    let path = Path::new(place);
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let mut checks = vec![mode_of(path, &found)];
            checks.extend(tried(place, access));
            checks
        }
        Ok(_) => vec![
            check_of("vault_writable", Outcome::Fail, format!("`{place}` is a file, not a directory"))
                .mended_by("Name a directory with `--vault`, BACKUP_DIR or `vault` in lifeboat.toml."),
        ],
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => vec![not_made_yet(place)],
        Err(error) => vec![
            check_of("vault_writable", Outcome::Fail, format!("`{place}` cannot be read: {error}"))
                .mended_by("Give this user access to it and to the directories above it."),
        ],
    }
}

fn not_made_yet(place: &str) -> Check {
    let absolute = std::path::absolute(place).unwrap_or_else(|_| PathBuf::from(place));
    let above = absolute.ancestors().skip(1).find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::access(above, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) if above.is_dir() => {
            let message = format!("`{place}` does not exist yet: the first command that needs it creates it");
            check_of("vault_writable", Outcome::Pass, message)
        }
        _ => {
            let message =
                format!("`{place}` does not exist, and this user may not create it in `{}`", above.display());
            check_of("vault_writable", Outcome::Fail, message).mended_by(format!(
                "Create it as a user who may: `install -d -m 0750 {place}`, with `-o` and the user that runs lifeboat."
            ))
        }
    }
}

fn mode_of(path: &Path, found: &std::fs::Metadata) -> Check {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = found.permissions().mode() & 0o7777;
    let (verdict, why) = match mode {
        mode if mode & 0o002 != 0 => (Outcome::Fail, ": every user of this machine can delete its files"),
        mode if mode & 0o005 != 0 => (Outcome::Warning, ": every user of this machine can read it"),
        _ => (Outcome::Pass, ""),
    };
    let check = check_of("vault_mode", verdict, format!("`{}` has the mode {mode:04o}{why}", path.display()));
    match verdict {
        Outcome::Pass => check,
        _ => check.mended_by(format!("`chmod 0750 {}`", path.display())),
    }
}

fn tried(place: &str, access: &Access) -> Vec<Check> {
    let trial = match Vault::open(place, access).and_then(|vault| vault.try_out()) {
        Ok(trial) => trial,
        Err(error) => {
            let check = check_of("vault_writable", Outcome::Fail, error.chain());
            return vec![match error.hints().first() {
                Some(hint) => check.mended_by(hint),
                None => check.mended_by("Free some space, or choose another vault with `--vault`."),
            }];
        }
    };
    let mut checks = vec![check_of(
        "vault_writable",
        Outcome::Pass,
        format!("`{place}`: written, read and removed a file"),
    )];
    if let Some(free) = trial.free_bytes {
        let shown = crate::words::format_bytes(free);
        let check = match free {
            free if free < LITTLE => {
                check_of("vault_space", Outcome::Warning, format!("only {shown} are free")).mended_by(
                    "Free some space: `lifeboat backup prune --dry-run` shows what can be removed.",
                )
            }
            _ => check_of("vault_space", Outcome::Pass, format!("{shown} are free")),
        };
        checks.push(check);
    }
    match trial.is_conditional {
        None => {}
        Some(true) => checks.push(check_of(
            "vault_conditional",
            Outcome::Pass,
            "the store refuses to overwrite objects (If-None-Match)".to_owned(),
        )),
        Some(false) => checks.push(
            check_of(
                "vault_conditional",
                Outcome::Fail,
                "the store overwrites objects: two machines could take the same name or lock".to_owned(),
            )
            .mended_by("Use a store with conditional writes, such as Amazon S3."),
        ),
    }
    checks
}
