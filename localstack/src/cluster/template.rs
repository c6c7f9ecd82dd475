//! A new cluster per installed version, made once and copied for each new instance: a copy takes a tenth of the time
//! of `initdb`. All copies share one system identifier, which matters only to streaming replication, and nothing here
//! streams.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use fs4::fs_std::FileExt as _;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::atomic_file::replace_file;
use crate::cancel::CancelSignal;
use crate::cluster::config::{self, Config};
use crate::cluster::engine::{Engine, Engines};
use crate::cluster::extensions::{Equipment, Installation, prepare_equipment};
use crate::cluster::files::make_room;
use crate::cluster::orphans::end_orphans;
use crate::cluster::server::{SUPERUSER, Server, find_free_port};
use crate::home::{ClusterPaths, Home};

/// Incremented when the content of a template changes: older templates are then not used.
const RECIPE: u32 = 3;

/// A cluster to copy, and what is known of servers of its version.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) data: PathBuf,
    pub(crate) settings: BTreeMap<String, Setting>,
    pub(crate) equipment: Equipment,
}

/// A row of `pg_settings`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) description: String,
    /// `postmaster` settings need a restart.
    pub(crate) context: String,
    pub(crate) kind: String,
    pub(crate) least: Option<String>,
    pub(crate) greatest: Option<String>,
    pub(crate) choices: Vec<String>,
}

/// The file beside a template that describes its servers' program and extensions.
const EQUIPMENT: &str = "equipment.json";

/// The templates, each made when it is first needed.
#[derive(Debug)]
pub(crate) struct Templates(BTreeMap<u32, OnceCell<Template>>);

impl Templates {
    pub(crate) fn new(engines: &Engines) -> Self {
        Self(engines.all().map(|engine| (engine.major, OnceCell::new())).collect())
    }

    /// The template of a version, if it has been made.
    pub(crate) fn get_if_made(&self, engine: &Engine) -> Option<&Template> {
        self.0.get(&engine.major)?.get()
    }

    pub(crate) async fn get_or_make(&self, home: &Home, engine: &Engine) -> anyhow::Result<&Template> {
        let cell = self.0.get(&engine.major).context("the version is not installed here")?;
        cell.get_or_try_init(|| open_or_make(home, engine)).await
    }
}

async fn open_or_make(home: &Home, engine: &Engine) -> anyhow::Result<Template> {
    let name = template_name(engine);
    let directory = home.templates.join(&name);
    let settings = directory.join("settings.json");
    if !settings.is_file() {
        // Other stacks of this user share the templates.
        let _lock = lock_template(home.templates.join(format!("{name}.lock"))).await?;
        if !settings.is_file() {
            end_orphans(&directory)?;
            make_template(home, engine, &directory).await.with_context(|| {
                format!("cannot make a database cluster with PostgreSQL {}", engine.version)
            })?;
        }
    }
    let settings = std::fs::read(&settings).context("cannot read a template's settings")?;
    let equipment = std::fs::read(directory.join(EQUIPMENT)).context("cannot read a template's equipment")?;
    Ok(Template {
        data: directory.join("cluster/data"),
        settings: serde_json::from_slice(&settings)?,
        equipment: serde_json::from_slice(&equipment)?,
    })
}

/// The name of a template: installations of the same version share none, because its tree links to one of them.
fn template_name(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.program("postgres").hash(&mut hasher);
    format!("{}-{RECIPE}-{:08x}", engine.version, hasher.finish() as u32)
}

/// Waits until no other stack is making this template.
async fn lock_template(file: PathBuf) -> anyhow::Result<File> {
    let locked = tokio::task::spawn_blocking(move || {
        let lock = File::options().write(true).create(true).truncate(false).open(&file)?;
        lock.lock_exclusive()?;
        io::Result::Ok(lock)
    });
    locked.await?.context("cannot lock a template")
}

/// Makes a template. The list of settings is written last: a template without it is not finished.
async fn make_template(home: &Home, engine: &Engine, directory: &Path) -> anyhow::Result<()> {
    make_room(directory)?;
    home.make_private(directory)?;
    let paths = ClusterPaths::at_root(directory.join("cluster"));
    home.make_private(&paths.root)?;
    run_initdb(home, engine, &paths).await?;
    for leftover in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
        std::fs::remove_file(paths.data.join(leftover))?;
    }
    let archive = directory.join("archive");
    home.make_private(&archive)?;
    let port = find_free_port()?;
    let parameters = &BTreeMap::new();
    let config =
        Config { port, force_tls: false, parameters, archive: &archive, recovery: None, equipment: None };
    config::write_config(home, &paths, &config)?;
    let program = engine.program("postgres");
    let server = Server::start(home, &program, &paths, port, &CancelSignal::never()).await?;
    let outcome = async {
        let settings = set_up_cluster(&server, engine.major).await?;
        anyhow::Ok((settings, find_installation(&server, program.clone()).await?))
    };
    let outcome = outcome.await;
    server.stop().await;
    let (settings, installation) = outcome?;
    let mut equipment = prepare_equipment(&installation, &directory.join("tree"))?;
    match Server::start(home, &equipment.program, &paths, port, &CancelSignal::never()).await {
        Ok(server) => server.stop().await,
        // An installation of another shape is used as it is.
        Err(_) => equipment.program = installation.program,
    }
    replace_file(&directory.join(EQUIPMENT), &serde_json::to_vec(&equipment)?)?;
    let settings = serde_json::to_vec(&settings)?;
    std::fs::remove_file(paths.data.join("postmaster.opts")).or_else(ignore_absent)?;
    std::fs::remove_dir_all(&archive)?;
    replace_file(&directory.join("settings.json"), &settings)?;
    Ok(())
}

