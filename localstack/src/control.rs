//! The control endpoint: faults, statuses, SQL in restored copies, the clock, the log of calls. JSON over HTTP.

use std::sync::Arc;

use chrono::TimeDelta;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::event_delivery::record_event;
use crate::event_messages::{EventMessage, event_id_of};
use crate::http::{Answer, build_answer, refuse_request};
use crate::instance_status::Status;
use crate::rds::check_event_category;
use crate::resources::{EventSource, ForcedStatus, Instance};
use crate::stack::Context;
use crate::wire::format_timestamp;
use crate::{scope, sns};

/// What a status request has in place of an instance's name.
const NEXT_RESTORE: &str = "next-restore";

const PATHS: &str =
    "calls clock confirmations events faults instances messages metrics restored-sql statuses storage";

/// In seconds; longer than anybody rehearses.
const FURTHEST_JUMP: i64 = 10 * 366 * 24 * 3600;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusRequest {
    instance: String,
    status: String,
    #[serde(default)]
    stay: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockRequest {
    advance_seconds: i64,
}

/// Storage that something other than the database occupies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageRequest {
    instance: String,
    taken_bytes: f64,
}

/// A value that an instance measures from now on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricRequest {
    instance: String,
    metric: String,
    value: f64,
}

/// Something that happened to an instance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventRequest {
    instance: String,
    category: String,
    message: String,
}

/// The endpoint whose subscriptions are confirmed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmRequest {
    endpoint: String,
}

pub(crate) fn answer_control(cx: &Arc<Context>, method: &Method, path: &str, body: &[u8]) -> Answer {
    let outcome = match (method.as_str(), path.trim_end_matches('/')) {
        ("POST", "faults") => change(body, |fault| cx.injected.add_fault(fault)),
        ("DELETE", "faults") => clear(|| cx.injected.clear_faults()),
        ("POST", "statuses") => change(body, |request| set_status(cx, request)),
        ("DELETE", "statuses") => clear(|| clear_statuses(cx)),
        ("POST", "restored-sql") => change(body, |sql| cx.injected.add_sql(sql)),
        ("DELETE", "restored-sql") => clear(|| cx.injected.clear_sql()),
        ("POST", "clock") => read_request(body).and_then(|request| advance_clock(cx, &request)),
        ("GET", "clock") => Ok(json!({ "now": format_timestamp(cx.clock.now()) })),
        ("GET", "calls") => serde_json::to_value(cx.calls.all()).map_err(|error| error.to_string()),
        ("DELETE", "calls") => clear(|| cx.calls.clear()),
        ("GET", "instances") => Ok(list_instances(cx)),
        ("POST", "storage") => change(body, |request| set_storage(cx, &request)),
        ("POST", "metrics") => change(body, |request| set_metric(cx, request)),
        ("DELETE", "metrics") => clear(|| clear_overrides(cx)),
        ("POST", "events") => change(body, |request| add_event(cx, request)),
        ("POST", "confirmations") => {
            read_request(body).map(|request: ConfirmRequest| sns::confirm_endpoint(cx, &request.endpoint))
        }
        ("GET", "messages") => {
            cx.monitoring.read(|all| serde_json::to_value(&all.sns.sent)).map_err(|error| error.to_string())
        }
        ("DELETE", "messages") => clear(|| cx.monitoring.change(|all| all.sns.sent.clear())),
        ("GET", queue) if queue.starts_with("queues/") => {
            let name = queue.trim_start_matches("queues/");
            Ok(cx.monitoring.read(|all| all.sns.queues.get(name).cloned().unwrap_or_default()).into())
        }
        ("DELETE", queue) if queue.starts_with("queues/") => {
            let name = queue.trim_start_matches("queues/");
            clear(|| drop(cx.monitoring.change(|all| all.sns.queues.remove(name))))
        }
        (_, known) if PATHS.split_whitespace().any(|path| path == known) => {
            return refuse_request(405, &format!("`/_control/{known}` does not take {method}"));
        }
        (_, other) => return refuse_request(404, &format!("`/_control/{other}` does not exist")),
    };
    match outcome {
        Ok(value) => build_answer(200, "application/json", value.to_string()),
        Err(message) => refuse_request(400, &message),
    }
}

fn confirmation() -> Value {
    json!({ "ok": true })
}

/// Makes the change that a request asks for.
fn change<T: DeserializeOwned>(
    body: &[u8],
    make: impl FnOnce(T) -> Result<(), String>,
) -> Result<Value, String> {
    read_request(body).and_then(make).map(|()| confirmation())
}

