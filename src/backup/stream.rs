//! Content on its way into a backup file and out of it: hashed, compressed or expanded by several threads, encrypted
//! or decrypted, in bounded memory.
//!
//! An end that is merely dropped finishes nothing: a file is complete only after [`Inflow::finish`].

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use ring::digest::{Context, SHA256};

use super::coding::{CHUNK_HEAD, Compression, Decoder, Encoder, fill_buffer, is_in_chunks, next_chunk};
use super::encryption::{Identities, Recipients};

/// How content is put into a file.
#[derive(Clone, Debug)]
pub(crate) struct Packing {
    /// How it is compressed.
    pub compression: Compression,
    /// How hard.
    pub level: i32,
    /// By how many threads.
    pub threads: usize,
    /// Whom it is encrypted to.
    pub recipients: Recipients,
}

/// What went through, on both sides of the compression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Bytes of the content.
    pub plain_bytes: u64,
    /// SHA-256 of the content, in hexadecimal.
    pub plain_sha256: String,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub file_sha256: String,
}

/// Counts and hashes what passes.
pub(super) struct Hashed<T> {
    inner: T,
    // In assembly for every processor: without instructions of its own for SHA-256, twice as fast as in Rust.
    hash: Context,
    bytes: u64,
}

impl<T> Hashed<T> {
    pub(super) fn new(inner: T) -> Self {
        Hashed { inner, hash: Context::new(&SHA256), bytes: 0 }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.count(bytes);
    }

    fn count(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
    }

    pub(super) fn seal(self) -> (u64, String) {
        (self.bytes, hex::encode(self.hash.finish().as_ref()))
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.pass(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.pass(&buffer[..read]);
        Ok(read)
    }
}

/// Where a file's bytes go.
pub(super) type Target = Box<dyn Write + Send>;
/// Where they come from.
pub(super) type Origin = Box<dyn Read + Send>;

/// The entrance to a backup file.
pub(super) struct Inflow {
    chunk_bytes: usize,
    /// The file is the content itself: it need not be hashed twice.
    is_content: bool,
    block: Vec<u8>,
    filled: usize,
    plain: Hashed<io::Sink>,
    workers: Vec<SyncSender<Vec<u8>>>,
    next: usize,
    writer: Option<JoinHandle<io::Result<(u64, String)>>>,
}

impl Inflow {
    /// Opens the way into `target`.
    pub(super) fn open(target: Target, packing: Packing) -> io::Result<Self> {
        let (mut workers, mut finished) = (Vec::new(), Vec::new());
        for _ in 0..packing.threads.max(1) {
            let mut encoder = Encoder::new(packing.compression, packing.level)?;
            let (give, take) = sync_channel::<Vec<u8>>(1);
            let (put, get) = sync_channel::<io::Result<Vec<u8>>>(2);
            std::thread::Builder::new().name("compress".into()).spawn(move || {
                for block in take {
                    if put.send(encoder.encode(block)).is_err() {
                        return;
                    }
                }
            })?;
            workers.push(give);
            finished.push(get);
        }
        let recipients = packing.recipients.clone();
        let writer = std::thread::Builder::new().name("write".into()).spawn(move || {
            let mut target = Hashed::new(target);
            if recipients.is_empty() {
                write_in_turn(&finished, &mut target)?;
            } else {
                let mut sealed = recipients.wrap(&mut target)?;
                write_in_turn(&finished, &mut sealed)?;
                sealed.finish()?;
            }
            target.flush()?;
            Ok(target.seal())
        })?;
        let chunk_bytes = packing.compression.chunk_bytes();
        Ok(Inflow {
            chunk_bytes,
            is_content: packing.compression == Compression::None && packing.recipients.is_empty(),
            block: vec![0; chunk_bytes],
            filled: 0,
            plain: Hashed::new(io::sink()),
            workers,
            next: 0,
            writer: Some(writer),
        })
    }

    /// Takes what `source` has at the moment, without another copy; tells what was taken, nothing at its end.
    pub(super) fn take_from(&mut self, source: &mut impl Read) -> io::Result<&[u8]> {
        if self.filled == self.block.len() {
            self.pass_on()?;
        }
        let at = self.filled;
        self.filled += source.read(&mut self.block[at..])?;
        Ok(&self.block[at..self.filled])
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let empty = vec![0; self.chunk_bytes];
        let mut block = std::mem::replace(&mut self.block, empty);
        block.truncate(self.filled);
        self.filled = 0;
        if self.is_content {
            self.plain.count(&block);
        } else {
            self.plain.pass(&block);
        }
        let turn = self.next % self.workers.len();
        self.next += 1;
        match self.workers[turn].send(block) {
            Ok(()) => Ok(()),
            // The writer has ended, and knows why.
            Err(_) => Err(self.end().err().unwrap_or_else(|| io::Error::other("the writing ended early"))),
        }
    }

    fn end(&mut self) -> io::Result<(u64, String)> {
        self.workers.clear();
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(io::Error::other("a thread that wrote the backup has panicked")),
            None => Err(io::Error::other("the writing ended early")),
        }
    }

