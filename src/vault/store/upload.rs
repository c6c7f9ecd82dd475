//! Backups in the making, in an object store.
//!
//! | object | means |
//! |---|---|
//! | `.NAME.partial` | the lock of whoever makes NAME: a name is taken by its conditional create; what is being uploaded stands in it |
//! | `.NAME.json.gone` | the manifest of a backup that is being deleted |
//!
//! The content goes up in parts as it comes, and has its name when the last part is there and the upload is completed;
//! until then nothing shows. Its manifest, without which it does not count, is written after it has been read back and
//! proven. What a dead process left is told by the lock: parts are removed with their upload.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use object_store::PutPayload;
use object_store::multipart::PartId;
use object_store::path::Path;
use parking_lot::Mutex;

use super::client::{Store, said};
use super::lease::{Drafted, Lease};
use super::object::Object;
use crate::error::{Error, Result};
use crate::vault::backend::{Backend as _, Content, DraftFile, HeldLock as _};

/// How large a part is at first. Stores take 10,000 parts, all but the last of 5 MiB and more.
const PART: usize = 8 << 20;
/// After so many parts they are twice as large: 8 TiB in all.
const OF_ONE_SIZE: usize = 1000;
/// How many parts go up at once.
const ABREAST: usize = 2;

/// A backup in the making; dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub(super) struct Upload {
    store: Store,
    stem: String,
    payload: String,
    lease: Arc<Lease>,
    sending: Arc<Mutex<Sending>>,
    /// How large the content is, from the moment on when it may have its name.
    size: Option<u64>,
    complete: Option<Object>,
    beside: Vec<String>,
    is_over: bool,
}

/// What was taken, and what is on its way.
#[derive(Debug)]
struct Sending {
    buffer: Vec<u8>,
    upload: Option<String>,
    parts: Vec<Option<PartId>>,
    under_way: usize,
    arrived: Receiver<Arrived>,
    arrive: SyncSender<Arrived>,
    bytes: u64,
}

type Arrived = (usize, object_store::Result<PartId>);

impl Store {
    pub(super) fn begin_upload(&self, stem: &str, payload: &str) -> Result<Option<Upload>> {
        let draft = Drafted { files: vec![payload.to_owned()], ..Drafted::default() };
        let Some(lease) = self.lease(&format!(".{stem}.partial"), Some(draft))? else { return Ok(None) };
        let (arrive, arrived) = sync_channel(ABREAST + 1);
        Ok(Some(Upload {
            store: self.clone(),
            stem: stem.to_owned(),
            payload: payload.to_owned(),
            lease: Arc::new(lease),
            sending: Arc::new(Mutex::new(Sending {
                buffer: Vec::new(),
                upload: None,
                parts: Vec::new(),
                under_way: 0,
                arrived,
                arrive,
                bytes: 0,
            })),
            size: None,
            complete: None,
            beside: Vec::new(),
            is_over: false,
        }))
    }

    /// Removes what a draft left: the upload, and what has a name already. An object of another size is not its, nor is
    /// one of another time, if it is known when it got its name.
    pub(super) fn discard(&self, draft: &Drafted, complete: Option<&Object>) -> Result<()> {
        let Some(payload) = draft.files.first() else { return Ok(()) };
        if let Some(upload) = draft.upload.clone() {
            let (bucket, path) = (self.bucket.clone(), self.path(payload));
            let aborted = self.wait(async move { bucket.abort_multipart(&path, &upload).await })?;
            match aborted {
                // It was completed, or aborted before.
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) if said(&error).0 == "NoSuchUpload" => {}
                Err(error) => return Err(self.told("cannot remove the upload of", payload, error)),
            }
        }
        let Some(size) = draft.size else { return Ok(()) };
        let is_its = |found: &Object| {
            found.size == size && complete.is_none_or(|complete| complete.modified == found.modified)
        };
        match self.head(payload)? {
            Some(found) if !is_its(&found) => Ok(()),
            _ => draft.files.iter().try_for_each(|name| self.remove(name)),
        }
    }
}

/// The way in for the content.
#[derive(Debug)]
struct Writer {
    store: Store,
    path: Path,
    lease: Arc<Lease>,
    sending: Arc<Mutex<Sending>>,
}

