//! Connections to the services that we use, and the time by AWS's clock.

use aws_config::SdkConfig;
use chrono::{DateTime, Utc};

use super::access::{Access, check_credentials, check_endpoint, configuration};
use super::failure::Failure;
use super::throttling;
use super::time::LatestAnswer;
use crate::error::{Error, Result};
use crate::rds::Place;

/// Connections to the services that we use, in one Region.
#[derive(Clone, Debug)]
pub(crate) struct Aws {
    pub(super) account: Option<String>,
    pub(super) region: String,
    pub(super) access: Access,
    pub(super) config: SdkConfig,
    pub(super) rds: aws_sdk_rds::Client,
    pub(super) cloudwatch: aws_sdk_cloudwatch::Client,
    pub(super) sns: aws_sdk_sns::Client,
    pub(super) latest_answer: LatestAnswer,
}

impl Aws {
    /// Finds the Region and credentials and makes sure that there are some, before anything else is tried.
    pub(crate) async fn connect(access: &Access) -> Result<Self> {
        access.endpoint_url.as_deref().map_or(Ok(()), check_endpoint)?;
        let config = configuration(access).await;
        let Some(region) = config.region().map(|region| region.to_string()) else {
            return Err(Error::request("no AWS Region is set").hint(
                "Pass `--region`, set AWS_REGION, or put `region` into lifeboat.toml or your AWS profile.",
            ));
        };
        if !region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(Error::request(format!("`{}` is not an AWS Region", region.escape_default()))
                .hint("It reads like eu-central-1; look at `--region`, AWS_REGION and lifeboat.toml."));
        }
        config.endpoint_url().map_or(Ok(()), check_endpoint)?;
        check_credentials(access, &config).await?;
        let latest_answer = LatestAnswer::default();
        let with_time = aws_sdk_rds::config::Builder::from(&config)
            .interceptor(latest_answer.clone())
            .interceptor(throttling::Throttled);
        let rds = aws_sdk_rds::Client::from_conf(with_time.build());
        let cloudwatch = aws_sdk_cloudwatch::Client::new(&config);
        let sns = aws_sdk_sns::Client::new(&config);
        let (account, access) = (access.account.clone(), access.clone());
        Ok(Aws { account, region, access, config, rds, cloudwatch, sns, latest_answer })
    }

    /// The same account, in another Region.
    pub(crate) async fn in_region(&self, region: &str) -> Result<Self> {
        Aws::connect(&Access { region: Some(region.to_owned()), ..self.access.clone() }).await
    }

    /// The Region that all calls go to.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// The account, by its name in `lifeboat.toml`, and the Region.
    pub(crate) fn location(&self) -> Place {
        Place { account: self.account.clone(), region: self.region.clone() }
    }

    /// The ARN of whoever is calling, for the record of who ran a drill.
    pub(crate) async fn caller(&self) -> std::result::Result<String, Failure> {
        let answer = aws_sdk_sts::Client::new(&self.config)
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| Failure::from_sdk("GetCallerIdentity", "the caller", error))?;
        Ok(answer.arn().unwrap_or_default().to_owned())
    }
}

/// How far the two clocks may differ before it is worth a word, as SigV4 has it.
const TOLERABLE: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

impl Aws {
    /// The time by AWS's clock, to the second, if it has answered anything yet; otherwise `here`, this machine's. Between
    /// answers it goes on by this machine's stopwatch.
    pub(crate) fn now(&self, here: DateTime<Utc>) -> DateTime<Utc> {
        let Some((answered, heard)) = self.latest_answer.get() else { return here };
        let since = chrono::TimeDelta::from_std(heard.elapsed()).unwrap_or_default();
        let there = answered.checked_add_signed(since).unwrap_or(answered);
        // To the second they agree, so the finer clock is the better one.
        if (there - here).abs() <= chrono::TimeDelta::seconds(2) { here } else { there }
    }

    /// Whether AWS has told the time.
    pub(crate) fn has_told_time(&self) -> bool {
        self.latest_answer.get().is_some()
    }

    /// By how much this machine's clock differs from AWS's, if by more than five minutes.
    pub(crate) fn clock_is_off_by(&self, here: DateTime<Utc>) -> Option<chrono::TimeDelta> {
        Some(here - self.now(here)).filter(|difference| difference.abs() > TOLERABLE)
    }
}
