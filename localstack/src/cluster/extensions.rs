//! Extensions that `rds_superuser` may create on RDS, but only a superuser in PostgreSQL.
//!
//! PostgreSQL finds its files relative to its program. So the program is copied into a tree of the same shape, which
//! links to the installation for everything but the extensions' own files: in these the extensions are marked as
//! trusted (see "trusted" in PostgreSQL's "Extension Control Files"), and their objects are granted to
//! `rds_superuser`.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Extensions of PostgreSQL itself that RDS for PostgreSQL supports (Amazon RDS for PostgreSQL Release Notes, "Extension
/// versions").
const SUPPORTED: &str = "amcheck bloom bool_plperl btree_gin btree_gist citext cube dblink dict_int dict_xsyn earthdistance \
    fuzzystrmatch hstore hstore_plperl intagg intarray isn jsonb_plperl lo ltree moddatetime \
    old_snapshot pg_buffercache pg_freespacemap pg_prewarm pg_stat_statements pg_trgm pg_visibility \
    pg_walinspect pgcrypto pgrowlocks pgstattuple plperl plpgsql pltcl postgres_fdw refint seg sslinfo \
    tablefunc tcn test_parser tsm_system_rows tsm_system_time unaccent uuid-ossp vector";

/// The library that RDS loads into every server.
const PRELOADED: &str = "pg_stat_statements";

/// The paths of an installation, as its own server reports them.
pub(crate) struct Installation {
    pub(crate) program: PathBuf,
    pub(crate) share: PathBuf,
    pub(crate) libraries: PathBuf,
    pub(crate) modules: PathBuf,
}

/// The program and the extensions of the servers of a version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Equipment {
    /// The program, in the tree or in the installation.
    pub(crate) program: PathBuf,
    /// The installed extensions that RDS supports.
    pub(crate) extensions: Vec<String>,
    /// For `shared_preload_libraries`.
    pub(crate) preloaded: Option<String>,
}

/// Builds the tree in `directory`. An installation that cannot be copied is used as it is; the caller has to find out
/// whether the copy runs.
pub(crate) fn prepare_equipment(installation: &Installation, tree: &Path) -> io::Result<Equipment> {
    let installed = installation.share.join("extension");
    let extensions: Vec<String> = SUPPORTED
        .split_whitespace()
        .filter(|name| installed.join(format!("{name}.control")).is_file())
        .map(str::to_owned)
        .collect();
    let has_module = |name: &str| {
        ["so", "dylib"].iter().any(|end| installation.modules.join(format!("{name}.{end}")).is_file())
    };
    let preloaded = has_module(PRELOADED).then(|| PRELOADED.to_owned());
    if tree.exists() {
        fs::remove_dir_all(tree)?;
    }
    let program =
        build_tree(installation, &extensions, tree).unwrap_or_else(|_| installation.program.clone());
    Ok(Equipment { program, extensions, preloaded })
}