/// The paths of the installation that a server runs from.
async fn find_installation(server: &Server, program: PathBuf) -> anyhow::Result<Installation> {
    let client = server.connect("postgres").await?;
    let rows = client.query("select name, setting from pg_catalog.pg_config", &[]).await?;
    let mut known = BTreeMap::new();
    for row in rows {
        known.insert(row.try_get::<_, String>(0)?, row.try_get::<_, Option<String>>(1)?);
    }
    let mut path = |name: &str| {
        known.remove(name).flatten().map(PathBuf::from).context("pg_config does not report the directory")
    };
    Ok(Installation {
        // Often a link into the directory from which PostgreSQL finds its files.
        program: program.canonicalize()?,
        share: path("SHAREDIR")?,
        libraries: path("LIBDIR")?,
        modules: path("PKGLIBDIR")?,
    })
}

async fn run_initdb(home: &Home, engine: &Engine, paths: &ClusterPaths) -> anyhow::Result<()> {
    let password = paths.root.join("password");
    home.write_private(&password, &home.secret)?;
    let mut command = Command::new(engine.program("initdb"));
    command
        .arg("-D")
        .arg(&paths.data)
        .args(["-U", SUPERUSER, "-A", "scram-sha-256", "--locale=C", "--encoding=UTF8"])
        // With small segments, an archive with many switched segments stays small.
        .args(["--wal-segsize=1", "--no-sync", "--no-instructions"])
        .arg(format!("--pwfile={}", password.display()))
        .env("LC_ALL", "C")
        .current_dir(&paths.root)
        .stdin(Stdio::null());
    if engine.major >= 18 {
        command.arg("--no-data-checksums");
    }
    if let Some(owner) = home.owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    let answer = command.output().await.context("cannot run initdb")?;
    std::fs::remove_file(&password)?;
    if !answer.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&answer.stderr).trim());
    }
    Ok(())
}

/// Lets members of `rds_replication` use replication slots: RDS checks for that role, PostgreSQL for an attribute.
///
/// PostgreSQL runs its built-in functions with the rights of the caller, whatever their definition says, so each one
/// is defined again under its name. The rights are recorded as the functions' initial ones, so that no dump contains
/// them.
const SLOTS: &str = "set allow_system_table_mods = on;
do $slots$
declare f record;
begin
  for f in select oid, oid::regprocedure::text as signature, proname, pg_get_functiondef(oid) as definition
    from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname in (
    'pg_create_physical_replication_slot', 'pg_create_logical_replication_slot', 'pg_drop_replication_slot',
    'pg_copy_physical_replication_slot', 'pg_copy_logical_replication_slot', 'pg_replication_slot_advance',
    'pg_logical_slot_get_changes', 'pg_logical_slot_peek_changes',
    'pg_logical_slot_get_binary_changes', 'pg_logical_slot_peek_binary_changes')
  loop
    execute format('alter function %s rename to %I', f.signature, 'builtin_' || f.proname);
    execute f.definition;
    execute format('alter function %s security definer', f.signature);
    execute format('revoke execute on function %s from public', f.signature);
    execute format('grant execute on function %s to rds_replication', f.signature);
    insert into pg_init_privs (objoid, classoid, objsubid, privtype, initprivs)
      select oid, 'pg_proc'::regclass, 0, 'i', proacl from pg_proc where oid = f.signature::regprocedure;
  end loop;
end
$slots$";

/// Creates the roles and the database that every RDS instance has, and returns the server's settings.
async fn set_up_cluster(server: &Server, major: u32) -> anyhow::Result<BTreeMap<String, Setting>> {
    let client = server.connect("postgres").await?;
    let roles = "create role rds_superuser; create role rds_replication; create role rds_password; create role rds_iam; \
                 grant pg_monitor, pg_signal_backend, rds_replication, rds_password to rds_superuser with admin option;";
    client.batch_execute(roles).await?;
    if major >= 15 {
        client.batch_execute("grant pg_checkpoint to rds_superuser with admin option").await?;
        client.batch_execute("grant set on parameter session_replication_role to rds_superuser").await?;
    }
    if major >= 16 {
        let grant =
            "grant pg_create_subscription, pg_use_reserved_connections to rds_superuser with admin option";
        client.batch_execute(grant).await?;
    }
    client.batch_execute("alter database template0 allow_connections true").await?;
    for database in ["template0", "template1", "postgres"] {
        server.connect(database).await?.batch_execute(SLOTS).await?;
    }
    client.batch_execute("alter database template0 allow_connections false").await?;
    client.batch_execute("create database rdsadmin").await?;
    client.batch_execute("revoke all on database rdsadmin from public").await?;
    let rows = client
        .query(
            "select name, short_desc, context, vartype, min_val, max_val, enumvals from pg_settings \
             where context <> 'internal'",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let setting = Setting {
                description: row.try_get(1)?,
                context: row.try_get(2)?,
                kind: row.try_get(3)?,
                least: row.try_get(4)?,
                greatest: row.try_get(5)?,
                choices: row.try_get::<_, Option<Vec<String>>>(6)?.unwrap_or_default(),
            };
            Ok((row.try_get(0)?, setting))
        })
        .collect()
}

fn ignore_absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
