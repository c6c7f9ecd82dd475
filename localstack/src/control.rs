//! The control endpoint: faults, statuses, SQL in restored copies, the clock, the log of calls. JSON over HTTP.

use std::sync::Arc;

use chrono::TimeDelta;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::{FaultRequest, RestoredSql};
use crate::record::{Fate, Shown};
use crate::server::{Answer, respond};
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
                    "region": instance.region,
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
