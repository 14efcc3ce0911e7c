//! What is left of deleted rows in a SQLite file, and its removal.
//!
//! `secure_delete` overwrites a row where it is deleted. But when SQLite rearranges a page, copies of rows stay in the part of
//! the page that belongs to no row, until it is needed: of a thousand texts that were changed or deleted, one or two are found
//! there. This looks for pages where that part is not zero, and overwrites it.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use diesel::{
    RunQueryDsl, SqliteConnection,
    connection::SimpleConnection,
    dsl::sql,
    sql_query,
    sql_types::{Binary, Integer},
};

use super::{
    Error, Result,
    inspection::{self, header},
    sqlite::SqliteFile,
    timeouts::LOG_LOCK_TIMEOUT,
};

/// Pages of one look: 64 MiB, which take a few hundredths of a second to read.
const PAGES_PER_LOOK: u32 = 16_384;
/// Pages that are changed in one transaction.
const PAGES_PER_CHANGE: usize = 32;
/// Bytes that are read at once.
const READ_SIZE: usize = 1 << 20;
/// In a file of as many pages an overflow page may begin like a page of rows: with the first byte of a page number.
const MAX_PAGES: u32 = 1 << 25;

/// The removal of what was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Nothing of what was deleted is left.
    Done,
    /// There are pages to look at. Go on after a pause.
    Continues,
    /// Somebody was in the way. Try again.
    Blocked,
}

/// Which pages are still to be looked at: none until something is written.
#[derive(Default)]
pub(super) struct Remaining {
    /// The next one, counted from 0.
    next: u32,
    /// How many; more than there are is all of them.
    pages: u32,
}

impl Remaining {
    /// Copies the write-ahead log into the file and cuts it to nothing; then looks at some pages. Those who write wait meanwhile,
    /// for readers at most [`LOG_LOCK_TIMEOUT`].
    pub(super) fn remove(&mut self, file: &SqliteFile) -> Result<Removal> {
        if !log_is_empty(&file.path) {
            // What was written since may be in any page.
            self.pages = u32::MAX;
        } else if self.pages == 0 {
            return Ok(Removal::Done);
        }
        let mut conn = file.open()?;
        conn.batch_execute(&format!("PRAGMA busy_timeout = {}", LOG_LOCK_TIMEOUT.as_millis()))?;
        // First of all: what is looked at is the file alone.
        if !empty_log(&mut conn, &file.path)? {
            return Ok(Removal::Blocked);
        }
        match self.look(&mut conn, &file.path) {
            Err(Error::Busy) => return Ok(Removal::Blocked),
            looked => looked?,
        }
        if !empty_log(&mut conn, &file.path)? {
            return Ok(Removal::Blocked);
        }
        Ok(if self.pages == 0 { Removal::Done } else { Removal::Continues })
    }

    /// Looks at the next pages, and overwrites what is left in them.
    fn look(&mut self, conn: &mut SqliteConnection, path: &Path) -> Result<()> {
        let header = header(conn)?;
        let pages = u32::try_from(header.pages).ok().filter(|pages| *pages < MAX_PAGES).unwrap_or_default();
        let begin = if self.next < pages { self.next } else { 0 };
        let left = self.pages.min(pages);
        let count = left.min(PAGES_PER_LOOK).min(pages - begin);
        // As the file is now, while others may change it: what is found is looked at again in a transaction.
        let found = pages_with_remains(path, header.page_size, begin, count).map_err(|_why| Error::Disk)?;
        for numbers in found.chunks(PAGES_PER_CHANGE) {
            conn.immediate_transaction(|conn| numbers.iter().try_for_each(|number| overwrite(conn, *number)))?;
        }
        (self.next, self.pages) = (begin + count, left - count);
        Ok(())
    }
}

/// Whether there is nothing in the write-ahead log.
fn log_is_empty(path: &Path) -> bool {
    inspection::size(&inspection::wal_path(path)) == 0
}

/// False if somebody was in the way.
fn empty_log(conn: &mut SqliteConnection, path: &Path) -> Result<bool> {
    if log_is_empty(path) {
        return Ok(true);
    }
    // Most of it is copied first, while others write.
    for mode in ["PASSIVE", "TRUNCATE"] {
        // Raw, because pragmas are no tables of the schema.
        let query = sql::<(Integer, Integer, Integer)>(&format!("PRAGMA wal_checkpoint({mode})"));
        let (busy, _, _): (i32, i32, i32) = query.get_result(conn)?;
        if busy != 0 && mode == "TRUNCATE" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The numbers of those among these pages in which something may be left.
fn pages_with_remains(path: &Path, page_size: i64, begin: u32, count: u32) -> io::Result<Vec<i32>> {
    let size = u64::try_from(page_size).unwrap_or_default();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(u64::from(begin) * size))?;
    let mut file = BufReader::with_capacity(READ_SIZE, file);
    let mut page = vec![0; usize::try_from(size).unwrap_or_default()];
    let mut found = Vec::new();
    // SQLite counts pages from 1.
    for number in begin + 1..=begin + count {
        match file.read_exact(&mut page) {
            // The others are in the log, so that all pages are looked at again.
            Err(why) if why.kind() == ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        if has_remains(&page, number == 1) {
            found.extend(i32::try_from(number));
        }
    }
    Ok(found)
}

fn has_remains(page: &[u8], is_first: bool) -> bool {
    let part = unused_part(page, is_first).and_then(|part| page.get(part));
    part.is_some_and(|part| part.iter().any(|byte| *byte != 0))
}

/// The part between the list of a page's rows and the rows (<https://www.sqlite.org/fileformat2.html#b_tree_pages>); `None`
/// for a page of another kind.
fn unused_part(page: &[u8], is_first: bool) -> Option<Range<usize>> {
    let number = |at: usize| Some(usize::from(u16::from_be_bytes(page.get(at..at + 2)?.try_into().ok()?)));
    let header = if is_first { 100 } else { 0 };
    let list = match page.get(header)? {
        2 | 5 => header + 12,
        10 | 13 => header + 8,
        _ => return None,
    };
    let rows = number(header + 3)?;
    let begin = list + 2 * rows;
    // 0 is 65,536.
    let end = number(header + 5).map(|end| if end == 0 { 1 << 16 } else { end })?;
    let is_row = |at: usize| (end..page.len()).contains(&at);
    let is_sound = begin <= end && end <= page.len() && (0..rows).all(|row| number(list + 2 * row).is_some_and(is_row));
    is_sound.then_some(begin..end)
}

/// Overwrites what is left in a page, if there still is something.
fn overwrite(conn: &mut SqliteConnection, number: i32) -> Result<()> {
    // Raw, because it is no table of the schema.
    let read = sql::<Binary>("SELECT data FROM sqlite_dbpage WHERE pgno = ").bind::<Integer, _>(number);
    let mut page: Vec<u8> = read.get_result(conn)?;
    if !has_remains(&page, number == 1) {
        return Ok(());
    }
    if let Some(part) = unused_part(&page, number == 1).and_then(|part| page.get_mut(part)) {
        part.fill(0);
    }
    let update = sql_query("UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?");
    update.bind::<Binary, _>(page).bind::<Integer, _>(number).execute(conn)?;
    Ok(())
}
