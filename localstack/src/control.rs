//! The control endpoint: faults, statuses, SQL in restored copies, the clock, the log of calls. JSON over HTTP.

use std::sync::Arc;

use chrono::TimeDelta;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::{FaultRequest, RestoredSql};
use crate::happening;
use crate::rds::subscriptions;
use crate::record::{Event, EventSource, Fate, Shown};
use crate::server::{Answer, respond};
use crate::sns;
use crate::stack::Shared;
use crate::status::Status;
use crate::wire::timestamp;

/// What a status request says in place of an instance's name.
const NEXT_RESTORE: &str = "next-restore";

/// Longer than anybody rehearses.
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

/// What lies on an instance's disk besides the database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageRequest {
    instance: String,
    taken_bytes: f64,
}

/// What an instance measures from now on.
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

/// Whose subscriptions are confirmed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmRequest {
    endpoint: String,
}

pub(crate) fn answer(shared: &Arc<Shared>, method: &Method, path: &str, body: &[u8]) -> Answer {
    let outcome = match (method.as_str(), path.trim_end_matches('/')) {
        ("POST", "faults") => {
            read::<FaultRequest>(body).and_then(|fault| shared.injected.add_fault(fault)).map(done)
        }
        ("DELETE", "faults") => did(|| shared.injected.clear_faults()),
        ("POST", "statuses") => read(body).and_then(|request| set_status(shared, request)).map(done),
        ("DELETE", "statuses") => did(|| clear_statuses(shared)),
        ("POST", "restored-sql") => {
            read::<RestoredSql>(body).and_then(|sql| shared.injected.add_sql(sql)).map(done)
        }
        ("DELETE", "restored-sql") => did(|| shared.injected.clear_sql()),
        ("POST", "clock") => read(body).and_then(|request| advance(shared, &request)),
        ("GET", "clock") => Ok(json!({ "now": timestamp(shared.clock.now()) })),
        ("GET", "calls") => serde_json::to_value(shared.calls.all()).map_err(|error| error.to_string()),
        ("DELETE", "calls") => did(|| shared.calls.clear()),
        ("GET", "instances") => Ok(instances(shared)),
        ("POST", "storage") => read(body).and_then(|request| set_storage(shared, &request)).map(done),
        ("POST", "metrics") => read(body).and_then(|request| set_metric(shared, request)).map(done),
        ("DELETE", "metrics") => did(|| forget_measures(shared)),
        ("POST", "events") => read(body).and_then(|request| add_event(shared, &request)).map(done),
        ("POST", "confirmations") => {
            read(body).map(|request: ConfirmRequest| sns::confirm_endpoint(shared, &request.endpoint))
        }
        ("GET", "messages") => shared
            .monitoring
            .read(|all| serde_json::to_value(&all.post.sent))
            .map_err(|error| error.to_string()),
        ("DELETE", "messages") => did(|| shared.monitoring.change(|all| all.post.sent.clear())),
        ("GET", queue) if queue.starts_with("queues/") => {
            let name = queue.trim_start_matches("queues/");
            Ok(shared.monitoring.read(|all| all.post.queues.get(name).cloned().unwrap_or_default()).into())
        }
        ("DELETE", queue) if queue.starts_with("queues/") => {
            let name = queue.trim_start_matches("queues/");
            did(|| drop(shared.monitoring.change(|all| all.post.queues.remove(name))))
        }
        (_, "storage" | "metrics" | "events" | "confirmations" | "messages") => {
            return refuse(405, &format!("{method} means nothing here"));
        }
        (_, "faults" | "statuses" | "restored-sql" | "clock" | "calls" | "instances") => {
            return refuse(405, &format!("{method} means nothing here"));
        }
        (_, other) => return refuse(404, &format!("there is no `/_control/{other}`")),
    };
    match outcome {
        Ok(value) => respond(200, "application/json", value.to_string(), None),
        Err(message) => refuse(400, &message),
    }
}

pub(crate) fn refuse(status: u16, message: &str) -> Answer {
    respond(status, "application/json", json!({ "error": message }).to_string(), None)
}

fn done((): ()) -> Value {
    json!({ "ok": true })
}

fn did(what: impl FnOnce()) -> Result<Value, String> {
    what();
    Ok(done(()))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the request is not understood: {error}"))
}