    /// Writes what is left, and tells what went through.
    pub(super) fn finish(mut self) -> io::Result<Totals> {
        if self.filled > 0 || self.next == 0 {
            self.pass_on()?;
        }
        let (file_bytes, file_sha256) = self.end()?;
        let plain = std::mem::replace(&mut self.plain, Hashed::new(io::sink()));
        let (plain_bytes, mut plain_sha256) = plain.seal();
        if self.is_content {
            plain_sha256.clone_from(&file_sha256);
        }
        Ok(Totals { plain_bytes, plain_sha256, file_bytes, file_sha256 })
    }
}

impl Write for Inflow {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut rest = buffer;
        while !rest.is_empty() {
            self.take_from(&mut rest)?;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the chunks in the order in which they were given out.
fn write_in_turn(finished: &[Receiver<io::Result<Vec<u8>>>], target: &mut dyn Write) -> io::Result<()> {
    for turn in (0..finished.len()).cycle() {
        let Ok(chunk) = finished[turn].recv() else { break };
        target.write_all(&chunk?)?;
    }
    Ok(())
}

/// How content is taken out of a file.
#[derive(Clone, Debug)]
pub(super) struct Unpacking {
    /// How it is compressed.
    pub(super) compression: Compression,
    /// How many threads expand it.
    pub(super) threads: usize,
    /// With which keys it is decrypted, if it is encrypted.
    pub(super) identities: Option<Identities>,
}

/// The exit of a backup file.
pub(super) struct Outflow {
    expanded: Vec<Receiver<io::Result<Vec<u8>>>>,
    next: usize,
    plain: Hashed<io::Sink>,
    reader: Option<JoinHandle<io::Result<(u64, String)>>>,
    read: (u64, String),
    block: Vec<u8>,
    at: usize,
}

impl Outflow {
    /// Opens the way out of `origin`.
    pub(super) fn open(origin: Origin, unpacking: Unpacking) -> io::Result<Self> {
        let (mut workers, mut expanded) = (Vec::new(), Vec::new());
        for _ in 0..unpacking.threads.max(1) {
            let mut decoder = Decoder::new(unpacking.compression)?;
            let (give, take) = sync_channel::<Chunk>(1);
            let (put, get) = sync_channel::<io::Result<Vec<u8>>>(1);
            std::thread::Builder::new().name("expand".into()).spawn(move || {
                for chunk in take {
                    let block = match chunk {
                        Chunk::Packed(chunk) => decoder.decode(chunk),
                        Chunk::Plain(block) => Ok(block),
                    };
                    if put.send(block).is_err() {
                        return;
                    }
                }
            })?;
            workers.push(give);
            expanded.push(get);
        }
        let reader = std::thread::Builder::new().name("read".into()).spawn(move || {
            let mut origin = Hashed::new(origin);
            match &unpacking.identities {
                None => give_out(&mut origin, unpacking.compression, &workers)?,
                Some(keys) => give_out(&mut keys.unwrap(&mut origin)?, unpacking.compression, &workers)?,
            }
            // What follows the end of what can be read belongs to the file, and so to its hash.
            io::copy(&mut origin, &mut io::sink())?;
            Ok(origin.seal())
        })?;
        Ok(Outflow {
            expanded,
            next: 0,
            plain: Hashed::new(io::sink()),
            reader: Some(reader),
            read: (0, String::new()),
            block: Vec::new(),
            at: 0,
        })
    }

    /// The next piece of the content; `None` at its end. A file that ends early is an error, never an end: whoever
    /// feeds a database from here must be able to stop before it takes the end for a reason to commit.
    pub(super) fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        let turn = self.next % self.expanded.len();
        self.next += 1;
        match self.expanded[turn].recv() {
            Ok(block) => {
                let block = block?;
                self.plain.pass(&block);
                Ok(Some(block))
            }
            Err(_) => {
                self.read = match self.reader.take().map(JoinHandle::join) {
                    Some(Ok(outcome)) => outcome?,
                    Some(Err(_)) => {
                        return Err(io::Error::other("a thread that read the backup has panicked"));
                    }
                    None => return Ok(None),
                };
                Ok(None)
            }
        }
    }

    /// Reads what is left, and tells what went through.
    pub(super) fn finish(mut self) -> io::Result<Totals> {
        while self.next_block()?.is_some() {}
        let (plain_bytes, plain_sha256) = self.plain.seal();
        Ok(Totals { plain_bytes, plain_sha256, file_bytes: self.read.0, file_sha256: self.read.1 })
    }
}

impl Read for Outflow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            match self.next_block()? {
                Some(block) => (self.block, self.at) = (block, 0),
                None => return Ok(0),
            }
        }
        let read = fill_buffer(&mut &self.block[self.at..], buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// A piece of a file on its way to a worker.
enum Chunk {
    /// As it stands in the file; it can be expanded by itself.
    Packed(Vec<u8>),
    /// Expanded already.
    Plain(Vec<u8>),
}

/// Gives out the content of a file. What another program has compressed cannot be taken apart without expanding it.
fn give_out(
    origin: &mut dyn Read,
    compression: Compression,
    workers: &[SyncSender<Chunk>],
) -> io::Result<()> {
    let mut head = vec![0; CHUNK_HEAD];
    let filled = fill_buffer(origin, &mut head)?;
    head.truncate(filled);
    let is_ours = is_in_chunks(&head, compression);
    let mut origin = io::Cursor::new(head).chain(origin);
    if is_ours {
        return give_in_turn(&mut origin, workers, |origin| {
            Ok(next_chunk(origin, compression)?.map(Chunk::Packed))
        });
    }
    let plain = |origin: &mut dyn Read| Ok(next_chunk(origin, Compression::None)?.map(Chunk::Plain));
    match compression {
        Compression::None => give_in_turn(&mut origin, workers, plain),
        Compression::Gzip => give_in_turn(&mut flate2::read::MultiGzDecoder::new(origin), workers, plain),
        Compression::Zstd => give_in_turn(&mut zstd::Decoder::new(origin)?, workers, plain),
    }
    .map_err(as_damage)
}

/// zstd says of damage that it is an error like any other.
fn as_damage(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::Other | ErrorKind::InvalidInput => io::Error::new(ErrorKind::InvalidData, error),
        _ => error,
    }
}