fn clear(forget: impl FnOnce()) -> Result<Value, String> {
    forget();
    Ok(confirmation())
}

fn read_request<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("cannot read the request: {error}"))
}

fn set_status(cx: &Arc<Context>, request: StatusRequest) -> Result<(), String> {
    let is_name = !request.status.is_empty()
        && request.status.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if !is_name {
        return Err(format!(
            "`{}` is not a status: a status consists of lowercase letters and hyphens",
            request.status
        ));
    }
    let status = Status::from_name(&request.status);
    if request.instance == NEXT_RESTORE {
        cx.injected.add_restore_outcome(ForcedStatus { status, stay: request.stay });
        return Ok(());
    }
    let id = request.instance.to_lowercase();
    cx.store.change(|state| {
        let instance = state.instances_mut().find(|instance| instance.id == id);
        let instance = instance.ok_or_else(|| no_instance(&id))?;
        let is_real = instance.status == status && !request.stay;
        instance.shown = (!is_real).then_some(ForcedStatus { status, stay: request.stay });
        if is_real {
            // Back to its real status: the instance can also be deleted again.
            instance.restore_outcome = None;
        }
        Ok(())
    })
}

fn clear_statuses(cx: &Arc<Context>) {
    cx.injected.clear_restore_outcomes();
    cx.store.change(|state| {
        for instance in state.instances_mut() {
            instance.shown = None;
            instance.restore_outcome = None;
        }
    });
}

/// The instance of that name in any Region.
fn find_instance(cx: &Context, name: &str) -> Result<Instance, String> {
    let id = name.to_lowercase();
    let found = cx.store.read(|state| state.instances().find(|instance| instance.id == id).cloned());
    found.ok_or_else(|| no_instance(&id))
}

fn no_instance(id: &str) -> String {
    format!("instance `{id}` does not exist")
}

fn set_storage(cx: &Arc<Context>, request: &StorageRequest) -> Result<(), String> {
    if !request.taken_bytes.is_finite() {
        return Err("`taken_bytes` must be finite".to_owned());
    }
    let resource_id = find_instance(cx, &request.instance)?.resource_id;
    cx.monitoring.change(|all| {
        all.overrides.entry(resource_id).or_default().taken_bytes = request.taken_bytes;
        all.revision += 1;
    });
    Ok(())
}

fn set_metric(cx: &Arc<Context>, request: MetricRequest) -> Result<(), String> {
    let resource_id = find_instance(cx, &request.instance)?.resource_id;
    cx.monitoring.change(|all| {
        all.overrides.entry(resource_id).or_default().metrics.insert(request.metric, request.value);
        all.revision += 1;
    });
    Ok(())
}

fn clear_overrides(cx: &Context) {
    cx.monitoring.change(|all| {
        all.overrides.clear();
        all.revision += 1;
    });
}

fn add_event(cx: &Arc<Context>, request: EventRequest) -> Result<(), String> {
    check_event_category(EventSource::Instance, &request.category)?;
    let instance = find_instance(cx, &request.instance)?;
    let id = event_id_of(&request.message);
    let event = EventMessage { id, category: request.category.into(), text: request.message.into() };
    record_event(cx, &instance.region, EventSource::Instance, &instance.id, &event);
    Ok(())
}

fn advance_clock(cx: &Arc<Context>, request: &ClockRequest) -> Result<Value, String> {
    if !(1..=FURTHEST_JUMP).contains(&request.advance_seconds) {
        return Err(format!(
            "`advance_seconds` must be between 1 and {FURTHEST_JUMP}: the clock only moves forward"
        ));
    }
    let jumps = cx.clock.advance(TimeDelta::seconds(request.advance_seconds));
    cx.store.change(|state| state.jumps = jumps);
    Ok(json!({ "now": format_timestamp(cx.clock.now()) }))
}

fn list_instances(cx: &Arc<Context>) -> Value {
    cx.store.read(|state| {
        state
            .instances()
            .map(|instance| {
                let server = cx.server(&instance.resource_id);
                json!({
                    "id": instance.id,
                    "region": scope::region_of(&instance.region),
                    "account": scope::account_of(&instance.region),
                    "resource_id": instance.resource_id,
                    "engine": instance.settings.engine,
                    "status": instance.shown_status(),
                    "real_status": instance.status,
                    "port": server.as_ref().map(|server| server.port),
                    "pid": server.as_ref().map(|server| server.pid),
                })
            })
            .collect()
    })
}
