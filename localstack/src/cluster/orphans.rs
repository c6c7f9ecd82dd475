//! Servers that a killed stack left running. Their watchers end them; this makes sure of it before their data is used
//! again.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::files::list_names;

/// Ends every server whose data lies in `clusters`, and waits until they have ended.
///
/// A process is signalled only if its command line names that data directory: the process id in a file may belong to
/// another process by now.
pub(crate) fn end_orphans(clusters: &Path) -> anyhow::Result<()> {
    let mut alive = Vec::new();
    for name in list_names(clusters)? {
        let data = clusters.join(name).join("data");
        if let Some(pid) = recorded_pid(&data.join("postmaster.pid"))
            && is_server_of(pid, &data)
        {
            alive.push((pid, data));
        }
    }
    for (signal, patience) in
        [(Signal::QUIT, Duration::from_secs(10)), (Signal::KILL, Duration::from_secs(10))]
    {
        for (pid, _) in &alive {
            // It may be ending already.
            let _ = kill_process(*pid, signal);
        }
        let since = Instant::now();
        while !alive.is_empty() && since.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
            alive.retain(|(pid, data)| is_server_of(*pid, data));
        }
    }
    if let Some((pid, data)) = alive.first() {
        bail!("process {} still serves `{}` and cannot be ended", pid.as_raw_nonzero(), data.display());
    }
    Ok(())
}

fn recorded_pid(file: &Path) -> Option<Pid> {
    fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok().and_then(Pid::from_raw)
}

fn is_server_of(pid: Pid, data: &Path) -> bool {
    let Ok(command) = command_line(pid) else { return false };
    // The shell that becomes the server has the same command line, and is the same process.
    command.contains("postgres") && command.split(['\0', ' ', '\n']).any(|word| Path::new(word) == data)
}

fn command_line(pid: Pid) -> io::Result<String> {
    let pid = pid.as_raw_nonzero();
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => Ok(String::from_utf8_lossy(&line).into_owned()),
        Err(_) if Path::new("/proc/self").exists() => Err(io::ErrorKind::NotFound.into()),
        Err(_) => {
            let answer =
                Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output()?;
            Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_only_reused_the_id_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("clusters/DB-1/data");
        fs::create_dir_all(&data).unwrap();
        // This test's own process: certainly alive, certainly not that server.
        fs::write(data.join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
        end_orphans(&directory.path().join("clusters")).unwrap();
    }
}
