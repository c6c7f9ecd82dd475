//! The structure of a SQLite file: every page belongs to one tree, one chain or the free list, and every tree is in order.
//!
//! These are the checks of SQLite's own `checkTreePage` and `checkList`. SQLite makes them inside `integrity_check`,
//! which cannot even begin when a schema names a collation, a function or a module that only the application registers,
//! and which mixes damage with rows that are older than a constraint. Here the pages alone are looked at (file format,
//! <https://sqlite.org/fileformat2.html>), so that what is found is damage, whatever the schema says.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// More faults than these tell nothing more.
const ENOUGH: usize = 20;

/// SQLite's `BTCURSOR_MAX_DEPTH`.
const DEEPEST: usize = 20;

/// Finds what is wrong with the structure of a file that nobody writes to. `roots` are the first pages of its tables and
/// indexes, without that of the schema.
pub(super) fn find_faults(file: &Path, roots: &[u32]) -> io::Result<Vec<String>> {
    let file = File::open(file)?;
    let mut header = [0; 100];
    file.read_exact_at(&mut header, 0)?;
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => usize::from(size),
    };
    let usable = page_size.saturating_sub(usize::from(header[20]));
    if !page_size.is_power_of_two() || page_size < 512 || usable < 480 {
        return Ok(vec!["the header names no possible size of pages".to_owned()]);
    }
    let pages = u32::try_from(file.metadata()?.len() / page_size as u64).unwrap_or(u32::MAX);
    let is_auto_vacuum = number(&header, 52) != 0;
    let mut walk = Walk {
        file,
        page_size,
        usable,
        pages,
        is_auto_vacuum,
        used: vec![0; pages as usize / 64 + 1],
        faults: Vec::new(),
    };
    walk.read_all(&header, roots)?;
    Ok(walk.faults)
}

/// What a pointer map says a page is for (file format, 1.8).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Purpose {
    Root = 1,
    Free = 2,
    FirstOverflow = 3,
    LaterOverflow = 4,
    Child = 5,
}

struct Walk {
    file: File,
    page_size: usize,
    usable: usize,
    pages: u32,
    is_auto_vacuum: bool,
    used: Vec<u64>,
    faults: Vec<String>,
}

/// A cell, without the content that lies elsewhere.
struct Cell {
    child: Option<u32>,
    rowid: Option<i64>,
    /// Bytes on its page.
    size: usize,
    /// Where its content begins, and how many bytes of it there are.
    content: usize,
    payload: u64,
    local: usize,
}

/// What is true of a whole page.
struct Kind {
    is_leaf: bool,
    has_rowids: bool,
}

