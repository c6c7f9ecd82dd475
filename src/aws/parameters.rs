//! DB parameter groups: what is in one, and those that lifeboat makes.

use aws_sdk_rds::types::{ApplyMethod, DbParameterGroup, Parameter as Row, Tag};

use super::rds::tags;
use super::{Aws, Failure, Fault, retry};
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
        let mut all = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page = retry(|| async {
                let request =
                    self.rds.describe_db_parameters().db_parameter_group_name(group).max_records(100);
                let page = request.set_marker(marker.clone()).send().await;
                page.map_err(|error| Failure::from_sdk("DescribeDBParameters", resource(group), error))
            })
            .await?;
            all.extend(page.parameters().iter().filter_map(parameter));
            marker = page.marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    /// All DB parameter groups of the Region.
    pub(crate) async fn parameter_groups(&self) -> Result<Vec<ParameterGroup>, Failure> {
        let mut all = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page = retry(|| async {
                let request = self.rds.describe_db_parameter_groups().max_records(100);
                let page = request.set_marker(marker.clone()).send().await;
                page.map_err(|error| {
                    Failure::from_sdk("DescribeDBParameterGroups", "all parameter groups", error)
                })
            })
            .await?;
            all.extend(page.db_parameter_groups().iter().filter_map(group));
            marker = page.marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    /// The DB parameter group of that name, in one look.
    pub(crate) async fn look_at_parameter_group(
        &self,
        name: &str,
    ) -> Result<Option<ParameterGroup>, Failure> {
        let answer = self.rds.describe_db_parameter_groups().db_parameter_group_name(name).send().await;
        match answer.map_err(|error| Failure::from_sdk("DescribeDBParameterGroups", resource(name), error)) {
            Ok(answer) => Ok(answer.db_parameter_groups().first().and_then(group)),
            Err(failure) if failure.fault == Fault::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The tags of whatever RDS has under an ARN.
    pub(crate) async fn tags_of(&self, arn: &str) -> Result<Tags, Failure> {
        let answer = retry(|| async {
            let answer = self.rds.list_tags_for_resource().resource_name(arn).send().await;
            answer.map_err(|error| Failure::from_sdk("ListTagsForResource", format!("`{arn}`"), error))
        })
        .await?;
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
        let tags: Vec<Tag> =
            tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        retry(|| async {
            let request = self.rds.create_db_parameter_group().db_parameter_group_name(name);
            let request = request.db_parameter_group_family(family).description(description);
            let answer = request.set_tags(Some(tags.clone())).send().await;
            answer
                .map(drop)
                .map_err(|error| Failure::from_sdk("CreateDBParameterGroup", resource(name), error))
        })
        .await
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
            let rows: Vec<Row> = rows.collect();
            retry(|| async {
                let request = self.rds.modify_db_parameter_group().db_parameter_group_name(group);
                let answer = request.set_parameters(Some(rows.clone())).send().await;
                answer.map_err(|error| Failure::from_sdk("ModifyDBParameterGroup", resource(group), error))
            })
            .await?;
        }
        Ok(())
    }

    /// Deletes a DB parameter group; AWS refuses while an instance uses it.
    pub(crate) async fn delete_parameter_group(&self, name: &str) -> Result<(), Failure> {
        let answer = retry(|| async {
            let answer = self.rds.delete_db_parameter_group().db_parameter_group_name(name).send().await;
            answer.map_err(|error| Failure::from_sdk("DeleteDBParameterGroup", resource(name), error))
        })
        .await;
        match answer {
            Err(failure) if failure.fault != Fault::NotFound => Err(failure),
            _ => Ok(()),
        }
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