/// Gives pieces to the workers in the order in which they are read.
fn give_in_turn(
    origin: &mut dyn Read,
    workers: &[SyncSender<Chunk>],
    next: impl Fn(&mut dyn Read) -> io::Result<Option<Chunk>>,
) -> io::Result<()> {
    for turn in (0..workers.len()).cycle() {
        let Some(chunk) = next(origin)? else { break };
        if workers[turn].send(chunk).is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads a file to its end, hashing it; tells how long it is.
pub(super) fn hash_file(origin: Origin) -> io::Result<(u64, String)> {
    let mut origin = Hashed::new(origin);
    let mut buffer = vec![0; 1 << 20];
    while fill_buffer(&mut origin, &mut buffer)? > 0 {}
    Ok(origin.seal())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buffer);
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pack(content: &[u8], compression: Compression, threads: usize) -> (Vec<u8>, Totals) {
        let target = Shared::default();
        let packing = Packing {
            compression,
            level: compression.usual_level(),
            threads,
            recipients: Recipients::default(),
        };
        let mut inflow = Inflow::open(Box::new(target.clone()), packing).unwrap();
        inflow.write_all(content).unwrap();
        let totals = inflow.finish().unwrap();
        let file = target.0.lock().unwrap().clone();
        (file, totals)
    }

    fn unpack(file: &[u8], compression: Compression) -> io::Result<(Vec<u8>, Totals)> {
        let unpacking = Unpacking { compression, threads: 2, identities: None };
        let mut outflow = Outflow::open(Box::new(io::Cursor::new(file.to_vec())), unpacking)?;
        let mut content = Vec::new();
        outflow.read_to_end(&mut content)?;
        Ok((content, outflow.finish()?))
    }

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    fn text(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| b"0123456789\n abc"[(at * at / 7 + at) % 15]).collect()
    }

    #[test]
    fn what_goes_in_comes_out_whatever_its_size() {
        for compression in ALL {
            let chunk = compression.chunk_bytes();
            for size in [0, 1, chunk, 3 * chunk + 3] {
                let content = text(size);
                let (file, totals) = pack(&content, compression, 3);
                let (back, read) = unpack(&file, compression).unwrap();
                assert!(back == content, "{compression:?} {size}");
                assert_eq!(read, totals);
                assert_eq!(totals.file_bytes, file.len() as u64);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Chunks carry checksums; a file that is not compressed has only its SHA-256, which is another.
        #[test]
        fn a_flipped_bit_or_a_cut_never_passes(compressed in 0..2_usize, place in 0.0..1.0_f64, bit in 0..8_u32, cut in any::<bool>()) {
            let compression = ALL[compressed + 1];
            let content = text(2_200_000);
            let (mut file, totals) = pack(&content, compression, 1);
            let at = ((file.len() - 1) as f64 * place) as usize;
            if cut { file.truncate(at) } else { file[at] ^= 1 << bit }
            if let Ok((back, read)) = unpack(&file, compression) {
                // Some bits of a header mean nothing, and a cut may fall between chunks: the hashes tell.
                prop_assert!(read != totals);
                prop_assert!(back == content || cut);
            }
        }
    }

    #[test]
    fn a_target_that_fails_is_an_error_and_never_a_complete_file() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let packing = Packing {
            compression: Compression::Gzip,
            level: 1,
            threads: 2,
            recipients: Recipients::default(),
        };
        let mut inflow = Inflow::open(Box::new(Full), packing).unwrap();
        let outcome = (0..20)
            .try_for_each(|_| inflow.write_all(&text(1 << 20)))
            .and_then(|()| inflow.finish().map(|_| ()));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
