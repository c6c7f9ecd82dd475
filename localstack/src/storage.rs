//! The rules of storage: sizes, IOPS and throughput of each type (Amazon RDS User Guide, "Amazon RDS DB instance
//! storage"). The refusals are in AWS's words.

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::{ApiError, Result};
use crate::resources::{Instance, Settings};

/// The time after a change of storage in which no other may follow.
const COOLING_OFF: TimeDelta = TimeDelta::hours(6);

/// The size in GiB from which gp3 is striped over several volumes, and can have more than its baseline.
fn striped_from(engine: &str) -> Option<i64> {
    match engine {
        // A single volume at any size, which can always have more than its baseline.
        _ if engine.starts_with("sqlserver") => None,
        _ if engine.starts_with("oracle") => Some(200),
        _ => Some(400),
    }
}

fn is_striped(settings: &Settings) -> bool {
    striped_from(&settings.engine).is_some_and(|from| settings.allocated_storage >= from)
}

/// The baseline of gp3: IOPS, and MiB/s.
fn gp3_baseline(settings: &Settings) -> (i64, i64) {
    if is_striped(settings) { (12_000, 500) } else { (3_000, 125) }
}

/// The type of storage that a request gets when it names none.
pub(crate) fn default_type(iops: Option<i64>) -> &'static str {
    if iops.is_some() { "io1" } else { "gp3" }
}

/// Checks the type, size, IOPS and throughput of storage; gp3 may have its baseline or nothing set.
pub(crate) fn check_storage(settings: &Settings) -> Result<()> {
    let (size, kind) = (settings.allocated_storage, settings.storage_type.as_str());
    let least = match kind {
        "gp2" | "gp3" => 20,
        "io1" | "io2" => 100,
        "standard" => 5,
        other => return Err(ApiError::invalid_value(format!("Invalid storage type: {other}"))),
    };
    let most = if kind == "standard" { 3072 } else { 65_536 };
    if !(least..=most).contains(&size) {
        return Err(ApiError::invalid_combination(format!(
            "Invalid storage size for engine name {} and storage type {kind}: {size}",
            settings.engine
        )));
    }
    if settings.dedicated_log_volume && !kind.starts_with("io") {
        return Err(ApiError::invalid_combination(
            "A dedicated log volume is supported for Provisioned IOPS storage only: io1 or io2.",
        ));
    }
    check_performance(settings)?;
    if let Some(most) = settings.max_allocated_storage {
        check_upper_limit(settings, most)?;
    }
    Ok(())
}

/// Checks the upper limit of automatic growth: at least a tenth more than the current size.
pub(crate) fn check_upper_limit(settings: &Settings, most: i64) -> Result<()> {
    if most * 10 < settings.allocated_storage * 11 {
        return Err(ApiError::invalid_combination(
            "Max storage size must be greater than storage size by at least 10 percent",
        ));
    }
    Ok(())
}

