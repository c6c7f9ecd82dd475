//! What can be ordered: engines, their versions, instance classes.
//!
//! The versions of PostgreSQL are the installed ones. Other engines are listed so that requests for them are
//! understood; no server is behind them.

use crate::error::{ApiError, Result};
use crate::rds::paging::{Filters, page, page_up_to};
use crate::rds::request::Request;
use crate::resources::DEFAULT_PORT;
use crate::scope;
use crate::stack::Context;
use crate::wire::Xml;

/// Engines without a server: name, version, parameter group family, licence, port.
const OTHERS: [(&str, &str, &str, &str, u16); 12] = [
    ("mysql", "8.4.6", "mysql8.4", "general-public-license", 3306),
    ("mariadb", "11.4.8", "mariadb11.4", "general-public-license", 3306),
    ("oracle-ee", "19.0.0.0.ru-2025-07.rur-2025-07.r1", "oracle-ee-19", "bring-your-own-license", 1521),
    ("oracle-se2", "19.0.0.0.ru-2025-07.rur-2025-07.r1", "oracle-se2-19", "license-included", 1521),
    ("sqlserver-ee", "16.00.4210.1.v1", "sqlserver-ee-16.0", "license-included", 1433),
    ("sqlserver-se", "16.00.4210.1.v1", "sqlserver-se-16.0", "license-included", 1433),
    ("sqlserver-ex", "16.00.4210.1.v1", "sqlserver-ex-16.0", "license-included", 1433),
    ("sqlserver-web", "16.00.4210.1.v1", "sqlserver-web-16.0", "license-included", 1433),
    ("db2-ae", "11.5.9.0.sb00050000.r1", "db2-ae-11.5", "bring-your-own-license", 50_000),
    ("db2-se", "11.5.9.0.sb00050000.r1", "db2-se-11.5", "bring-your-own-license", 50_000),
    ("aurora-mysql", "8.0.mysql_aurora.3.10.0", "aurora-mysql8.0", "general-public-license", 3306),
    ("aurora-postgresql", "16.9", "aurora-postgresql16", "postgresql-license", 5432),
];

