//! The read-only calls of the AWS CLI: operations and options by name.
//!
//! Not every operation that is called `get-…` reads: some write a file (`s3api get-object`), make a credential (`sts
//! get-session-token`) or wake a machine up (`ec2 get-console-screenshot`). Options are listed too, since the CLI has some that write,
//! read files, or send requests elsewhere, and takes unambiguous beginnings of them (`--endpoint` for `--endpoint-url`).

use super::is_listed;

/// A service, its read-only operations, and their options.
type Service = (&'static str, &'static str, &'static str);

const SERVICES: [Service; 9] = [
    ("sts", "get-caller-identity", ""),
    (
        "rds",
        "describe-account-attributes describe-blue-green-deployments describe-certificates \
         describe-db-cluster-automated-backups describe-db-cluster-parameter-groups \
         describe-db-cluster-snapshot-attributes describe-db-cluster-snapshots describe-db-clusters \
         describe-db-engine-versions describe-db-instance-automated-backups describe-db-instances \
         describe-db-log-files describe-db-parameter-groups describe-db-parameters describe-db-proxies \
         describe-db-snapshot-attributes describe-db-snapshots describe-db-subnet-groups \
         describe-event-categories describe-event-subscriptions describe-events describe-export-tasks \
         describe-global-clusters describe-option-groups describe-orderable-db-instance-options \
         describe-pending-maintenance-actions describe-source-regions \
         describe-valid-db-instance-modifications list-tags-for-resource",
        "--blue-green-deployment-identifier --certificate-identifier --db-cluster-identifier \
         --db-cluster-parameter-group-name --db-cluster-resource-id --db-cluster-snapshot-identifier \
         --db-instance-automated-backups-arn --db-instance-class --db-instance-identifier \
         --db-parameter-group-family --db-parameter-group-name --db-proxy-name --db-snapshot-identifier \
         --db-subnet-group-name --dbi-resource-id --default-only --duration --end-time --engine \
         --engine-name --engine-version --event-categories --export-task-identifier --file-last-written \
         --file-size --filename-contains --filters --global-cluster-identifier --include-public \
         --include-shared --license-model --major-engine-version --marker --max-records --no-include-public \
         --no-include-shared --no-vpc --option-group-name --region-name --resource-identifier \
         --resource-name --snapshot-type --source --source-arn --source-identifier --source-type \
         --start-time --subscription-name --vpc",
    ),
    (
        "cloudwatch",
        "describe-alarm-history describe-alarms describe-alarms-for-metric get-dashboard get-metric-data \
         get-metric-statistics list-dashboards list-metrics list-tags-for-resource",
        "--action-prefix --alarm-name --alarm-name-prefix --alarm-names --alarm-types \
         --children-of-alarm-name --dashboard-name --dashboard-name-prefix --dimensions --end-date \
         --end-time --extended-statistic --extended-statistics --history-item-type --max-datapoints \
         --max-records --metric-data-queries --metric-name --namespace --next-token --parents-of-alarm-name \
         --period --recently-active --resource-arn --scan-by --start-date --start-time --state-value \
         --statistic --statistics --unit",
    ),
    (
        "sns",
        "get-subscription-attributes get-topic-attributes list-subscriptions list-subscriptions-by-topic \
         list-tags-for-resource list-topics",
        "--next-token --resource-arn --subscription-arn --topic-arn",
    ),
    (
        "ec2",
        "describe-availability-zones describe-instances describe-network-interfaces describe-regions \
         describe-route-tables describe-security-group-rules describe-security-groups describe-subnets \
         describe-vpc-endpoints describe-vpcs",
        "--all-availability-zones --all-regions --filters --group-ids --group-names --instance-ids \
         --max-results --network-interface-ids --next-token --region-names --route-table-ids \
         --security-group-rule-ids --subnet-ids --vpc-endpoint-ids --vpc-ids --zone-names",
    ),
    (
        "kms",
        "describe-key get-key-policy get-key-rotation-status list-aliases list-grants",
        "--key-id --limit --marker --policy-name",
    ),
    (
        "events",
        "describe-rule list-rules list-targets-by-rule",
        "--event-bus-name --limit --name --name-prefix --next-token --rule",
    ),
    (
        "backup",
        "describe-backup-vault describe-recovery-point describe-restore-job list-backup-jobs \
         list-backup-vaults list-copy-jobs list-recovery-points-by-backup-vault \
         list-recovery-points-by-resource list-restore-jobs",
        "--backup-vault-name --by-account-id --by-backup-vault-name --by-created-after --by-created-before \
         --by-resource-arn --by-resource-type --by-state --by-status --max-results --next-token \
         --recovery-point-arn --resource-arn --restore-job-id",
    ),
    ("secretsmanager", "describe-secret list-secrets", "--filters --max-results --next-token --secret-id"),
];

/// Global options of the CLI that neither write a file, nor read one, nor redirect the request.
const OF_EVERY_CALL: &str = "--cli-connect-timeout --cli-read-timeout --color --max-items --no-cli-pager --no-paginate --output \
     --page-size --query --region --starting-token";

/// Whether the words after `aws` are read-only.
pub(super) fn judge_aws(words: &[String]) -> Result<(), String> {
    let [service, operation, rest @ ..] = words else {
        return Err("`aws` is followed by a service and an operation".to_owned());
    };
    let Some((_, operations, options)) = SERVICES.iter().find(|(name, ..)| name == service) else {
        return Err(format!("`aws {}` is not known to be read-only", service.escape_default()));
    };
    if !is_listed(operation, operations) {
        return Err(format!("`aws {service} {}` is not known to be read-only", operation.escape_default()));
    }
    for (place, word) in rest.iter().enumerate() {
        if word.starts_with('-') {
            let name = word.split('=').next().unwrap_or_default();
            if !is_listed(name, OF_EVERY_CALL) && !is_listed(name, options) {
                return Err(format!(
                    "option `{}` of `aws {service} {operation}` is not known to be read-only",
                    name.escape_default()
                ));
            }
        }
        // It becomes part of a host name.
        let region = match word.split_once('=') {
            Some(("--region", region)) => Some(region),
            _ if word == "--region" => rest.get(place + 1).map(String::as_str),
            _ => None,
        };
        let is_region = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if region.is_some_and(|region| !is_region(region)) {
            return Err("`--region` does not name a Region".to_owned());
        }
        // The CLI puts the content of a file, or of a URL, in the place of such an argument.
        let lower = word.to_ascii_lowercase();
        if ["file://", "fileb://", "http://", "https://", "@="].iter().any(|mark| lower.contains(mark)) {
            return Err(format!("the AWS CLI would read `{}` as a file or URL", word.escape_default()));
        }
    }
    Ok(())
}

/// Whether `~/.aws/cli/alias` redefines a service: an alias may be any program.
pub(super) fn has_alias(service: &str) -> bool {
    let Some(home) = std::env::var_os("HOME") else { return false };
    let Ok(text) = std::fs::read_to_string(std::path::Path::new(&home).join(".aws/cli/alias")) else {
        return false;
    };
    text.lines().map(str::trim).any(|line| {
        let key = line.split('=').next().unwrap_or_default().trim();
        let section: Vec<&str> = line.trim_matches(['[', ']']).split_whitespace().collect();
        key == service
            || (line.starts_with('[') && section.first() == Some(&"command") && section.contains(&service))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str) -> Result<(), String> {
        judge_aws(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_reads_is_known_by_name_and_everything_else_is_not_run() {
        for text in [
            "sts get-caller-identity --query Arn --output text",
            "rds describe-db-instances --db-instance-identifier x --query DBInstances[0] --output=text --region eu-west-1",
            "cloudwatch describe-alarms --alarm-name-prefix lifeboat/",
        ] {
            assert_eq!(judge(text), Ok(()), "{text}");
        }
        for text in [
            "rds delete-db-instance --db-instance-identifier describe-me",
            "--region describe rds delete-db-instance",
            "--region eu-west-1 sts get-caller-identity",
            "s3api get-object --bucket b --key k out",
            "s3 cp a b",
            "sts get-session-token",
            "sts assume-role",
            "secretsmanager get-secret-value --secret-id x",
            "ec2 get-console-screenshot --instance-id i --wake-up",
            "rds describe-db-instances --endpoint-url http://x",
            "rds describe-db-instances --endpoint x",
            "rds describe-db-instances --cli-input-json x",
            "rds describe-db-instances --cli-input-j x",
            "rds describe-db-instances --generate-cli-skeleton",
            "rds describe-db-instances --profile x",
            "rds describe-db-instances --debug",
            "rds describe-db-instances --db-instance-identifier file:///etc/passwd",
            "rds describe-db-instances --filters Name@=file:///etc/passwd",
            "rds describe-db-instances --no-verify-ssl",
            "rds describe-db-instances --ca-bundle=x",
            "rds describe-db-instances --region evil.example/",
            "rds describe-db-instances --region=evil.example#",
            "rds generate-db-auth-token",
            "rds wait db-instance-available",
            "configure set x y",
            "rds",
        ] {
            assert!(judge(text).is_err(), "{text}");
        }
    }
}