impl Walk {
    fn read_all(&mut self, header: &[u8], roots: &[u32]) -> io::Result<()> {
        let lock_page = 0x4000_0000 / self.page_size as u64 + 1;
        if lock_page <= u64::from(self.pages) {
            self.mark(u32::try_from(lock_page).unwrap_or(u32::MAX));
        }
        self.read_free_list(number(header, 32), number(header, 36))?;
        let highest = roots.iter().copied().max().unwrap_or(1).max(1);
        if self.is_auto_vacuum && highest != number(header, 52) {
            let told = number(header, 52);
            self.report(format!("the highest root page is {highest}, and the header says {told}"));
        } else if !self.is_auto_vacuum && number(header, 64) != 0 {
            self.report("the header asks for an incremental vacuum, and there is no pointer map".to_owned());
        }
        for root in std::iter::once(&1).chain(roots) {
            if self.is_auto_vacuum && *root > 1 {
                self.compare_pointer(*root, Purpose::Root, 0)?;
            }
            self.read_tree(*root, i64::MAX, 0, None)?;
        }
        for page in 1..=self.pages {
            if self.faults.len() >= ENOUGH {
                break;
            }
            let is_map = self.is_auto_vacuum && self.map_of(page) == page;
            match (self.is_used(page), is_map) {
                (false, false) => self.report(format!("page {page} is never used")),
                (true, true) => {
                    self.report(format!("page {page} is a pointer map, and something refers to it"))
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn report(&mut self, fault: String) {
        if self.faults.len() < ENOUGH {
            self.faults.push(fault);
        }
    }

    fn is_used(&self, page: u32) -> bool {
        self.used[page as usize / 64] & (1 << (page % 64)) != 0
    }

    fn mark(&mut self, page: u32) {
        self.used[page as usize / 64] |= 1 << (page % 64);
    }

    /// Takes note that something refers to a page; nothing else may.
    fn claim(&mut self, page: u32, by: &str) -> bool {
        if page == 0 || page > self.pages {
            self.report(format!("{by} refers to page {page}, and there is none"));
            return false;
        }
        if self.is_used(page) {
            self.report(format!("{by} is the second to refer to page {page}"));
            return false;
        }
        self.mark(page);
        true
    }

    fn page(&self, page: u32) -> io::Result<Vec<u8>> {
        let mut content = vec![0; self.page_size];
        self.file.read_exact_at(&mut content, u64::from(page - 1) * self.page_size as u64)?;
        Ok(content)
    }

    fn read_free_list(&mut self, first: u32, expected: u32) -> io::Result<()> {
        let (mut next, mut found) = (first, 0_u64);
        while next != 0 {
            if self.faults.len() >= ENOUGH || !self.claim(next, "the free list") {
                return Ok(());
            }
            found += 1;
            if self.is_auto_vacuum {
                self.compare_pointer(next, Purpose::Free, 0)?;
            }
            let trunk = self.page(next)?;
            let leaves = number(&trunk, 4) as usize;
            if leaves > self.usable / 4 - 2 {
                self.report(format!("page {next} of the free list names {leaves} pages, which is too many"));
                return Ok(());
            }
            for leaf in 0..leaves {
                let leaf = number(&trunk, 8 + 4 * leaf);
                if self.claim(leaf, "the free list") && self.is_auto_vacuum {
                    self.compare_pointer(leaf, Purpose::Free, 0)?;
                }
            }
            found += leaves as u64;
            next = number(&trunk, 0);
        }
        if found != u64::from(expected) {
            self.report(format!("the free list has {found} pages, and the header says {expected}"));
        }
        Ok(())
    }

    /// Reads a tree from one of its pages down. Gives its depth, and the least rowid in it.
    fn read_tree(
        &mut self,
        page: u32,
        highest: i64,
        above: usize,
        parent: Option<bool>,
    ) -> io::Result<(usize, i64)> {
        let nothing = (0, highest);
        if self.faults.len() >= ENOUGH || !self.claim(page, "a tree") {
            return Ok(nothing);
        }
        if above > DEEPEST {
            self.report(format!("the tree at page {page} is too deep"));
            return Ok(nothing);
        }
        let data = self.page(page)?;
        let start = if page == 1 { 100 } else { 0 };
        let Some(kind) =
            kind_of(data[start]).filter(|kind| parent.is_none_or(|rowids| rowids == kind.has_rowids))
        else {
            self.report(format!("page {page} is of no kind that can be there"));
            return Ok(nothing);
        };
        let cells = usize::from(short(&data, start + 3));
        let pointers = start + if kind.is_leaf { 8 } else { 12 };
        let content_start = match short(&data, start + 5) {
            0 => 65_536,
            at => usize::from(at),
        };
        if pointers + 2 * cells > content_start || content_start > self.usable {
            self.report(format!("the header of page {page} is damaged"));
            return Ok(nothing);
        }
        // The last row below a cell may have the cell's own number.
        let (mut highest, mut may_be_equal, mut depth) = (highest, true, None);
        if !kind.is_leaf {
            let child = number(&data, start + 8);
            let (below, least) = self.read_child(child, page, highest, above, &kind)?;
            (highest, may_be_equal, depth) = (least, false, Some(below));
        }
        let mut spans = Vec::with_capacity(cells + 1);
        let mut are_whole = true;
        for cell in (0..cells).rev() {
            let at = usize::from(short(&data, pointers + 2 * cell));
            let parsed = (at >= content_start && at + 4 <= self.usable)
                .then(|| self.parse(&data, at, &kind))
                .flatten();
            let Some(found) = parsed else {
                self.report(format!("cell {cell} of page {page} lies outside of it"));
                are_whole = false;
                continue;
            };
            spans.push((at, at + found.size));
            if found.payload > 0 && data[found.content] < 2 {
                self.report(format!("cell {cell} of page {page} has no header"));
                are_whole = false;
                continue;
            }
            if let Some(rowid) = found.rowid {
                if rowid > highest || (!may_be_equal && rowid == highest) {
                    self.report(format!("row {rowid} on page {page} is out of order"));
                }
                (highest, may_be_equal) = (rowid, false);
            }
            if found.payload > found.local as u64 {
                let first = number(&data, at + found.size - 4);
                self.read_overflow(first, page, found.payload - found.local as u64)?;
            }
            if let Some(child) = found.child {
                let (below, least) = self.read_child(child, page, highest, above, &kind)?;
                if depth.is_some_and(|depth| depth != below) {
                    self.report(format!("the trees below page {page} differ in depth"));
                }
                (highest, may_be_equal, depth) = (least, false, Some(below));
            }
        }
        if are_whole {
            self.compare_spans(page, &data, start, content_start, spans);
        }
        Ok((depth.map_or(0, |depth| depth + 1), highest))
    }

    fn read_child(
        &mut self,
        child: u32,
        page: u32,
        highest: i64,
        above: usize,
        kind: &Kind,
    ) -> io::Result<(usize, i64)> {
        if self.is_auto_vacuum && child != 0 && child <= self.pages {
            self.compare_pointer(child, Purpose::Child, page)?;
        }
        self.read_tree(child, highest, above + 1, Some(kind.has_rowids))
    }

    /// Follows the pages of a content that is too large for one.
    fn read_overflow(&mut self, first: u32, page: u32, bytes: u64) -> io::Result<()> {
        let expected = bytes.div_ceil(self.usable as u64 - 4);
        let (mut next, mut before, mut found) = (first, page, 0);
        while next != 0 {
            if self.faults.len() >= ENOUGH || !self.claim(next, &format!("a row of page {page}")) {
                return Ok(());
            }
            if self.is_auto_vacuum {
                let purpose = if found == 0 { Purpose::FirstOverflow } else { Purpose::LaterOverflow };
                self.compare_pointer(next, purpose, before)?;
            }
            found += 1;
            (before, next) = (next, number(&self.page(next)?, 0));
        }
        if found != expected {
            self.report(format!("a row of page {page} goes on for {found} pages, and should for {expected}"));
        }
        Ok(())
    }

    /// Cells and free blocks lie side by side, and what is between them is counted in the header.
    fn compare_spans(
        &mut self,
        page: u32,
        data: &[u8],
        start: usize,
        content_start: usize,
        mut spans: Vec<(usize, usize)>,
    ) {
        let mut block = usize::from(short(data, start + 1));
        while block > 0 {
            let (next, size) = (usize::from(short(data, block)), usize::from(short(data, block + 2)));
            let end = block + size;
            let is_in_order = next == 0 || next > end;
            if block < content_start
                || block + 4 > self.usable
                || end > self.usable
                || size < 4
                || !is_in_order
            {
                self.report(format!("the free space of page {page} is damaged"));
                return;
            }
            spans.push((block, end));
            block = if next + 4 > self.usable { usize::MAX } else { next };
            if block == usize::MAX {
                self.report(format!("the free space of page {page} is damaged"));
                return;
            }
        }
        spans.sort_unstable();
        let (mut end, mut gaps) = (content_start, 0);
        for (from, to) in spans {
            if from < end {
                self.report(format!("byte {from} of page {page} is used more than once"));
                return;
            }
            gaps += from - end;
            end = to;
        }
        gaps += self.usable - end;
        let told = usize::from(data[start + 7]);
        if gaps != told {
            self.report(format!("page {page} has {gaps} bytes in fragments, and its header says {told}"));
        }
    }

    /// The pointer map that a page stands in.
    fn map_of(&self, page: u32) -> u32 {
        if page < 2 {
            return 0;
        }
        let group = u32::try_from(self.usable / 5 + 1).unwrap_or(u32::MAX);
        let map = (page - 2) / group * group + 2;
        let lock_page = u32::try_from(0x4000_0000 / self.page_size as u64 + 1).unwrap_or(u32::MAX);
        if map == lock_page { map + 1 } else { map }
    }

    fn compare_pointer(&mut self, page: u32, purpose: Purpose, parent: u32) -> io::Result<()> {
        let map = self.map_of(page);
        if page < 3 || page > self.pages || map >= page {
            self.report(format!("page {page} cannot be in a pointer map"));
            return Ok(());
        }
        let at = 5 * (page - map - 1) as usize;
        let content = self.page(map)?;
        if at + 5 > self.usable || content[at] != purpose as u8 || number(&content, at + 1) != parent {
            self.report(format!("the pointer map says otherwise what page {page} is for"));
        }
        Ok(())
    }

    /// Reads a cell; nothing, if it does not end on its page.
    fn parse(&self, data: &[u8], at: usize, kind: &Kind) -> Option<Cell> {
        let mut next = at;
        let child = (!kind.is_leaf).then(|| number(data, at));
        next += if kind.is_leaf { 0 } else { 4 };
        let payload = if kind.is_leaf || !kind.has_rowids { varint(data, &mut next)? } else { 0 };
        let rowid = if kind.has_rowids { Some(varint(data, &mut next)?.cast_signed()) } else { None };
        let largest = if kind.has_rowids { self.usable - 35 } else { (self.usable - 12) * 64 / 255 - 23 };
        let least = (self.usable - 12) * 32 / 255 - 23;
        // SQLite keeps the size of a content in 32 bits.
        let payload = payload & 0xffff_ffff;
        let local = match usize::try_from(payload).ok()? {
            all if all <= largest => all,
            all => match least + (all - least) % (self.usable - 4) {
                local if local <= largest => local,
                _ => least,
            },
        };
        let elsewhere = if payload > local as u64 { 4 } else { 0 };
        let size = (next - at + local + elsewhere).max(4);
        (at + size <= self.usable).then_some(Cell { child, rowid, size, content: next, payload, local })
    }
}

fn kind_of(flags: u8) -> Option<Kind> {
    let (is_leaf, has_rowids) = match flags {
        2 => (false, false),
        5 => (false, true),
        10 => (true, false),
        13 => (true, true),
        _ => return None,
    };
    Some(Kind { is_leaf, has_rowids })
}

fn short(data: &[u8], at: usize) -> u16 {
    data.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn number(data: &[u8], at: usize) -> u32 {
    data.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A number of one to nine bytes (file format, 1.6).
fn varint(data: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for position in 0..9 {
        let byte = *data.get(*at)?;
        *at += 1;
        if position == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rusqlite::Connection;

    use super::*;

    fn roots(connection: &Connection) -> rusqlite::Result<Vec<u32>> {
        let mut statement = connection.prepare("select rootpage from sqlite_schema where rootpage > 0")?;
        let roots = statement.query_map([], |row| row.get(0))?;
        roots.collect()
    }

    /// What SQLite finds: of the trees, and at all.
    fn lines_of_sqlite(connection: &Connection) -> (Vec<String>, bool) {
        let said = connection.prepare("pragma integrity_check").and_then(|mut statement| {
            let said = statement.query_map([], |row| row.get::<_, String>(0))?;
            said.collect::<rusqlite::Result<Vec<_>>>()
        });
        let Ok(said) = said else { return (Vec::new(), false) };
        let is_sound = said == ["ok"];
        (said.into_iter().filter(|line| line.starts_with("***")).collect(), is_sound)
    }

    const CONTENT: &str = "
        create table t (a integer primary key, b text, c blob); create index t_b on t (b); create index t_c on t (c);
        create table w (a primary key, b) without rowid;
        with recursive n (i) as (select 1 union all select i + 1 from n where i < 900)
        insert into t select i * 3, 'row ' || i, randomblob(i % 50 + (i % 97 = 0) * 9000) from n;
        insert into w select b, c from t where a % 2;
        delete from t where a % 5 = 0; update t set b = b || ' again' where a % 7 = 0;
        create table gone as select * from t; drop table gone";

    /// LIFEBOAT_CAMPAIGN=70 makes seventy times as many.
    #[test]
    fn whatever_sqlite_finds_in_pages_is_found_and_nothing_in_sound_ones() {
        let rounds: u64 =
            std::env::var("LIFEBOAT_CAMPAIGN").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut damaged, mut found, mut missed) = (0, 0, 0);
        for (size, vacuum) in [
            (512, "none"),
            (512, "full"),
            (1024, "incremental"),
            (4096, "none"),
            (4096, "full"),
            (65_536, "none"),
        ] {
            let _ = std::fs::remove_file(&path);
            let connection = Connection::open(&path).unwrap();
            connection
                .execute_batch(&format!(
                    "pragma page_size = {size}; pragma auto_vacuum = {vacuum}; pragma synchronous = off; {CONTENT}"
                ))
                .unwrap();
            let all = roots(&connection).unwrap();
            drop(connection);
            assert_eq!(find_faults(&path, &all).unwrap(), Vec::<String>::new(), "{size} {vacuum}");
            let sound = std::fs::read(&path).unwrap();
            for seed in 0..60 * rounds {
                let mut random = rand::rngs::StdRng::seed_from_u64(seed);
                let mut content = sound.clone();
                // Headers of pages decide most.
                let page = random.random_range(0..content.len() / size);
                let within = if seed % 2 == 0 { size } else { 16 };
                let start = if page == 0 { 100 } else { 0 };
                let at = page * size + start + random.random_range(0..within.min(size - start));
                content[at] = content[at].wrapping_add(random.random_range(1..=255));
                std::fs::write(&path, &content).unwrap();
                let faults = find_faults(&path, &all).unwrap();
                let connection = Connection::open(&path).unwrap();
                let (of_trees, is_sound) = lines_of_sqlite(&connection);
                damaged += 1;
                found += usize::from(!faults.is_empty());
                missed += usize::from(!of_trees.is_empty() && faults.is_empty());
                assert!(
                    of_trees.is_empty() || !faults.is_empty(),
                    "{size} {vacuum} {seed}: SQLite says {of_trees:?} of byte {at}, and nothing was found"
                );
                assert!(
                    faults.is_empty() || !is_sound,
                    "{size} {vacuum} {seed}: SQLite says nothing of byte {at}, and there is {faults:?}"
                );
            }
        }
        println!("{damaged} damages of a byte: structure wrong in {found}, missed {missed}");
    }
}