fn build_tree(installation: &Installation, extensions: &[String], tree: &Path) -> io::Result<PathBuf> {
    let at = |path: &Path| tree.join(path.strip_prefix("/").unwrap_or(path));
    let share = at(&installation.share);
    make_traversable(&share.join("extension"), tree)?;
    link_all(&installation.share, &share, "extension")?;
    let from = installation.share.join("extension");
    for entry in fs::read_dir(&from)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy().into_owned();
        let (source, target) = (from.join(&name), share.join("extension").join(&name));
        let of = extensions.iter().find(|extension| belongs_to(&text, extension));
        match of.filter(|extension| needs_superuser(&from, extension)) {
            Some(extension) => write_changed(&source, &target, extension)?,
            None => symlink(source, target)?,
        }
    }
    for directory in [&installation.libraries, &installation.modules] {
        let target = at(directory);
        // One directory may lie in the other.
        if !target.exists() && target.parent().is_some_and(|parent| make_traversable(parent, tree).is_ok()) {
            symlink(directory, target)?;
        }
    }
    let program = at(&installation.program);
    make_traversable(program.parent().unwrap_or(tree), tree)?;
    fs::copy(&installation.program, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// Makes a directory that everybody can traverse and read, and those above it up to `top`.
fn make_traversable(directory: &Path, top: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for made in directory.ancestors().take_while(|made| made.starts_with(top)) {
        fs::set_permissions(made, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn link_all(from: &Path, to: &Path, but: &str) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if name != *but {
            symlink(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}

/// Whether a file is the control file of an extension, or one of its scripts.
fn belongs_to(file: &str, extension: &str) -> bool {
    let rest = file.strip_prefix(extension).unwrap_or_default();
    rest == ".control" || (rest.starts_with("--") && rest.ends_with(".sql"))
}

/// Whether only a superuser may create an extension.
fn needs_superuser(directory: &Path, extension: &str) -> bool {
    let control = fs::read_to_string(directory.join(format!("{extension}.control"))).unwrap_or_default();
    let says = |name: &str, value: &str| {
        control
            .lines()
            .filter_map(|line| line.split_once('='))
            .any(|(key, is)| key.trim() == name && is.trim().trim_matches('\'').eq_ignore_ascii_case(value))
    };
    !says("trusted", "true") && !says("superuser", "false")
}

fn write_changed(source: &Path, target: &Path, extension: &str) -> io::Result<()> {
    let mut text = fs::read_to_string(source)?;
    if source.extension().is_some_and(|end| end == "control") {
        text.push_str("\ntrusted = true\n");
    } else {
        text.push_str(&grant_sql(extension));
    }
    fs::write(target, text)?;
    fs::set_permissions(target, fs::Permissions::from_mode(0o644))
}

/// Appended to a script, so that the rights count as part of the extension, and no dump contains them.
fn grant_sql(extension: &str) -> String {
    format!(
        "\n\
         do $rds$\n\
         declare it record;\n\
         begin\n\
           for it in\n\
             select d.classid, d.objid from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid\n\
             where e.extname = '{extension}' and d.deptype = 'e' and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass\n\
           loop\n\
             if it.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass then\n\
               execute 'grant execute on routine ' || it.objid::pg_catalog.regprocedure || ' to rds_superuser';\n\
             elsif it.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass then\n\
               execute (select pg_catalog.format('grant usage on foreign data wrapper %I to rds_superuser with grant option', fdwname)\n\
                        from pg_catalog.pg_foreign_data_wrapper where oid = it.objid);\n\
             end if;\n\
           end loop;\n\
         end\n\
         $rds$;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_the_extension_that_they_are_named_after() {
        assert!(belongs_to("dblink.control", "dblink"));
        assert!(belongs_to("dblink--1.1--1.2.sql", "dblink"));
        assert!(!belongs_to("dblink_more.control", "dblink"));
        assert!(!belongs_to("hstore_plperl--1.0.sql", "hstore"));
        assert!(!belongs_to("dblink.control", "lo"));
    }

    #[test]
    fn a_tree_has_links_to_the_installation_and_trusted_extensions() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("usr");
        for directory in ["bin", "share/extension", "share/timezonesets", "lib"] {
            fs::create_dir_all(base.join(directory)).unwrap();
        }
        let program = base.join("bin/postgres");
        fs::write(&program, "#!/bin/sh\necho postgres\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let extension =
            |name: &str, text: &str| fs::write(base.join("share/extension").join(name), text).unwrap();
        extension("dblink.control", "default_version = '1.2'\n");
        extension("dblink--1.2.sql", "select 1;\n");
        extension("citext.control", "trusted = true\n");
        extension("file_fdw.control", "default_version = '1.0'\n");
        fs::write(base.join("lib/pg_stat_statements.so"), "").unwrap();
        let installation = Installation {
            program: program.clone(),
            share: base.join("share"),
            libraries: base.join("lib"),
            modules: base.join("lib"),
        };
        let tree = root.path().join("tree");
        // Again over what is there.
        prepare_equipment(&installation, &tree).unwrap();
        let equipment = prepare_equipment(&installation, &tree).unwrap();
        assert_eq!(equipment.extensions, ["citext", "dblink"]);
        assert_eq!(equipment.preloaded.as_deref(), Some("pg_stat_statements"));
        assert!(equipment.program.starts_with(&tree), "{}", equipment.program.display());
        let share = tree.join(base.join("share").strip_prefix("/").unwrap());
        let read = |name: &str| fs::read_to_string(share.join("extension").join(name)).unwrap();
        assert!(read("dblink.control").ends_with("trusted = true\n"));
        assert!(read("dblink--1.2.sql").contains("to rds_superuser"));
        assert!(!read("file_fdw.control").contains("trusted"));
        assert!(fs::symlink_metadata(share.join("extension/citext.control")).unwrap().is_symlink());
        assert!(share.join("timezonesets").is_dir());
    }
}
