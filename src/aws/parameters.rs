//! DB parameter groups: what is in one, and those that lifeboat makes.

use aws_sdk_rds::types::{ApplyMethod, DbParameterGroup, Parameter as Row};

use super::rds::{tags, to_aws};
use super::{Aws, Failure, call, if_found, list_all};
use crate::rds::Tags;

/// Most parameters that one request may set (Amazon RDS API, `ModifyDBParameterGroup`).
const MOST_AT_ONCE: usize = 20;

/// A parameter of a DB parameter group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value, if the group has one.
    pub value: Option<String>,
    /// Whether somebody set it: it is neither AWS's value nor PostgreSQL's.
    pub is_set_by_user: bool,
    /// Whether it may be set.
    pub is_modifiable: bool,
}

/// A DB parameter group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParameterGroup {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// What it is for: `postgres15`.
    pub family: String,
}

impl Aws {
    /// Everything that is in a DB parameter group.
    pub(crate) async fn parameters(&self, group: &str) -> Result<Vec<Parameter>, Failure> {
        list_all(|marker| async move {
            let list = || {
                let request = self.rds.describe_db_parameters().db_parameter_group_name(group);
                request.max_records(100).set_marker(marker.clone()).send()
            };
            let page = call("DescribeDBParameters", resource(group), list).await?;
            Ok((page.parameters().iter().filter_map(parameter).collect(), page.marker))
        })
        .await
    }

    /// All DB parameter groups of the Region.
    pub(crate) async fn parameter_groups(&self) -> Result<Vec<ParameterGroup>, Failure> {
        list_all(|marker| async move {
            let list = || {
                let request = self.rds.describe_db_parameter_groups();
                request.max_records(100).set_marker(marker.clone()).send()
            };
            let page = call("DescribeDBParameterGroups", "all parameter groups", list).await?;
            Ok((page.db_parameter_groups().iter().filter_map(group).collect(), page.marker))
        })
        .await
    }

    /// The DB parameter group of that name, in one look.
    pub(crate) async fn look_at_parameter_group(
        &self,
        name: &str,
    ) -> Result<Option<ParameterGroup>, Failure> {
        let answer = self.rds.describe_db_parameter_groups().db_parameter_group_name(name).send().await;
        let answer =
            answer.map_err(|error| Failure::from_sdk("DescribeDBParameterGroups", resource(name), error));
        Ok(if_found(answer)?.and_then(|answer| answer.db_parameter_groups().first().and_then(group)))
    }

    /// The tags of whatever RDS has under an ARN.
    pub(crate) async fn tags_of(&self, arn: &str) -> Result<Tags, Failure> {
        let list = || self.rds.list_tags_for_resource().resource_name(arn).send();
        let answer = call("ListTagsForResource", format!("`{arn}`"), list).await?;
        Ok(tags(answer.tag_list()))
    }

    /// Makes a DB parameter group. After a lost answer it may be there already, which is the caller's to judge.
    pub(crate) async fn create_parameter_group(
        &self,
        name: &str,
        family: &str,
        description: &str,
        tags: &Tags,
    ) -> Result<(), Failure> {
        let create = || {
            let request = self.rds.create_db_parameter_group().db_parameter_group_name(name);
            let request = request.db_parameter_group_family(family).description(description);
            request.set_tags(Some(to_aws(tags))).send()
        };
        call("CreateDBParameterGroup", resource(name), create).await.map(drop)
    }

    /// Sets parameters of a group, for instances that start with it from now on.
    pub(crate) async fn set_parameters(
        &self,
        group: &str,
        values: &[(String, String)],
    ) -> Result<(), Failure> {
        for some in values.chunks(MOST_AT_ONCE) {
            let rows = some.iter().map(|(name, value)| {
                let row = Row::builder().parameter_name(name).parameter_value(value);
                row.apply_method(ApplyMethod::PendingReboot).build()
            });
            let request = self.rds.modify_db_parameter_group().db_parameter_group_name(group);
            let request = request.set_parameters(Some(rows.collect()));
            call("ModifyDBParameterGroup", resource(group), || request.clone().send()).await?;
        }
        Ok(())
    }

    /// Deletes a DB parameter group; AWS refuses while an instance uses it.
    pub(crate) async fn delete_parameter_group(&self, name: &str) -> Result<(), Failure> {
        let delete = || self.rds.delete_db_parameter_group().db_parameter_group_name(name).send();
        if_found(call("DeleteDBParameterGroup", resource(name), delete).await).map(drop)
    }
}

fn resource(group: &str) -> String {
    format!("parameter group `{group}`")
}

fn group(row: &DbParameterGroup) -> Option<ParameterGroup> {
    Some(ParameterGroup {
        name: row.db_parameter_group_name()?.to_owned(),
        arn: row.db_parameter_group_arn()?.to_owned(),
        family: row.db_parameter_group_family().unwrap_or_default().to_owned(),
    })
}

fn parameter(row: &Row) -> Option<Parameter> {
    Some(Parameter {
        name: row.parameter_name()?.to_owned(),
        value: row.parameter_value().map(str::to_owned),
        is_set_by_user: row.source() == Some("user"),
        is_modifiable: row.is_modifiable().unwrap_or(false),
    })
}
