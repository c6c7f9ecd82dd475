//! Rules for values, with RDS's messages for those that break them.

use crate::error::{ApiError, Result};
use crate::resources::Tag;
use crate::windows::{Window, WindowFault};
use crate::wire::Query;

/// Checks an identifier that a caller chooses: letters, digits and hyphens, a letter first, no hyphen last or
/// doubled. Returns it in lower case.
pub(super) fn check_identifier(parameter: &str, text: &str, longest: usize) -> Result<String> {
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if starts_well && is_plain && text.len() <= longest && !text.ends_with('-') && !text.contains("--") {
        return Ok(text.to_ascii_lowercase());
    }
    Err(ApiError::invalid_value(format!(
        "The parameter {parameter} is not a valid identifier. Identifiers must begin with a letter; must contain only \
         ASCII letters, digits, and hyphens; must be at most {longest} characters long; and must not end with a hyphen \
         or contain two consecutive hyphens."
    )))
}

/// Checks a master password for PostgreSQL.
pub(super) fn check_password(text: &str) -> Result<()> {
    let why = match text.len() {
        0..8 => "is not a valid password because it is shorter than 8 characters.",
        129.. => "is not a valid password because it is longer than 128 characters.",
        _ if text.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'/' | b'@' | b'"')) => {
            "is not a valid password. Only printable ASCII characters besides '/', '@', '\"', ' ' may be used."
        }
        _ => return Ok(()),
    };
    Err(ApiError::invalid_value(format!("The parameter MasterUserPassword {why}")))
}

/// Checks the name of a master user.
pub(super) fn check_master_username(text: &str) -> Result<()> {
    const RESERVED: &str = "admin all current_user none public rdsadmin rds_iam rds_password rds_replication \
        rds_superuser replication user";
    let lower = text.to_ascii_lowercase();
    if RESERVED.split_whitespace().any(|word| word == lower) || lower.starts_with("pg_") {
        return Err(ApiError::invalid_value(format!(
            "MasterUsername {text} cannot be used as it is a reserved word used by the engine"
        )));
    }
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_plain || !text.starts_with(|first: char| first.is_ascii_alphabetic()) || text.len() > 63 {
        return Err(ApiError::invalid_value(
            "The parameter MasterUsername is not a valid identifier. Identifiers must begin with a letter; must \
             contain only ASCII letters, digits, and underscores; and must be at most 63 characters long.",
        ));
    }
    Ok(())
}

pub(super) fn check_database_name(text: &str) -> Result<()> {
    const RESERVED: [&str; 4] = ["rdsadmin", "template0", "template1", "default"];
    if RESERVED.contains(&text.to_ascii_lowercase().as_str()) {
        return Err(ApiError::invalid_value(format!(
            "Database name {text} cannot be used. It is a reserved word"
        )));
    }
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_plain || !text.starts_with(|first: char| first.is_ascii_alphabetic()) || text.len() > 63 {
        return Err(ApiError::invalid_value(
            "DBName must begin with a letter and contain only alphanumeric characters.",
        ));
    }
    Ok(())
}

pub(super) fn check_retention(days: i64) -> Result<i64> {
    if (0..=35).contains(&days) {
        return Ok(days);
    }
    Err(ApiError::invalid_value(format!(
        "Invalid backup retention period: {days}. The backup retention period must be between 0 and 35 days."
    )))
}

pub(super) fn check_port(number: i64) -> Result<u16> {
    u16::try_from(number).ok().filter(|port| *port >= 1150).ok_or_else(|| {
        ApiError::invalid_value(format!("Invalid port: {number}. The port must be between 1150 and 65535."))
    })
}

pub(super) fn parse_backup_window(text: &str) -> Result<Window> {
    Window::parse_daily(text).map_err(|fault| {
        ApiError::invalid_value(match fault {
            WindowFault::Format => format!(
                "Invalid backup window format: {text}. Must be specified as a range hh24:mi-hh24:mi (24H Clock UTC)."
            ),
            WindowFault::TooShort => "The backup window must be at least 30 minutes.".to_owned(),
        })
    })
}

pub(super) fn parse_maintenance_window(text: &str) -> Result<Window> {
    Window::parse_weekly(text).map_err(|fault| {
        ApiError::invalid_value(match fault {
            WindowFault::Format => format!(
                "Invalid maintenance window format: {text}. Should be specified as a range \
                 ddd:hh24:mi-ddd:hh24:mi (24H Clock UTC), less than 24 hours long. Example: Sun:23:45-Mon:00:15"
            ),
            WindowFault::TooShort => "The maintenance window must be at least 30 minutes.".to_owned(),
        })
    })
}