impl Write for Writer {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let mut sending = self.sending.lock();
        let room = part_size(sending.parts.len()) - sending.buffer.len();
        let taken = content.len().min(room);
        sending.buffer.extend_from_slice(&content[..taken]);
        sending.bytes += taken as u64;
        if taken == room {
            send(&mut sending, &self.store, &self.path, &self.lease)
                .map_err(|error| io::Error::other(error.chain()))?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn part_size(parts: usize) -> usize {
    PART << (parts / OF_ONE_SIZE).min(9)
}

/// Sends what is in the buffer as the next part.
fn send(sending: &mut Sending, store: &Store, path: &Path, lease: &Lease) -> Result<()> {
    let upload = match &sending.upload {
        Some(upload) => upload.clone(),
        None => {
            let (bucket, at) = (store.bucket.clone(), path.clone());
            let begun = store.wait(async move { bucket.create_multipart(&at).await })?;
            let upload = begun
                .map_err(|error| store.told("cannot write", path.filename().unwrap_or_default(), error))?;
            // Before the first part, so that no part is ever left that nobody knows of.
            let noted = upload.clone();
            lease.note(move |draft| draft.upload = Some(noted))?;
            sending.upload = Some(upload.clone());
            upload
        }
    };
    while sending.under_way >= ABREAST {
        take_one(sending, store, path)?;
    }
    lease.require_held()?;
    let index = sending.parts.len();
    sending.parts.push(None);
    sending.under_way += 1;
    let payload = PutPayload::from(mem::take(&mut sending.buffer));
    let (bucket, at, arrive) = (store.bucket.clone(), path.clone(), sending.arrive.clone());
    store.thread.spawn(async move {
        let part = bucket.put_part(&at, &upload, index, payload).await;
        let _ = arrive.send((index, part));
    });
    Ok(())
}

/// Waits for a part to arrive.
fn take_one(sending: &mut Sending, store: &Store, path: &Path) -> Result<()> {
    let lost = |_| Error::new(crate::error::Kind::Bug, "the thread of the object store has ended");
    let (index, part) = sending.arrived.recv().map_err(lost)?;
    sending.under_way -= 1;
    let part =
        part.map_err(|error| store.told("cannot write", path.filename().unwrap_or_default(), error))?;
    sending.parts[index] = Some(part);
    Ok(())
}

impl DraftFile for Upload {
    fn writer(&self) -> Result<Box<dyn Write + Send>> {
        Ok(Box::new(Writer {
            store: self.store.clone(),
            path: self.store.path(&self.payload),
            lease: Arc::clone(&self.lease),
            sending: Arc::clone(&self.sending),
        }))
    }

    fn content(&mut self) -> Result<Content> {
        self.complete().map(|object| Content(Arc::new(object)))
    }

    fn path(&self) -> Option<&std::path::Path> {
        None
    }

    fn publish(mut self: Box<Self>, beside: &[(String, Vec<u8>)], manifest: &[u8]) -> Result<()> {
        self.complete()?;
        if !beside.is_empty() {
            let names: Vec<String> = beside.iter().map(|(name, _)| name.clone()).collect();
            self.beside.clone_from(&names);
            self.lease.note(move |draft| draft.files.extend(names))?;
        }
        for (name, content) in beside {
            self.store.put_new(name, content.clone())?;
        }
        self.lease.require_held()?;
        let name = format!("{}.json", self.stem);
        let (store, path, content) = (self.store.clone(), self.store.path(&name), manifest.to_vec());
        match self.store.wait(async move { store.create(&path, content).await })? {
            Ok(Some(_)) => {
                self.is_over = true;
                Ok(())
            }
            Ok(None) => Err(Error::outside(format!(
                "`{}` was created by another process",
                self.store.shown_as(&name)
            ))),
            Err(error) => {
                // Whether it is published is not known: the next command sees, by the lock that is left.
                self.is_over = true;
                self.lease.leave();
                Err(self.store.told("cannot publish", &self.stem, error))
            }
        }
    }
}

impl Upload {
    /// Gives the content its name, if it has not got it yet, and tells where it is.
    fn complete(&mut self) -> Result<Object> {
        if let Some(object) = &self.complete {
            return Ok(object.clone());
        }
        let path = self.store.path(&self.payload);
        let size = self.sending.lock().bytes;
        // From here on the object may be there, even if we die.
        self.lease.note(move |draft| draft.size = Some(size))?;
        self.size = Some(size);
        if self.sending.lock().upload.is_some() {
            self.complete_parts(&path, size)?;
        } else {
            let content = mem::take(&mut self.sending.lock().buffer);
            self.store.put_new(&self.payload, content)?;
        }
        let object = self.store.head(&self.payload)?.filter(|found| found.size == size);
        let object = object.ok_or_else(|| {
            Error::outside(format!("`{}` is not what was uploaded", self.store.shown_as(&self.payload)))
        })?;
        self.complete = Some(object.clone());
        Ok(object)
    }

    fn complete_parts(&self, path: &Path, size: u64) -> Result<()> {
        let mut sending = self.sending.lock();
        if !sending.buffer.is_empty() {
            send(&mut sending, &self.store, path, &self.lease)?;
        }
        while sending.under_way > 0 {
            take_one(&mut sending, &self.store, path)?;
        }
        let parts: Option<Vec<PartId>> = sending.parts.iter().cloned().collect();
        let parts =
            parts.ok_or_else(|| Error::outside(format!("a part of `{}` is missing", self.payload)))?;
        let upload = sending.upload.clone().unwrap_or_default();
        drop(sending);
        self.lease.require_held()?;
        let (bucket, at) = (self.store.bucket.clone(), path.clone());
        let done = self.store.wait(async move { bucket.complete_multipart(&at, &upload, parts).await })?;
        let Err(error) = done else { return Ok(()) };
        // The answer to the first attempt may have been lost: then the second finds the upload gone and the object there.
        match self.store.head(&self.payload)? {
            Some(found) if found.size == size => Ok(()),
            _ => Err(self.store.told("cannot complete", &self.payload, error)),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut sending = self.sending.lock();
        let path = self.store.path(&self.payload);
        // A part that arrives after its upload was removed would stay.
        while sending.under_way > 0 {
            let _ = take_one(&mut sending, &self.store, &path);
        }
        let files = std::iter::once(self.payload.clone()).chain(mem::take(&mut self.beside)).collect();
        // If the lock has gone to somebody else, what has a name may be theirs; the upload is ours in any case.
        let size = self.size.filter(|_| self.lease.require_held().is_ok());
        let draft = Drafted { files, upload: sending.upload.take(), size };
        if self.store.discard(&draft, self.complete.as_ref()).is_err() {
            self.lease.leave();
        }
    }
}
