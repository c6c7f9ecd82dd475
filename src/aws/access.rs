//! As whom and where to speak to AWS, and the credentials for it: always those of aws-config's own providers.

use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sts::error::ProvideErrorMetadata as _;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use super::failure::innermost_cause;
use crate::error::{Error, Result};

/// Where and as whom to speak to AWS, as the AWS CLI's flags of the same names have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// What the account is called in `lifeboat.toml`, if it is named there.
    pub account: Option<String>,
    /// Region; otherwise `AWS_REGION` or the profile's.
    pub region: Option<String>,
    /// Profile of `~/.aws/config`.
    pub profile: Option<String>,
    /// Whether the profile wins over credentials of the environment, as `--profile` does with the AWS CLI.
    pub profile_wins: bool,
    /// A role to assume with those credentials.
    pub role: Option<Role>,
    /// Another endpoint, such as the local stack's.
    pub endpoint_url: Option<String>,
}

/// A role, mostly of another account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy asks for, if it asks for one.
    pub external_id: Option<String>,
    /// How the session is called, in CloudTrail for one.
    pub session_name: String,
}

/// One attempt of a call. RDS answers in well under a second; what takes longer has lost its answer.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Everything that the SDK needs to know, from flags, environment and profile; with the credentials of the role, if one is to
/// be assumed.
pub(super) async fn configuration(access: &Access) -> SdkConfig {
    let config = own_configuration(access).await;
    let Some(role) = &access.role else { return config };
    let mut provider =
        AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name).configure(&config);
    if let Some(id) = &role.external_id {
        provider = provider.external_id(id);
    }
    let provider = SharedCredentialsProvider::new(provider.build().await);
    config.into_builder().credentials_provider(provider).build()
}

/// The same without a role: who we are by ourselves.
async fn own_configuration(access: &Access) -> SdkConfig {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(ATTEMPT)
        .build();
    let begin = || {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http.clone())
            .timeout_config(timeouts.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(4));
        if let Some(region) = &access.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &access.profile {
            loader = loader.profile_name(profile);
        }
        loader
    };
    let mut loader = begin();
    // The SDK's own chain asks the environment first, whoever named the profile.
    if let Some(profile) = access.profile.as_ref().filter(|_| access.profile_wins) {
        // A role that the profile assumes is asked for in the Region that the profile names, if nothing else names one.
        let region = begin().load().await.region().cloned();
        let config = ProviderConfig::default().with_region(region).with_http_client(http.clone());
        let provider = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(profile);
        loader = loader.credentials_provider(provider.build());
    }
    if let Some(url) = &access.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

/// Refuses what the SDK would try for minutes without a word.
pub(super) fn check_endpoint(url: &str) -> Result<()> {
    let host = url.strip_prefix("http://").or(url.strip_prefix("https://")).unwrap_or_default();
    if host.is_empty()
        || host.starts_with(['/', ':'])
        || url.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(Error::request(format!("`{}` is not an endpoint URL", url.escape_default()))
            .hint("It reads like http://127.0.0.1:4566; look at `--endpoint-url` and AWS_ENDPOINT_URL."));
    }
    Ok(())
}

/// Makes sure that there are credentials, before anything is asked with them.
pub(super) async fn check_credentials(access: &Access, config: &SdkConfig) -> Result<()> {
    let Some(provider) = config.credentials_provider() else { return Err(missing()) };
    let Err(error) = provider.provide_credentials().await else { return Ok(()) };
    if let Some(missing) = missing_profile(access) {
        return Err(missing);
    }
    let Some(role) = &access.role else { return Err(missing().caused_by(error)) };
    // Whose own credentials are missing should hear of those, not of the role.
    let own = Access { role: None, ..access.clone() };
    if let Some(provider) = own_configuration(&own).await.credentials_provider()
        && let Err(error) = provider.provide_credentials().await
    {
        return Err(missing().caused_by(error));
    }
    let asks = if role.external_id.is_some() { " with that `external_id`" } else { "" };
    Err(Error::outside(format!("role `{}` could not be assumed", role.arn)).caused_by(refusal(&error)).hint(
        format!(
            "Its trust policy must let `sts:AssumeRole` to you{asks}, and your own policy must allow it; `aws sts \
             get-caller-identity` says who you are."
        ),
    ))
}

/// What STS said, without the layers around it.
fn refusal(error: &CredentialsError) -> String {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(said) = cause.downcast_ref::<AssumeRoleError>() {
            let message = said.message().unwrap_or("STS gave no reason").trim_end_matches('.');
            return format!("{message} ({})", said.code().unwrap_or("no code"));
        }
        next = cause.source();
    }
    innermost_cause(error)
}

/// That the profile which was asked for stands in none of the files; the SDK only says that a provider "was not enabled".
fn missing_profile(access: &Access) -> Option<Error> {
    let from_environment = || std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
    let profile = access.profile.clone().or_else(from_environment)?;
    let home = std::env::var("HOME").unwrap_or_default();
    let files = [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")]
        .map(|(variable, name)| std::env::var(variable).unwrap_or_else(|_| format!("{home}/.aws/{name}")));
    let mut known = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let titles = text.lines().filter_map(|line| line.trim().strip_prefix('[')?.split(']').next());
        known.extend(titles.map(|title| title.trim_start_matches("profile").trim().to_owned()));
    }
    if known.contains(&profile) {
        return None;
    }
    known.sort();
    known.dedup();
    let others = match known.as_slice() {
        [] => "There are no profiles: `aws configure --profile NAME` makes one.".to_owned(),
        names => format!(
            "There are: {}. Correct `--profile`, AWS_PROFILE or `profile` in lifeboat.toml.",
            names.join(", ")
        ),
    };
    let [config, credentials] = &files;
    let message =
        format!("profile `{}` is neither in `{config}` nor in `{credentials}`", profile.escape_default());
    Some(Error::request(message).hint(others))
}

fn missing() -> Error {
    Error::outside("there are no usable AWS credentials").hint(
        "Set AWS_PROFILE (after `aws sso login`), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with an \
         instance or task role. The local stack takes any value.",
    )
}
