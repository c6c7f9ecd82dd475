//! How content lies in a backup file: as chunks that are compressed one by one, so that several threads can work on
//! them, each in a form that the usual tools read.
//!
//! * *gzip*: every chunk is a gzip member (RFC 1952) whose extra field `LB` holds the size of the whole member, so
//!   that a reader can hand whole members to several threads. `gunzip` and `zcat` read the file as it is.
//! * *zstd*: every chunk is a frame behind a skippable frame (RFC 8878) that holds its size. `zstd -d` reads it.
//! * *none*: the content itself.

use std::io::{self, Read};

use libdeflater::{CompressionLvl, Compressor, Decompressor};
use serde::{Deserialize, Serialize};

/// How a backup is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// As `gunzip` reads it.
    #[default]
    Gzip,
    /// As `zstd -d` reads it: smaller and faster.
    Zstd,
}

impl Compression {
    /// The ending of file names.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        }
    }

    /// The level when none is asked for: as small as `gzip`'s own default, in a third of its time.
    pub(crate) const fn usual_level(self) -> i32 {
        1
    }

    /// The levels there are.
    pub(crate) const fn levels(self) -> std::ops::RangeInclusive<i32> {
        match self {
            Compression::None => 0..=0,
            Compression::Gzip => 1..=12,
            Compression::Zstd => 1..=19,
        }
    }

    /// How much content a chunk holds: a larger one compresses better, but costs memory in each thread.
    pub(crate) const fn chunk_bytes(self) -> usize {
        match self {
            Compression::None | Compression::Gzip => 1 << 20,
            Compression::Zstd => 2 << 20,
        }
    }
}

/// More than any chunk holds: a file that claims more is damaged, or made to exhaust the memory.
const LARGEST_CHUNK: usize = 8 << 20;

const GZIP_HEADER: usize = 20;
const GZIP_TRAILER: usize = 8;
const SKIPPABLE: u32 = 0x184D_2A5B;

/// Compresses chunks.
pub(super) enum Encoder {
    None,
    Gzip(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    pub(super) fn new(compression: Compression, level: i32) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Encoder::None,
            Compression::Gzip => {
                let level = CompressionLvl::new(level).unwrap_or_default();
                Encoder::Gzip(Compressor::new(level))
            }
            Compression::Zstd => {
                let mut compressor = zstd::bulk::Compressor::new(level)?;
                compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
                Encoder::Zstd(compressor)
            }
        })
    }

    /// One chunk, as it stands in the file.
    pub(super) fn encode(&mut self, content: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Encoder::None => Ok(content),
            Encoder::Gzip(compressor) => gzip_member(compressor, &content),
            Encoder::Zstd(compressor) => {
                let mut chunk = Vec::with_capacity(8 + 4 + zstd::zstd_safe::compress_bound(content.len()));
                let frame = compressor.compress(&content)?;
                chunk.extend_from_slice(&SKIPPABLE.to_le_bytes());
                chunk.extend_from_slice(&4_u32.to_le_bytes());
                chunk.extend_from_slice(&size32(frame.len())?.to_le_bytes());
                chunk.extend_from_slice(&frame);
                Ok(chunk)
            }
        }
    }
}

fn gzip_member(compressor: &mut Compressor, content: &[u8]) -> io::Result<Vec<u8>> {
    let bound = compressor.deflate_compress_bound(content.len());
    let mut member = vec![0; GZIP_HEADER + bound + GZIP_TRAILER];
    let deflated = compressor
        .deflate_compress(content, &mut member[GZIP_HEADER..GZIP_HEADER + bound])
        .map_err(|error| io::Error::other(error.to_string()))?;
    let whole = GZIP_HEADER + deflated + GZIP_TRAILER;
    member.truncate(whole);
    // Magic, deflate, FEXTRA, no time, no extra flags, any system; extra field of 8 bytes: `LB`, 4 bytes.
    member[..16].copy_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 8, 0, b'L', b'B', 4, 0]);
    member[16..20].copy_from_slice(&size32(whole)?.to_le_bytes());
    member[whole - 8..whole - 4].copy_from_slice(&libdeflater::crc32(content).to_le_bytes());
    member[whole - 4..].copy_from_slice(&size32(content.len())?.to_le_bytes());
    Ok(member)
}

fn size32(size: usize) -> io::Result<u32> {
    u32::try_from(size).map_err(io::Error::other)
}