/// Checks that two windows do not overlap; either may be absent.
pub(super) fn refuse_overlap(backup: Option<Window>, maintenance: Option<Window>) -> Result<()> {
    match (backup, maintenance) {
        (Some(backup), Some(maintenance)) if backup.overlaps(maintenance) => {
            Err(ApiError::invalid_value("The backup window and maintenance window must not overlap."))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_security_groups(groups: &[String]) -> Result<()> {
    match groups.iter().find(|group| !is_resource_id(group, "sg-")) {
        None => Ok(()),
        Some(wrong) => {
            Err(ApiError::invalid_value(format!("Invalid security group , groupId= {wrong}, groupName=.")))
        }
    }
}

/// Whether a text has the form of the id of a resource of EC2, such as `sg-0123`.
pub(super) fn is_resource_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Checks the interval and the role of enhanced monitoring.
pub(super) fn check_monitoring(interval: i64, role: Option<&str>) -> Result<()> {
    if ![0, 1, 5, 10, 15, 30, 60].contains(&interval) {
        return Err(ApiError::invalid_value(format!(
            "Invalid value for MonitoringInterval: {interval}. Valid values are 0, 1, 5, 10, 15, 30 and 60."
        )));
    }
    match role {
        None if interval > 0 => Err(ApiError::invalid_combination(
            "A MonitoringRoleARN value is required if you specify a MonitoringInterval value other than 0.",
        )),
        Some(_) if interval == 0 => Err(ApiError::invalid_combination(
            "A MonitoringInterval value other than 0 is required if you specify a MonitoringRoleARN value.",
        )),
        Some(role) if !(role.starts_with("arn:aws") && role.contains(":role/")) => {
            Err(ApiError::invalid_value(format!("Invalid MonitoringRoleArn: {role}")))
        }
        _ => Ok(()),
    }
}

/// Checks the retention period of Performance Insights.
pub(super) fn check_insights_days(days: i64) -> Result<i64> {
    if days == 7 || days == 731 || (days % 31 == 0 && (1..=23).contains(&(days / 31))) {
        return Ok(days);
    }
    Err(ApiError::invalid_value(format!(
        "Invalid Performance Insights retention period: {days}. Valid values are 7, 31 times a number of months from 1 to \
         23, and 731."
    )))
}

/// Checks that a value is one of the known ones.
pub(super) fn check_one_of<'t>(parameter: &str, text: &'t str, known: &[&str]) -> Result<&'t str> {
    if known.contains(&text) {
        return Ok(text);
    }
    Err(ApiError::invalid_value(format!(
        "Invalid value for {parameter}: {text}. Valid values are {}.",
        known.join(", ")
    )))
}

/// The tags of a request, or `None` when it has none.
pub(super) fn requested_tags(query: &Query) -> Result<Option<Vec<Tag>>> {
    let mut tags: Vec<Tag> = Vec::new();
    for given in query.structures("Tags", "Tag") {
        let tag = Tag {
            key: given.get("Key").unwrap_or_default().to_owned(),
            value: given.get("Value").unwrap_or_default().to_owned(),
        };
        check_tag(&tag)?;
        if tags.iter().any(|other| other.key == tag.key) {
            return Err(ApiError::invalid_value(format!("Duplicate tag key: {}", tag.key)));
        }
        tags.push(tag);
    }
    tags.sort();
    Ok((!tags.is_empty()).then_some(tags))
}

fn check_tag(tag: &Tag) -> Result<()> {
    let lower = tag.key.to_lowercase();
    let is_valid = |text: &str| {
        text.chars().all(|character| character.is_alphanumeric() || " _.:/=+-@".contains(character))
    };
    let why = if tag.key.is_empty() || tag.key.chars().count() > 128 {
        "Tag keys must be between 1 and 128 characters long."
    } else if tag.value.chars().count() > 256 {
        "Tag values must be at most 256 characters long."
    } else if lower.starts_with("aws:") || lower.starts_with("rds:") {
        "Tag keys must not begin with aws: or rds:."
    } else if !is_valid(&tag.key) || !is_valid(&tag.value) {
        "Tags may only contain letters, digits, whitespace and the characters _ . : / = + - @."
    } else {
        return Ok(());
    };
    Err(ApiError::invalid_value(format!("Invalid tag {}: {why}", tag.key)))
}

/// Checks the number of tags of a resource.
pub(super) fn check_tag_count(tags: &[Tag]) -> Result<()> {
    if tags.len() <= 50 {
        return Ok(());
    }
    Err(ApiError::invalid_value("A resource can have at most 50 tags."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_follow_the_rules() {
        assert_eq!(check_identifier("X", "Orders-Prod", 63).unwrap(), "orders-prod");
        for bad in ["", "1a", "-a", "a-", "a--b", "a_b", "a.b", "ä", "a b", &"a".repeat(64)] {
            assert_eq!(check_identifier("X", bad, 63).unwrap_err().code, "InvalidParameterValue", "{bad}");
        }
        assert!(check_identifier("X", &"a".repeat(63), 63).is_ok());
    }

    #[test]
    fn passwords_follow_the_rules() {
        assert!(check_password("abcd1234").is_ok());
        assert!(check_password("it's-fine!").is_ok());
        for bad in [
            "",
            "short12",
            "has space1",
            "has/slash1",
            "has@at1234",
            "has\"quote1",
            "non-ascii-ü",
            &"a".repeat(129),
        ] {
            assert!(check_password(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_follow_the_rules() {
        let tags_of = |form: &str| requested_tags(&Query::parse(form.as_bytes()));
        assert_eq!(tags_of("").unwrap(), None);
        let found = tags_of("Tags.Tag.1.Key=lifeboat:run&Tags.Tag.1.Value=a%2Bb").unwrap().unwrap();
        assert_eq!((found[0].key.as_str(), found[0].value.as_str()), ("lifeboat:run", "a+b"));
        for bad in ["Key=aws:x", "Key=a,b", "Key=", "Key=a&Tags.Tag.2.Key=a"] {
            assert!(tags_of(&format!("Tags.Tag.1.{bad}")).is_err(), "{bad}");
        }
    }
}