fn check_performance(settings: &Settings) -> Result<()> {
    let (size, kind) = (settings.allocated_storage, settings.storage_type.as_str());
    let ratio = |iops: i64, least: f64, most: f64| {
        let each = iops as f64 / size as f64;
        if (least..=most).contains(&each) {
            return Ok(());
        }
        Err(ApiError::invalid_combination(format!(
            "The IOPS to GiB ratio must be between {least} and {most} for storage type {kind}: {iops} IOPS for {size} GiB"
        )))
    };
    let within = |name: &str, value: i64, least: i64, most: i64| {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(ApiError::invalid_combination(format!(
            "Invalid {name} value for engine name {} and storage type {kind}: {value}. It must be between {least} and {most}.",
            settings.engine
        )))
    };
    if settings.storage_throughput.is_some() && kind != "gp3" {
        return Err(ApiError::invalid_combination(format!(
            "You can't specify storage throughput for storage type {kind}: it is for gp3 only."
        )));
    }
    match (kind, settings.iops) {
        ("io1" | "io2", None) => Err(ApiError::invalid_combination(format!(
            "You must specify the Iops parameter when you use the storage type {kind}."
        ))),
        ("io1" | "io2", Some(iops)) => {
            within("iops", iops, 1_000, 256_000)?;
            ratio(iops, 0.5, if kind == "io1" { 50.0 } else { 1_000.0 })
        }
        ("gp3", iops) => {
            let (iops_base, throughput_base) = gp3_baseline(settings);
            let throughput = settings.storage_throughput;
            let asks_more =
                iops.is_some_and(|it| it != iops_base) || throughput.is_some_and(|it| it != throughput_base);
            if let Some(from) = striped_from(&settings.engine)
                && size < from
            {
                if asks_more {
                    return Err(ApiError::invalid_combination(format!(
                        "You can't specify IOPS or storage throughput for engine {} and a storage size less than {from}.",
                        settings.engine
                    )));
                }
                return Ok(());
            }
            let (iops_most, throughput_most) =
                if is_striped(settings) { (64_000, 4_000) } else { (16_000, 1_000) };
            let iops = iops.unwrap_or(iops_base);
            within("iops", iops, iops_base, iops_most)?;
            if iops > iops_base {
                ratio(iops, 0.5, 500.0)?;
            }
            let throughput = throughput.unwrap_or(throughput_base);
            within("storage throughput", throughput, throughput_base, throughput_most)?;
            if throughput * 4 > iops {
                return Err(ApiError::invalid_combination(format!(
                    "The storage throughput to IOPS ratio must be at most 0.25: {throughput} MiB/s for {iops} IOPS"
                )));
            }
            Ok(())
        }
        (_, Some(_)) => {
            Err(ApiError::invalid_combination(format!("You can't specify IOPS for storage type {kind}.")))
        }
        (_, None) => Ok(()),
    }
}

/// Fills in the baseline of gp3, and removes what another type does not have.
pub(crate) fn fill_in_performance(settings: &mut Settings) {
    match settings.storage_type.as_str() {
        "gp3" => {
            let (iops, throughput) = gp3_baseline(settings);
            settings.iops = Some(settings.iops.unwrap_or(iops).max(iops));
            settings.storage_throughput =
                Some(settings.storage_throughput.unwrap_or(throughput).max(throughput));
        }
        "io1" | "io2" => settings.storage_throughput = None,
        _ => (settings.iops, settings.storage_throughput) = (None, None),
    }
}

/// The storage that a request asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StorageRequest {
    pub(crate) size: Option<i64>,
    pub(crate) kind: Option<String>,
    pub(crate) iops: Option<i64>,
    pub(crate) throughput: Option<i64>,
}

