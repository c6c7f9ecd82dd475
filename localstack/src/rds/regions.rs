//! What every Region has: certificate authorities, default option groups, and the other Regions.

use chrono::{DateTime, Utc};

use crate::error::{ApiError, Result};
use crate::rds::catalogue;
use crate::rds::paging::{Filters, page};
use crate::rds::request::Request;
use crate::resources::arn;
use crate::scope;
use crate::wire::Xml;

/// The certificate authority of instances that name none.
pub(super) const DEFAULT_CA: &str = "rds-ca-rsa2048-g1";

/// The certificate authorities of us-east-1: name, thumbprint, begin and end. The servers of the stack have
/// certificates from the stack's own authority.
const AUTHORITIES: [(&str, &str, i64, i64); 3] = [
    ("rds-ca-ecc384-g1", "24a97b91cbe86911190576c35c36aab4fa7b25de", 1_621_982_515, 4_777_659_715),
    (DEFAULT_CA, "2fa77ef894d983ba9d37ad699c84ab0f657be1c8", 1_621_982_097, 2_884_289_697),
    ("rds-ca-rsa4096-g1", "9da6fa7fd2ec09c569a400d876b01b0c12759a96", 1_621_982_315, 4_777_659_515),
];

const REGIONS: &str = "ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 \
    ca-central-1 eu-central-1 eu-north-1 eu-west-1 eu-west-2 eu-west-3 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2";

/// Checks that a certificate authority exists.
pub(super) fn existing_authority(name: &str) -> Result<&str> {
    if AUTHORITIES.iter().any(|(known, ..)| *known == name) {
        return Ok(name);
    }
    Err(ApiError::new("CertificateNotFound", format!("CertificateIdentifier not found: {name}")))
}

pub(super) fn describe_certificates(request: &Request<'_>) -> Result<Xml> {
    Filters::parse(request.query, &[])?;
    let asked = request.query.get("CertificateIdentifier").map(existing_authority).transpose()?;
    let found = AUTHORITIES.iter().filter(|(name, ..)| asked.is_none_or(|asked| asked == *name)).collect();
    let page = page(request.query, found, |(name, ..)| (*name).to_owned())?;
    let at = |seconds: i64| DateTime::<Utc>::from_timestamp(seconds, 0);
    let mut xml = Xml::new();
    xml.text("DefaultCertificateForNewLaunches", DEFAULT_CA);
    xml.list("Certificates", "Certificate", &page.items, |xml, (name, thumbprint, from, until)| {
        xml.text("CertificateIdentifier", name)
            .text("CertificateType", "CA")
            .text("Thumbprint", thumbprint)
            .time("ValidFrom", at(*from))
            .time("ValidTill", at(*until))
            .text("CertificateArn", format!("arn:aws:rds:{}::cert:{name}", scope::region_of(request.region)))
            .text("CustomerOverride", false);
    });
    page.write_marker(&mut xml);
    Ok(xml)
}

/// The default option groups; callers cannot make others here.
pub(super) fn describe_option_groups(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    Filters::parse(query, &[])?;
    let (engine, major) = (query.get("EngineName"), query.get("MajorEngineVersion"));
    let name = query.get("OptionGroupName").map(str::to_lowercase);
    if name.is_some() && (engine.is_some() || major.is_some()) {
        return Err(ApiError::invalid_combination(
            "OptionGroupName can't be specified together with EngineName.",
        ));
    }
    if major.is_some() && engine.is_none() {
        return Err(ApiError::invalid_combination(
            "EngineName is required when MajorEngineVersion is specified.",
        ));
    }
    let mut found = catalogue::list_option_groups(request.cx);
    found.retain(|group| {
        name.as_ref().is_none_or(|name| *name == group.name())
            && engine.is_none_or(|engine| engine == group.engine)
            && major.is_none_or(|major| major == group.major)
    });
    if let (Some(name), true) = (name, found.is_empty()) {
        return Err(ApiError::no_option_group(&name));
    }
    let page = page(query, found, catalogue::OptionGroup::name)?;
    Ok(page.to_xml("OptionGroupsList", "OptionGroup", |xml, group| {
        let description = format!("Default option group for {} {}", group.engine, group.major);
        xml.text("OptionGroupName", group.name())
            .text("OptionGroupDescription", description)
            .text("EngineName", &group.engine)
            .text("MajorEngineVersion", &group.major)
            .within("Options", |_| {})
            .text("AllowsVpcAndNonVpcInstanceMemberships", true)
            .text("OptionGroupArn", arn(request.region, "og", &group.name()));
    }))
}

/// The Regions that snapshots and automated backups can come from.
pub(super) fn describe_source_regions(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    Filters::parse(query, &[])?;
    let here = scope::region_of(request.region);
    let asked = query.get("RegionName");
    if let Some(asked) = asked
        && REGIONS.split_whitespace().all(|name| name != asked)
    {
        return Err(ApiError::invalid_value(format!("Invalid Region name: {asked}")));
    }
    let others = REGIONS.split_whitespace().filter(|name| *name != here);
    let found = others.filter(|name| asked.is_none_or(|asked| asked == *name)).collect();
    let page = page(query, found, |name: &&str| (*name).to_owned())?;
    Ok(page.to_xml("SourceRegions", "SourceRegion", |xml, name| {
        xml.text("RegionName", name)
            .text("Endpoint", format!("https://rds.{name}.amazonaws.com"))
            .text("Status", "available")
            .text("SupportsDBInstanceAutomatedBackupsReplication", true);
    }))
}