fn set_status(shared: &Arc<Shared>, request: StatusRequest) -> Result<(), String> {
    let is_name = !request.status.is_empty()
        && request.status.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if !is_name {
        return Err(format!("`{}` is not a status: they are lowercase words with hyphens", request.status));
    }
    let status = Status::named(&request.status);
    if request.instance == NEXT_RESTORE {
        shared.injected.add_fate(Fate { status, stay: request.stay });
        return Ok(());
    }
    let id = request.instance.to_lowercase();
    shared.store.change(|state| {
        let instance = state.regions.values_mut().find_map(|region| region.instances.get_mut(&id));
        let instance = instance.ok_or_else(|| format!("there is no instance `{id}`"))?;
        let is_real = instance.status == status && !request.stay;
        instance.shown = (!is_real).then_some(Shown { status, stay: request.stay });
        if is_real {
            // Back to what it is: also no longer one that never goes away.
            instance.fate = None;
        }
        Ok(())
    })
}

fn clear_statuses(shared: &Arc<Shared>) {
    shared.injected.clear_fates();
    shared.store.change(|state| {
        for instance in state.regions.values_mut().flat_map(|region| region.instances.values_mut()) {
            instance.shown = None;
            instance.fate = None;
        }
    });
}

/// The resource id of an instance, in whatever Region.
fn resource_of(shared: &Shared, instance: &str) -> Result<(String, String), String> {
    let id = instance.to_lowercase();
    shared
        .store
        .read(|state| {
            let found = state.instances().find(|instance| instance.id == id);
            found.map(|instance| (instance.region.clone(), instance.resource_id.clone()))
        })
        .ok_or_else(|| format!("there is no instance `{id}`"))
}

fn set_storage(shared: &Arc<Shared>, request: &StorageRequest) -> Result<(), String> {
    if !request.taken_bytes.is_finite() {
        return Err("`taken_bytes` must be a number".to_owned());
    }
    let (_, resource_id) = resource_of(shared, &request.instance)?;
    shared.monitoring.change(|all| {
        all.told.entry(resource_id).or_default().taken_bytes = request.taken_bytes;
        all.revision += 1;
    });
    Ok(())
}

fn set_metric(shared: &Arc<Shared>, request: MetricRequest) -> Result<(), String> {
    let (_, resource_id) = resource_of(shared, &request.instance)?;
    shared.monitoring.change(|all| {
        all.told.entry(resource_id).or_default().metrics.insert(request.metric, request.value);
        all.revision += 1;
    });
    Ok(())
}

fn forget_measures(shared: &Shared) {
    shared.monitoring.change(|all| {
        all.told.clear();
        all.revision += 1;
    });
}

fn add_event(shared: &Arc<Shared>, request: &EventRequest) -> Result<(), String> {
    subscriptions::check_event(EventSource::Instance.name(), &request.category)?;
    let (region, _) = resource_of(shared, &request.instance)?;
    let id = request.instance.to_lowercase();
    let event = Event {
        at: shared.clock.now(),
        source: id,
        source_type: EventSource::Instance,
        category: request.category.clone(),
        message: request.message.clone(),
        id: happening::id_of(&request.message).to_owned(),
    };
    shared.tell(&region, event);
    Ok(())
}

fn advance(shared: &Arc<Shared>, request: &ClockRequest) -> Result<Value, String> {
    if !(1..=FURTHEST_JUMP).contains(&request.advance_seconds) {
        return Err(format!(
            "`advance_seconds` must be between 1 and {FURTHEST_JUMP}: the clock goes ahead only"
        ));
    }
    let jumps = shared.clock.advance(TimeDelta::seconds(request.advance_seconds));
    shared.store.change(|state| state.jumps = jumps);
    Ok(json!({ "now": timestamp(shared.clock.now()) }))
}

fn instances(shared: &Arc<Shared>) -> Value {
    shared.store.read(|state| {
        state
            .instances()
            .map(|instance| {
                let server = shared.server(&instance.resource_id);
                json!({
                    "id": instance.id,
                    "region": crate::place::region(&instance.region),
                    "account": crate::place::account(&instance.region),
                    "resource_id": instance.resource_id,
                    "engine": instance.settings.engine,
                    "status": instance.shown_status().name(),
                    "real_status": instance.status.name(),
                    "port": server.as_ref().map(|server| server.port),
                    "pid": server.as_ref().map(|server| server.pid),
                })
            })
            .collect()
    })
}
