//! The vault as a bucket of an object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.
//!
//! What is made appears under its name when it is complete, in one request. Nothing is ever written over that is not ours:
//! names are taken by conditional creates, locks are objects that are changed only by whoever saw them last (ETags).
//! Every request may have been done although its answer was lost: then we look what is there.

mod backend;
mod client;
mod http;
mod lease;
mod object;
mod retention;
mod upload;
mod url;

pub(super) use client::Store;

use std::sync::Arc;

use crate::aws::{Access, Identity};
use crate::error::Result;
use client::{Thread, wait_on};
use http::Clock;
use url::{StoreKind, StoreUrl};

/// How often a request is tried again while the store is busy or out of reach: about half a minute in all.
const PATIENT: usize = 8;
/// The first one: whoever mistyped an address should not wait for that.
const FIRST: usize = 2;

impl Store {
    /// The store that `place` names, if it is a URL; asked once, so that what is wrong with it is said at once.
    pub(super) fn open(place: &str, access: &Access) -> Result<Option<Self>> {
        if !place.contains("://") {
            return Ok(None);
        }
        let named = StoreUrl::parse(place)?;
        let (clock, thread) = (Clock::default(), Arc::new(Thread::start()?));
        let identity = match named.kind {
            StoreKind::S3 => {
                let access = Access {
                    region: named.region.clone().or_else(|| access.region.clone()),
                    endpoint_url: named.endpoint.clone().or_else(|| {
                        let own = std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty());
                        own.or_else(|| access.endpoint_url.clone())
                    }),
                    ..access.clone()
                };
                Some(wait_on(&thread, async move { Identity::find(&access).await })??)
            }
            StoreKind::Google | StoreKind::Azure => None,
        };
        let with = |retries: usize| -> Result<Self> {
            let (bucket, asker) = named.connect(identity.as_ref(), retries, &clock)?;
            Ok(Store {
                bucket,
                asker: asker.map(Arc::new),
                overwritten: Arc::default(),
                prefix: named.prefix.clone(),
                url: named.shown.clone(),
                clock: clock.clone(),
                thread: Arc::clone(&thread),
            })
        };
        with(FIRST)?.require_readable()?;
        with(PATIENT).map(Some)
    }
}
