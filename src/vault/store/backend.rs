//! What a vault does, in an object store.

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutPayload, UpdateVersion};

use super::client::Store;
use super::object::Object;
use crate::error::{Error, Result};
use crate::vault::backend::{
    Backend, Content, Draft, FilesOf, LARGEST_READ, LeaseLock, Listing, Lock, Recovered, StoredFile, Version,
    checked_name,
};
use crate::vault::pulse::Overwritten;

/// How many requests go at once where many objects are read.
const ABREAST: usize = 16;

impl Backend for Store {
    fn shown(&self, name: &str) -> String {
        self.shown_as(name)
    }

    fn mark(&self, name: &str) -> Option<String> {
        Some(self.shown_as(name))
    }

    fn directory(&self) -> Option<&std::path::Path> {
        None
    }

    fn clock(&self) -> Result<DateTime<Utc>> {
        // Any answer tells the time.
        self.size(".lock")?;
        self.clock.now().ok_or_else(|| {
            Error::outside(format!("`{}` sent no Date header, so ages cannot be computed", self.shown_as("")))
        })
    }

    fn list(&self, folder: &str) -> Result<Listing> {
        let (bucket, path) = (self.bucket.clone(), self.path(folder));
        let listed = self.wait(async move {
            let prefix = (!path.as_ref().is_empty()).then_some(&path);
            bucket.list_with_delimiter(prefix).await
        })?;
        let listed = listed.map_err(|error| self.told("cannot list", folder, error))?;
        // A key may hold anything; what is no name of ours is passed over, as links are in a directory.
        let name = |path: &Path| path.filename().filter(|name| checked_name(name).is_ok()).map(str::to_owned);
        let files = listed
            .objects
            .iter()
            .filter_map(|object| Some(StoredFile { name: name(&object.location)?, size: object.size }));
        let mut listing = Listing {
            files: files.collect(),
            folders: listed.common_prefixes.iter().filter_map(name).collect(),
        };
        listing.files.sort_by(|left, right| left.name.cmp(&right.name));
        listing.folders.sort();
        Ok(listing)
    }

    fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.head(name)?.map(|object| object.size))
    }

    fn read(&self, name: &str, largest: u64) -> Result<Option<Vec<u8>>> {
        self.read_all(&[name.to_owned()], largest).pop().unwrap_or(Ok(None))
    }

    fn read_all(&self, names: &[String], largest: u64) -> Vec<Result<Option<Vec<u8>>>> {
        let (bucket, paths) =
            (self.bucket.clone(), names.iter().map(|name| self.path(name)).collect::<Vec<_>>());
        let read = self.wait(async move {
            let read = paths.into_iter().map(|path| {
                let bucket = bucket.clone();
                async move {
                    let found = bucket.get(&path).await?;
                    // Asked before the content is fetched.
                    if found.meta.size > largest { Ok(None) } else { found.bytes().await.map(Some) }
                }
            });
            stream::iter(read).buffered(ABREAST).collect::<Vec<_>>().await
        });
        let told = |(name, read): (&String, object_store::Result<Option<hyper::body::Bytes>>)| match read {
            Ok(Some(content)) => Ok(Some(content.to_vec())),
            Ok(None) => Err(self.too_large(name, largest)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.told("cannot read", name, error)),
        };
        match read {
            Ok(read) => names.iter().zip(read).map(told).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let (bucket, path, payload) =
            (self.bucket.clone(), self.path(name), PutPayload::from(content.to_vec()));
        let written = self.wait(async move { bucket.put(&path, payload).await })?;
        written.map(drop).map_err(|error| self.told("cannot write", name, error))
    }

    fn append(&self, name: &str, at: DateTime<Utc>, line: &[u8]) -> Result<()> {
        let stamp = at.format("%Y%m%dT%H%M%S%.6fZ");
        let name = format!("{name}/{stamp}-{:08x}.json", rand::random::<u32>());
        self.put_new(&name, [line, b"\n"].concat())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let (store, path) = (self.clone(), self.path(name));
        let removed = self.wait(async move { store.erase(&path).await })?;
        removed.map_err(|error| self.told("cannot remove", name, error))
    }

    fn open(&self, name: &str) -> Result<Content> {
        let object = self.head(name)?.ok_or_else(|| {
            Error::outside(format!("cannot open `{}`: it does not exist", self.shown_as(name)))
                .hint("`lifeboat backup list` shows what the vault holds.")
        })?;
        Ok(Content(std::sync::Arc::new(object)))
    }

    fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        Ok(self.lease(name, None)?.map(|lease| Box::new(lease) as Lock))
    }

    fn versioned(&self, name: &str) -> Result<Option<(Vec<u8>, Version)>> {
        let (bucket, path) = (self.bucket.clone(), self.path(name));
        let read = self.wait(async move {
            let found = bucket.get(&path).await?;
            let version = Version::Tag(found.meta.e_tag.clone(), found.meta.version.clone());
            if found.meta.size > LARGEST_READ {
                return Ok(None);
            }
            Ok::<_, object_store::Error>(Some((found.bytes().await?.to_vec(), version)))
        })?;
        match read {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => Err(self.too_large(name, LARGEST_READ)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.told("cannot read", name, error)),
        }
    }

    fn put_if(&self, name: &str, content: &[u8], seen: Option<&Version>) -> Result<Option<Version>> {
        let (store, path, content) = (self.clone(), self.path(name), content.to_vec());
        let seen = match seen {
            Some(Version::Tag(e_tag, version)) => {
                Some(UpdateVersion { e_tag: e_tag.clone(), version: version.clone() })
            }
            _ => None,
        };
        let put = self.wait(async move {
            match seen {
                Some(seen) => store.replace(&path, content, seen).await,
                None => store.create(&path, content).await,
            }
        })?;
        let put = put.map_err(|error| self.told("cannot write", name, error))?;
        Ok(put.map(|made| Version::Tag(made.e_tag, made.version)))
    }

    fn lease_lock(&self, _name: &str) -> Result<LeaseLock> {
        Ok(LeaseLock::None)
    }

    fn overwritten(&self) -> Overwritten {
        self.overwritten_versions()
    }

    fn draft(&self, stem: &str, payload: &str) -> Result<Option<Draft>> {
        Ok(self.begin_upload(stem, payload)?.map(|upload| Box::new(upload) as Draft))
    }

    fn recover(&self, files_of: FilesOf<'_>) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        let listing = self.list("")?;
        for file in &listing.files {
            let Some(hidden) = file.name.strip_prefix('.') else { continue };
            if let Some(stem) = hidden.strip_suffix(".partial") {
                let Some(draft) = self.inherit(&file.name)? else { continue };
                // Its manifest is what is written last: with it, all is there.
                if self.size(&format!("{stem}.json"))?.is_some() {
                    recovered.published.push(stem.to_owned());
                } else {
                    self.discard(&draft, None)?;
                    recovered.removed.push(stem.to_owned());
                }
                self.remove(&file.name)?;
            } else if let Some(stem) = hidden.strip_suffix(".json.gone") {
                let Some(manifest) = self.read(&file.name, LARGEST_READ)? else { continue };
                self.finish_deletion(stem, &manifest, &files_of(&manifest))?;
                recovered.deleted.push(stem.to_owned());
            }
        }
        Ok(recovered)
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        if self.head(to)?.is_some() {
            return Err(Error::outside(format!("`{}` already exists", self.shown_as(to))));
        }
        let (bucket, source, target) = (self.bucket.clone(), self.path(from), self.path(to));
        let copied = self.wait(async move { bucket.copy(&source, &target).await })?;
        copied.map_err(|error| self.told("cannot copy", from, error))
    }

    fn delete(&self, stem: &str, files: &[String]) -> Result<()> {
        let Some(manifest) = self.read(&format!("{stem}.json"), LARGEST_READ)? else { return Ok(()) };
        self.write(&format!(".{stem}.json.gone"), &manifest)?;
        self.finish_deletion(stem, &manifest, files)
    }
}

impl Store {
    /// An object as it is now; `None` if there is none.
    pub(super) fn head(&self, name: &str) -> Result<Option<Object>> {
        let (bucket, path) = (self.bucket.clone(), self.path(name));
        let at = path.clone();
        match self.wait(async move { bucket.head(&at).await })? {
            Ok(found) => Ok(Some(Object {
                store: self.clone(),
                path,
                size: found.size,
                e_tag: found.e_tag,
                modified: found.last_modified,
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.told("cannot read the metadata of", name, error)),
        }
    }

    fn too_large(&self, name: &str, largest: u64) -> Error {
        Error::outside(format!("cannot read `{}`", self.shown_as(name)))
            .caused_by(format!("it is larger than {largest} bytes"))
    }

    /// Writes an object where nothing is.
    pub(super) fn put_new(&self, name: &str, content: Vec<u8>) -> Result<()> {
        let (store, path) = (self.clone(), self.path(name));
        let made = self.wait(async move { store.create(&path, content).await })?;
        match made.map_err(|error| self.told("cannot write", name, error))? {
            Some(_) => Ok(()),
            None => Err(Error::outside(format!("`{}` was created by another process", self.shown_as(name)))
                .hint("It was not changed. Run the command again with another name.")),
        }
    }

    /// The manifest goes first, unless another backup has the name by now; what it describes goes then.
    fn finish_deletion(&self, stem: &str, manifest: &[u8], files: &[String]) -> Result<()> {
        let name = format!("{stem}.json");
        match self.read(&name, LARGEST_READ)? {
            Some(there) if there != manifest => {}
            _ => {
                self.remove(&name)?;
                files.iter().try_for_each(|file| self.remove(file))?;
            }
        }
        self.remove(&format!(".{stem}.json.gone"))
    }
}