/// The settings after a change of storage; `None` if the request asks for none.
pub(crate) fn changed_storage(
    instance: &Instance,
    wanted: StorageRequest,
    now: DateTime<Utc>,
) -> Result<Option<Settings>> {
    if wanted == StorageRequest::default() {
        return Ok(None);
    }
    let has = &instance.settings;
    let mut size = wanted.size.unwrap_or(has.allocated_storage);
    if size < has.allocated_storage {
        return Err(ApiError::invalid_combination(format!(
            "Invalid storage size for engine name {} and storage type {}: {size}. Storage can not be decreased.",
            has.engine, has.storage_type
        )));
    }
    if size > has.allocated_storage {
        // An increase of less than a tenth is rounded up to a tenth.
        size = size.max((has.allocated_storage * 11 + 9) / 10);
    }
    let kind = wanted.kind.unwrap_or_else(|| has.storage_type.clone());
    let is_same_kind = kind == has.storage_type;
    let is_provisioned = matches!(kind.as_str(), "io1" | "io2") || (kind == "gp3" && is_striped(has));
    if is_same_kind && is_provisioned && size != has.allocated_storage && wanted.iops.is_none() {
        return Err(ApiError::invalid_combination(
            "You must specify both the storage size and iops when modifying the storage size or iops on a DB instance that \
             has iops.",
        ));
    }
    let mut will_have = Settings { allocated_storage: size, storage_type: kind, ..has.clone() };
    let was_baseline = (has.iops, has.storage_throughput) == {
        let (iops, throughput) = gp3_baseline(has);
        (Some(iops), Some(throughput))
    };
    // The baseline of one size is not carried over to another.
    let carries = is_same_kind && !(has.storage_type == "gp3" && was_baseline);
    will_have.iops = wanted.iops.filter(|iops| *iops != 0).or(has.iops.filter(|_| carries));
    will_have.storage_throughput = wanted.throughput.or(has.storage_throughput.filter(|_| carries));
    check_storage(&will_have)?;
    fill_in_performance(&mut will_have);
    let differs = (size, &will_have.storage_type, will_have.iops, will_have.storage_throughput)
        != (has.allocated_storage, &has.storage_type, has.iops, has.storage_throughput);
    if differs && instance.storage_changed_at.is_some_and(|at| now < at + COOLING_OFF) {
        return Err(ApiError::invalid_combination(
            "You can't currently modify the storage of this DB instance because the previous storage change is being \
             optimized.",
        ));
    }
    Ok(Some(will_have))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(kind: &str, size: i64, iops: Option<i64>, throughput: Option<i64>) -> Settings {
        let mut settings: Settings = serde_json::from_value(serde_json::json!({
            "engine": "postgres", "engine_version": "15.18", "class": "db.m6g.large",
            "license_model": "postgresql-license", "master_username": null, "db_name": null, "asked_port": 5432,
            "allocated_storage": size, "max_allocated_storage": null, "storage_type": kind, "iops": iops,
            "storage_throughput": throughput, "kms_key": null, "backup_window": "", "maintenance_window": "",
            "retention_days": 1, "security_groups": [], "parameter_group": "", "option_group": "", "subnet_group": "",
            "availability_zone": "", "multi_az": false, "public": false, "auto_minor_upgrade": true,
            "deletion_protection": false, "copy_tags_to_snapshot": false, "iam_authentication": false,
            "performance_insights": false, "monitoring_interval": 0, "log_exports": [], "ca": "",
            "lifecycle_support": "", "cluster": null,
        }))
        .unwrap();
        if throughput.is_none() && iops.is_none() && kind == "gp3" {
            fill_in_performance(&mut settings);
        }
        settings
    }

    #[test]
    fn each_type_has_its_bounds() {
        for (kind, size, iops, throughput, is_valid) in [
            ("gp3", 20, None, None, true),
            ("gp3", 19, None, None, false),
            ("gp3", 399, Some(3_000), Some(125), true),
            ("gp3", 399, Some(3_001), None, false),
            ("gp3", 399, None, Some(126), false),
            ("gp3", 400, Some(12_000), Some(500), true),
            ("gp3", 400, Some(11_999), None, false),
            ("gp3", 400, Some(64_000), Some(4_000), true),
            ("gp3", 400, Some(64_001), None, false),
            ("gp3", 400, Some(12_000), Some(3_001), false),
            ("gp2", 20, Some(3_000), None, false),
            ("io1", 100, Some(1_000), None, true),
            ("io1", 100, Some(5_000), None, true),
            ("io1", 100, Some(5_001), None, false),
            ("io1", 100, Some(999), None, false),
            ("io1", 4_000, Some(1_999), None, false),
            ("io1", 100, Some(1_000), Some(125), false),
            ("io2", 100, Some(100_000), None, true),
            ("io2", 100, Some(100_001), None, false),
            ("io1", 100, None, None, false),
            ("tape", 100, None, None, false),
        ] {
            let asked = settings(kind, size, iops, throughput);
            assert_eq!(check_storage(&asked).is_ok(), is_valid, "{kind} {size} {iops:?} {throughput:?}");
        }
    }

    #[test]
    fn other_engines_stripe_elsewhere() {
        let of = |engine: &str, size: i64, iops: i64| {
            let asked = Settings { engine: engine.to_owned(), ..settings("gp3", size, Some(iops), None) };
            check_storage(&asked).is_ok()
        };
        assert!(of("oracle-ee", 200, 12_000) && !of("oracle-ee", 199, 12_000));
        assert!(of("sqlserver-se", 20, 4_000) && !of("sqlserver-se", 100, 16_001));
    }

    #[test]
    fn gp3_grows_into_its_larger_baseline() {
        let mut grown = Settings { allocated_storage: 400, ..settings("gp3", 100, None, None) };
        fill_in_performance(&mut grown);
        assert_eq!((grown.iops, grown.storage_throughput), (Some(12_000), Some(500)));
    }
}
