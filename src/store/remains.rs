//! What is left of deleted rows in a SQLite file, and its removal.
//!
//! `secure_delete` overwrites a row where it is deleted. But when SQLite rearranges a page, copies of rows stay in the part of
//! the page that belongs to no row, until it is needed: of a thousand texts that were changed or deleted, one or two are found
//! there. This looks for pages where that part is not zero, and overwrites it.

use std::{ops::Range, path::Path};

use diesel::{
    RunQueryDsl, SqliteConnection,
    connection::{DefaultLoadingMode, SimpleConnection},
    dsl::sql,
    sql_query,
    sql_types::{BigInt, Binary, Integer},
};

use super::{
    Error, Result,
    inspection::{self, header},
    sqlite::SqliteFile,
    timeouts::LOG_LOCK_TIMEOUT,
};

/// Pages of one scan: 64 MiB, which take a few hundredths of a second to read.
const PAGES_PER_SCAN: u32 = 16_384;
/// Pages that are changed in one transaction.
const PAGES_PER_CHANGE: usize = 32;
/// Pages that are read at once: 1 MiB.
const PAGES_PER_READ: u32 = 256;
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

/// Which pages are still to be scanned: none until something is written.
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
        // First of all: while somebody is in the way, nothing need be scanned.
        if !empty_log(&mut conn, &file.path)? {
            return Ok(Removal::Blocked);
        }
        match self.scan(&mut conn) {
            Err(Error::Busy) => return Ok(Removal::Blocked),
            scanned => scanned?,
        }
        if !empty_log(&mut conn, &file.path)? {
            return Ok(Removal::Blocked);
        }
        Ok(if self.pages == 0 { Removal::Done } else { Removal::Continues })
    }

    /// Looks at the next pages, and overwrites what is left in them.
    fn scan(&mut self, conn: &mut SqliteConnection) -> Result<()> {
        let header = header(conn)?;
        let pages = u32::try_from(header.pages).ok().filter(|pages| *pages < MAX_PAGES).unwrap_or_default();
        let begin = if self.next < pages { self.next } else { 0 };
        let left = self.pages.min(pages);
        let count = left.min(PAGES_PER_SCAN).min(pages - begin);
        // As they are now, while others may change them: what is found is read again in a transaction.
        let found = pages_with_remains(conn, begin, count)?;
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

/// The numbers of those among these pages in which something may be left. They are read with SQLite: opening the file and closing it
/// would release the locks that this process has on it (<https://www.sqlite.org/howtocorrupt.html>, 2.2).
fn pages_with_remains(conn: &mut SqliteConnection, begin: u32, count: u32) -> Result<Vec<i32>> {
    let (mut found, end) = (Vec::new(), begin + count);
    // SQLite counts pages from 1.
    for first in (begin + 1..=end).step_by(PAGES_PER_READ as usize) {
        let last = end.min(first + PAGES_PER_READ - 1);
        // Raw, because it is no table of the schema. It gives a page with a certain number, and no range of them, at once.
        let pages = sql::<(Integer, Binary)>("WITH RECURSIVE numbers (number) AS (SELECT ")
            .bind::<BigInt, _>(i64::from(first))
            .sql(" UNION ALL SELECT number + 1 FROM numbers WHERE number < ")
            .bind::<BigInt, _>(i64::from(last))
            .sql(") SELECT pgno, data FROM numbers CROSS JOIN sqlite_dbpage WHERE pgno = number");
        for page in pages.load_iter::<(i32, Vec<u8>), DefaultLoadingMode>(conn)? {
            let (number, page) = page?;
            if has_remains(&page, number == 1) {
                found.push(number);
            }
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