/// Reads the next chunk as it stands in the file; `None` at the end.
pub(super) fn next_chunk(source: &mut dyn Read, compression: Compression) -> io::Result<Option<Vec<u8>>> {
    let (head, size_of) = match compression {
        Compression::None => {
            let mut chunk = vec![0; compression.chunk_bytes()];
            let filled = fill_buffer(source, &mut chunk)?;
            chunk.truncate(filled);
            return Ok((filled > 0).then_some(chunk));
        }
        Compression::Gzip => (GZIP_HEADER, gzip_size as fn(&[u8]) -> Option<usize>),
        Compression::Zstd => (12, zstd_size as fn(&[u8]) -> Option<usize>),
    };
    let mut chunk = vec![0; head];
    match fill_buffer(source, &mut chunk)? {
        0 => return Ok(None),
        filled if filled < head => return Err(cut_off()),
        _ => {}
    }
    let whole = size_of(&chunk)
        .filter(|whole| (head..=2 * LARGEST_CHUNK).contains(whole))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "one of its parts has a wrong header"))?;
    chunk.resize(whole, 0);
    if fill_buffer(source, &mut chunk[head..])? < whole - head {
        return Err(cut_off());
    }
    Ok(Some(chunk))
}

fn gzip_size(head: &[u8]) -> Option<usize> {
    (head.starts_with(&[0x1f, 0x8b, 8, 4]) && head[10..16] == [8, 0, b'L', b'B', 4, 0])
        .then(|| read32(&head[16..20]))
        .flatten()
}

fn zstd_size(head: &[u8]) -> Option<usize> {
    (read32(&head[..4])? == SKIPPABLE as usize && read32(&head[4..8])? == 4)
        .then(|| read32(&head[8..12]).map(|size| size + 12))
        .flatten()
}

/// What tells whether a file is in chunks needs so many bytes.
pub(super) const CHUNK_HEAD: usize = GZIP_HEADER;

/// Whether a file was written in chunks, each of which can be expanded by itself, as we write them. A file that is too short to
/// tell is one that was cut off.
pub(super) fn is_in_chunks(head: &[u8], compression: Compression) -> bool {
    match compression {
        Compression::None => true,
        Compression::Gzip => {
            head.len() < GZIP_HEADER || gzip_size(head).is_some() || !head.starts_with(&[0x1f, 0x8b])
        }
        Compression::Zstd => head.len() < 12 || zstd_size(head).is_some() || !is_zstd(head),
    }
}

fn is_zstd(head: &[u8]) -> bool {
    let magic = read32(&head[..4]).unwrap_or_default();
    magic == 0xfd2f_b528 || (0x184d_2a50..=0x184d_2a5f).contains(&magic)
}

fn read32(bytes: &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it is truncated")
}

/// Reads until `buffer` is full or the source ends.
pub(super) fn fill_buffer(source: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Expands chunks, checking each one's own checksum.
pub(super) enum Decoder {
    None,
    Gzip(Decompressor),
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl Decoder {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Decoder::None,
            Compression::Gzip => Decoder::Gzip(Decompressor::new()),
            Compression::Zstd => Decoder::Zstd(zstd::bulk::Decompressor::new()?),
        })
    }

    /// The content of one chunk.
    pub(super) fn decode(&mut self, chunk: Vec<u8>) -> io::Result<Vec<u8>> {
        let damaged = |why: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("one of its parts is damaged: {why}"))
        };
        match self {
            Decoder::None => Ok(chunk),
            Decoder::Gzip(decompressor) => {
                let Some(end) = chunk.len().checked_sub(GZIP_TRAILER).filter(|end| *end >= GZIP_HEADER)
                else {
                    return Err(damaged("it is too short"));
                };
                let size = read32(&chunk[end + 4..]).filter(|size| *size <= LARGEST_CHUNK);
                let mut content = vec![0; size.ok_or_else(|| damaged("its size is impossible"))?];
                let expanded = decompressor
                    .deflate_decompress(&chunk[GZIP_HEADER..end], &mut content)
                    .map_err(|_| damaged("it cannot be decompressed"))?;
                let checksum =
                    u32::from_le_bytes([chunk[end], chunk[end + 1], chunk[end + 2], chunk[end + 3]]);
                if expanded != content.len() || libdeflater::crc32(&content) != checksum {
                    return Err(damaged("its CRC-32 does not match"));
                }
                Ok(content)
            }
            Decoder::Zstd(decompressor) => {
                let size = zstd::zstd_safe::get_frame_content_size(&chunk[12..]).ok().flatten();
                let size =
                    size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= LARGEST_CHUNK);
                let size = size.ok_or_else(|| damaged("its size is impossible"))?;
                decompressor.decompress(&chunk[12..], size).map_err(|error| damaged(&error.to_string()))
            }
        }
    }
}