/// The instance classes that PostgreSQL is offered on.
const CLASSES: [(&str, &str); 14] = [
    ("db.t3", "micro small medium large xlarge 2xlarge"),
    ("db.t4g", "micro small medium large xlarge 2xlarge"),
    ("db.m5", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"),
    ("db.m6g", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"),
    ("db.m6gd", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"),
    ("db.m6i", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"),
    ("db.m7g", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"),
    ("db.m7i", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"),
    ("db.m8g", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"),
    ("db.r5", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"),
    ("db.r6g", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"),
    ("db.r6i", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"),
    ("db.r7g", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"),
    ("db.r8g", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"),
];

/// Families that exist, but that current versions of PostgreSQL are not offered on.
const OLD_FAMILIES: [&str; 9] =
    ["db.t1", "db.t2", "db.m1", "db.m2", "db.m3", "db.m4", "db.r3", "db.r4", "db.x1"];

const STORAGE_TYPES: [&str; 4] = ["gp2", "gp3", "io1", "io2"];

/// What an engine's instances have in common.
pub(super) struct EngineChoice {
    pub(super) version: String,
    pub(super) license: &'static str,
    pub(super) port: u16,
}

/// The engine and version that a request names; the newest when it names no version.
pub(super) fn choose_engine(cx: &Context, name: &str, version: Option<&str>) -> Result<EngineChoice> {
    if name == "postgres" {
        let engine = match version {
            None => cx.engines.newest(),
            Some(asked) => cx.engines.find_version(asked).ok_or_else(|| {
                ApiError::invalid_combination(format!("Cannot find version {asked} for postgres"))
            })?,
        };
        return Ok(EngineChoice {
            version: engine.version.clone(),
            license: "postgresql-license",
            port: DEFAULT_PORT,
        });
    }
    let (_, newest, _, license, port) = OTHERS
        .iter()
        .find(|(other, ..)| *other == name)
        .ok_or_else(|| ApiError::invalid_value(format!("Invalid DB engine: {name}")))?;
    Ok(EngineChoice { version: version.unwrap_or(newest).to_owned(), license, port: *port })
}

/// The parameter group family of an engine's version.
pub(super) fn parameter_group_family(engine: &str, version: &str) -> String {
    if engine == "postgres" {
        return format!("postgres{}", version.split('.').next().unwrap_or(version));
    }
    OTHERS
        .iter()
        .find(|(name, ..)| *name == engine)
        .map_or_else(String::new, |(_, _, family, ..)| (*family).to_owned())
}

/// A default option group.
pub(super) struct OptionGroup {
    pub(super) engine: String,
    pub(super) major: String,
}

impl OptionGroup {
    pub(super) fn name(&self) -> String {
        format!("default:{}-{}", self.engine, self.major.replace('.', "-"))
    }
}

/// The default option group of an engine's version.
pub(super) fn option_group_of(engine: &str, version: &str) -> OptionGroup {
    let parts = if engine == "postgres" { 1 } else { 2 };
    let major = version.split('.').take(parts).collect::<Vec<_>>().join(".");
    OptionGroup { engine: engine.to_owned(), major }
}

pub(super) fn list_option_groups(cx: &Context) -> Vec<OptionGroup> {
    let all = list_versions(cx).into_iter().filter(|version| !version.engine.starts_with("aurora"));
    all.map(|version| option_group_of(version.engine, &version.version)).collect()
}

/// Whether a parameter group family exists.
pub(super) fn is_family(cx: &Context, name: &str) -> bool {
    OTHERS.iter().any(|(_, _, family, ..)| *family == name)
        || cx.engines.all().any(|engine| format!("postgres{}", engine.major) == name)
}

/// Checks an instance class against an engine and its version.
pub(super) fn check_class(class: &str, engine: &str, version: &str, license: &str) -> Result<()> {
    let is_offered = class.rsplit_once('.').is_some_and(|(family, size)| {
        CLASSES.iter().any(|(name, sizes)| *name == family && sizes.split(' ').any(|known| known == size))
    });
    if is_offered {
        return Ok(());
    }
    if class.rsplit_once('.').is_some_and(|(family, _)| OLD_FAMILIES.contains(&family)) {
        return Err(ApiError::invalid_combination(format!(
            "RDS does not support creating a DB instance with the following combination: DBInstanceClass={class}, \
             Engine={engine}, EngineVersion={version}, LicenseModel={license}. For supported combinations of instance \
             class and database engine version, see the documentation."
        )));
    }
    Err(ApiError::invalid_value(format!("Invalid DB Instance class: {class}")))
}

/// The Availability Zones of a Region.
pub(super) fn zones_of(region: &str) -> [String; 3] {
    ["a", "b", "c"].map(|letter| format!("{}{letter}", scope::region_of(region)))
}

struct Version {
    engine: &'static str,
    major: String,
    version: String,
    family: String,
    is_default: bool,
}

fn list_versions(cx: &Context) -> Vec<Version> {
    let newest = cx.engines.newest().major;
    let own = cx.engines.all().map(|engine| Version {
        engine: "postgres",
        major: engine.major.to_string(),
        version: engine.version.clone(),
        family: format!("postgres{}", engine.major),
        is_default: engine.major == newest,
    });
    let others = OTHERS.iter().map(|(engine, version, family, ..)| Version {
        engine,
        major: version.split('.').take(2).collect::<Vec<_>>().join("."),
        version: (*version).to_owned(),
        family: (*family).to_owned(),
        is_default: true,
    });
    own.chain(others).collect()
}

pub(super) fn describe_engine_versions(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let filters = Filters::parse(
        query,
        &["db-parameter-group-family", "engine", "engine-mode", "engine-version", "status"],
    )?;
    let default_only = query.flag("DefaultOnly")?.unwrap_or(false);
    let is_asked = |name: &str, values: &[&str]| query.get(name).is_none_or(|asked| values.contains(&asked));
    let found = list_versions(request.cx)
        .into_iter()
        .filter(|version| {
            is_asked("Engine", &[version.engine])
                && is_asked("EngineVersion", &[&version.version, &version.major])
                && is_asked("DBParameterGroupFamily", &[&version.family])
                && (!default_only || version.is_default)
                && filters.admit("engine", &[version.engine])
                && filters.admit("engine-version", &[&version.version])
                && filters.admit("db-parameter-group-family", &[&version.family])
                && filters.admit("engine-mode", &["provisioned"])
                && filters.admit("status", &["available"])
        })
        .collect();
    let page = page(query, found, |version| format!("{} {}", version.engine, version.version))?;
    Ok(page.to_xml("DBEngineVersions", "DBEngineVersion", |xml, version| {
        let description = if version.engine == "postgres" { "PostgreSQL" } else { version.engine };
        let authorities = ["rds-ca-rsa2048-g1", "rds-ca-ecc384-g1", "rds-ca-rsa4096-g1"];
        xml.text("Engine", version.engine)
            .text("MajorEngineVersion", &version.major)
            .text("EngineVersion", &version.version)
            .text("DBParameterGroupFamily", &version.family)
            .text("DBEngineDescription", description)
            .text("DBEngineVersionDescription", format!("{} {}", version.engine, version.version))
            .within("ValidUpgradeTarget", |_| {})
            .values("ExportableLogTypes", "member", ["postgresql", "upgrade"])
            .text("SupportsLogExportsToCloudwatchLogs", true)
            .text("SupportsReadReplica", false)
            .within("SupportedFeatureNames", |_| {})
            .text("Status", "available")
            .text("SupportsParallelQuery", false)
            .text("SupportsGlobalDatabases", false)
            .within("TagList", |_| {})
            .values("SupportedCACertificateIdentifiers", "member", authorities);
    }))
}

pub(super) fn describe_orderable_options(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let engine = query.required("Engine")?;
    Filters::parse(query, &[])?;
    let choice = choose_engine(request.cx, engine, None)?;
    let is_asked = |name: &str, value: &str| query.get(name).is_none_or(|asked| asked == value);
    let mut found = Vec::new();
    for version in list_versions(request.cx).into_iter().filter(|version| version.engine == engine) {
        let is_version =
            query.get("EngineVersion").is_none_or(|asked| asked == version.version || asked == version.major);
        if !is_version || !is_asked("LicenseModel", choice.license) {
            continue;
        }
        for (family, sizes) in CLASSES {
            for size in sizes.split(' ') {
                let class = format!("{family}.{size}");
                if is_asked("DBInstanceClass", &class) {
                    found.extend(
                        STORAGE_TYPES.map(|storage| (version.version.clone(), class.clone(), storage)),
                    );
                }
            }
        }
    }
    let page =
        page_up_to(query, 1000, found, |(version, class, storage)| format!("{version} {class} {storage}"))?;
    Ok(page.to_xml("OrderableDBInstanceOptions", "OrderableDBInstanceOption", |xml, option| {
        let (version, class, storage) = option;
        let provisioned = storage.starts_with("io");
        xml.text("Engine", engine)
            .text("EngineVersion", version)
            .text("DBInstanceClass", class)
            .text("LicenseModel", choice.license)
            .list("AvailabilityZones", "AvailabilityZone", zones_of(request.region), |xml, zone| {
                xml.text("Name", zone);
            })
            .text("MultiAZCapable", true)
            .text("ReadReplicaCapable", false)
            .text("Vpc", true)
            .text("SupportsStorageEncryption", true)
            .text("StorageType", storage)
            .text("SupportsIops", provisioned)
            .text("SupportsEnhancedMonitoring", true)
            .text("SupportsIAMDatabaseAuthentication", true)
            .text("SupportsPerformanceInsights", true)
            .text("MinStorageSize", if provisioned { 100 } else { 20 })
            .text("MaxStorageSize", 65_536)
            .within("AvailableProcessorFeatures", |_| {})
            .values("SupportedEngineModes", "member", ["provisioned"])
            .text("SupportsStorageAutoscaling", true)
            .text("SupportsKerberosAuthentication", false)
            .text("OutpostCapable", false)
            .values("SupportedNetworkTypes", "member", ["IPV4"]);
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_known_unknown_or_out_of_date() {
        let check = |name: &str| {
            check_class(name, "postgres", "15.18", "postgresql-license").map_err(|error| error.code)
        };
        assert_eq!(check("db.t3.micro"), Ok(()));
        assert_eq!(check("db.t2.micro"), Err("InvalidParameterCombination".to_owned()));
        for bad in ["db.nonsense.9x", "db.t3.huge", "t3.micro", ""] {
            assert_eq!(check(bad), Err("InvalidParameterValue".to_owned()), "{bad}");
        }
    }
}
