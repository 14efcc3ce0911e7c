//! Checks a SQLite file before it is used, without changing it. Problems are explained in a message for the operator.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, ErrorKind, Read},
    mem,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use diesel::{
    Connection, OptionalExtension, QueryableByName, RunQueryDsl, SqliteConnection,
    connection::SimpleConnection,
    dsl::sql,
    sql_types::{BigInt, Integer, Text},
};
use rustix::fs::Access;

use super::{Conn, Error, Result, connections::establish, migrations};

/// 'Duol': identifies the files of this program.
pub(super) const APPLICATION_ID: i32 = 0x4475_6F6C;

/// A larger file is not checked before it is used, because that takes more than a second.
const LARGE_FILE: u64 = 256 << 20;

/// What is shorter has no page of a database; SQLite takes a single byte for nothing, and would begin anew.
const SHORTEST_FILE: u64 = 512;

/// The index of words, which can be made anew.
const WORDS: &str = "message_words";

/// Symbolic links in a row that Linux follows.
const MAX_LINKS: usize = 40;

pub(super) const RESTORE_ADVICE: &str =
    "keep a copy of it and of the -wal beside it, then restore a backup, or name another file";

const REINDEX_ADVICE: &str = "keep a copy of it and of the -wal beside it, then try `duologue reindex --words` first; if that does \
                              not help, restore a backup, or name another file";

/// Damage that was found in a file, and what to do about it.
pub(super) struct Damage {
    pub(super) what: String,
    pub(super) advice: &'static str,
}

impl Damage {
    /// Damage of which nothing but a backup helps.
    pub(super) fn of_file(what: &str) -> Self {
        Self { what: what.to_owned(), advice: RESTORE_ADVICE }
    }
}

/// The absolute path of the file with symbolic links resolved, even if it does not exist yet: SQLite keeps the log beside
/// the file itself, and would take a path that begins with `file:` for a URI.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| target.clone(), |folder| folder.join(&target));
    }
    fs::canonicalize(&path).or_else(|_not_there| std::path::absolute(&path)).unwrap_or(path)
}

/// Checks that a file is a database of this program and was not cut off; and all of it, if it is not large and was not closed by
/// its last user. One that does not exist, or is empty, is fine: it will be created.
///
/// # Errors
/// [`Error::Unusable`]
pub(super) async fn inspect(path: PathBuf) -> Result<()> {
    blocking(path, |path| inspected(path, true).map(drop)).await
}

/// Checks that a file is a database of this program and of this version, was not cut off, and no more.
///
/// # Errors
/// [`Error::Unusable`]
pub(super) async fn inspect_existing(path: PathBuf) -> Result<()> {
    let check = |path: &Path| {
        let mut conn = inspected(path, false)?.ok_or_else(|| not_there(path))?;
        let outcome = migrations::require_current(&mut Conn::Sqlite(&mut conn), &path.display().to_string());
        close(conn, path);
        outcome
    };
    blocking(path, check).await
}

/// Checks all of a SQLite file without changing it, table by table with their indexes; reports to `progress` how many of how many
/// are done. Gives the names of the migrations that it has not run yet; `None` if there is no file yet, and one can be created.
///
/// # Errors
/// [`Error::Unusable`] if it is damaged or cannot be used.
pub(super) async fn check(
    path: PathBuf,
    mut progress: impl FnMut(usize, usize) + Send + 'static,
) -> Result<Option<Vec<String>>> {
    let check = move |path: &Path| {
        let Some(mut conn) = inspected(path, true)? else {
            let folder = path.parent().unwrap_or(path);
            let may_create = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK);
            return may_create.map(|()| None).map_err(|_no_folder_or_not_allowed| Error::Unopened);
        };
        let checked = check_tables(&mut conn, path, |_| true, &mut progress);
        let pending = checked.and_then(|()| migrations::pending(&mut Conn::Sqlite(&mut conn)));
        close(conn, path);
        pending.map(Some)
    };
    blocking(path, check).await
}

/// Checks that a file is a database of this program, of this version or an earlier one, and was not cut off. On the calling thread.
pub(super) fn check_usable(path: &Path) -> Result<()> {
    let found = inspected(path, false);
    if matches!(found, Err(Error::ReadOnly)) {
        return Err(Error::Unusable(format!(
            "{} may not be written, which SQLite needs in order to read it: copy it to where you may, and try again",
            path.display()
        )));
    }
    close(found.map_err(|why| explain(path, why))?.ok_or_else(|| not_there(path))?, path);
    Ok(())
}

/// Checks all of a file but whether the index of words is sound, which can be made anew; on the calling thread.
pub(super) fn check_copy(path: &Path) -> Result<()> {
    let mut conn = inspected(path, true)?.ok_or_else(|| not_there(path))?;
    let outcome = check_tables(&mut conn, path, |table| table != WORDS, &mut |_, _| {});
    close(conn, path);
    outcome
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> Result<T> + Send + 'static,
) -> Result<T> {
    let work = move || work(&path).map_err(|why| explain(&path, why));
    tokio::task::spawn_blocking(work).await.map_err(|panic| Error::Failed(panic.to_string()))?
}

/// Closes a connection, unless that would copy a log into the file. The end of the process does not.
pub(super) fn close(conn: SqliteConnection, path: &Path) {
    if size(&wal_path(path)) > 0 {
        mem::forget(conn);
    }
}

fn check_tables(
    conn: &mut SqliteConnection,
    path: &Path,
    is_checked: impl Fn(&str) -> bool,
    progress: &mut impl FnMut(usize, usize),
) -> Result<()> {
    let mut tables = tables(conn)?;
    tables.retain(|table| is_checked(table));
    for (done, table) in tables.iter().enumerate() {
        progress(done, tables.len());
        if let Some(damage) = integrity_check(conn, "integrity_check", table)? {
            return Err(damaged(path, &damage));
        }
    }
    Ok(())
}

/// A connection to a file that is fine so far; `None` if there is no file yet. Only with `may_read_all` is it read whole,
/// if its last user did not close it.
fn inspected(path: &Path, may_read_all: bool) -> Result<Option<SqliteConnection>> {
    let shown = path.display();
    // The log first: another process may be creating the file, and creates the log last. The last connection that is closed
    // removes it; while the file is used it may be empty.
    let (was_closed, log) = (!wal_path(path).exists(), size(&wal_path(path)));
    let size = size(path);
    if size == 0 && log > 0 {
        // SQLite would discard the log.
        return Err(Error::Unusable(format!(
            "{shown} is empty or not there, but its write-ahead log {shown}-wal has data; nothing was changed: put the \
             file back to its log, or restore a backup; to begin anew, move the log away"
        )));
    }
    if size == 0 {
        return Ok(None);
    }
    if size < SHORTEST_FILE {
        return Err(Error::Damaged);
    }
    // SQLite would open it read-only without an error.
    OpenOptions::new().read(true).write(true).open(path).map_err(|why| {
        let refused = matches!(why.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem);
        if refused { Error::ReadOnly } else { Error::Unopened }
    })?;
    let mut conn = establish(path)?;
    match check_database(&mut conn, path, may_read_all && !was_closed && size < LARGE_FILE) {
        Ok(()) => Ok(Some(conn)),
        Err(why) => {
            if was_closed {
                close(conn, path);
            } else {
                // Without its log, even an empty one, the next start would take it for closed.
                mem::forget(conn);
            }
            Err(why)
        }
    }
}

fn check_database(conn: &mut SqliteConnection, path: &Path, whole: bool) -> Result<()> {
    conn.batch_execute("PRAGMA query_only = ON")?;
    let header = header(conn)?;
    let shown = path.display();
    if header.tables > 0 && header.application_id != APPLICATION_ID {
        let message = format!("{shown} is the database of another program; nothing was changed: name another file");
        return Err(Error::Unusable(message));
    }
    // Twice: another process may copy pages from the log into the file meanwhile.
    if is_cut_off(path, &header) && is_cut_off(path, &header) {
        return Err(damaged(path, &Damage::of_file("its end is missing")));
    }
    if whole {
        for table in tables(conn)? {
            if let Some(damage) = quick_check(conn, &table)? {
                return Err(damaged(path, &damage));
            }
        }
    }
    if header.tables > 0
        && let Some(migration) = migrations::too_new(&mut Conn::Sqlite(conn))?
    {
        return Err(Error::Unusable(format!("{shown} {}", migrations::explain_newer(&migration))));
    }
    Ok(())
}

/// Whether pages at the end of the database are neither in the file nor in its log.
fn is_cut_off(path: &Path, header: &Header) -> bool {
    let pages = |number: i64| u64::try_from(number).unwrap_or_default();
    let in_file = size(path) / pages(header.page_size).max(1);
    if pages(header.pages) <= in_file {
        return false;
    }
    // A log that cannot be read has none of them.
    let logged = logged_pages(&wal_path(path)).unwrap_or_default();
    (in_file + 1..=pages(header.pages)).any(|page| !logged.contains(&page))
}

/// The numbers of the pages in a write-ahead log (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
fn logged_pages(path: &Path) -> io::Result<HashSet<u64>> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let mut log = BufReader::new(File::open(path)?);
    let mut header = [0; 32];
    log.read_exact(&mut header)?;
    let (page_size, salts) = (number(&header[8..12]), &header[16..24]);
    let mut pages = HashSet::new();
    let mut frame = [0; 24];
    // What follows frames of this log are remains of earlier ones.
    while log.read_exact(&mut frame).is_ok() && frame[8..16] == *salts {
        pages.insert(number(&frame[..4]));
        log.seek_relative(page_size.try_into().unwrap_or(i64::MAX))?;
    }
    Ok(pages)
}

/// The header of a file.
#[derive(QueryableByName)]
pub(super) struct Header {
    #[diesel(sql_type = Integer)]
    application_id: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) tables: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) pages: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) page_size: i64,
}

/// Reads the header; fails if the file is not a database.
pub(super) fn header(conn: &mut SqliteConnection) -> Result<Header> {
    // Raw, because pragmas are no tables of the schema.
    let query = "SELECT application_id, (SELECT count(*) FROM sqlite_schema) AS tables, page_count AS pages, page_size \
                 FROM pragma_application_id, pragma_page_count, pragma_page_size";
    Ok(diesel::sql_query(query).get_result(conn)?)
}

/// The names of the tables. That of the schema stands for the list of free pages, too; the index of words comes after the tables in which
/// it is kept.
pub(super) fn tables(conn: &mut SqliteConnection) -> Result<Vec<String>> {
    // Raw, because it is no table of the schema.
    let query = sql::<Text>(
        "SELECT 'sqlite_schema' UNION ALL SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 \
         UNION ALL SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage = 0",
    );
    Ok(query.load(conn)?)
}

/// Reads all of a table and of its indexes; gives the first damage that it finds.
pub(super) fn quick_check(conn: &mut SqliteConnection, table: &str) -> Result<Option<Damage>> {
    integrity_check(conn, "quick_check", table)
}

/// Reads all of a table by one of two pragmas; `integrity_check` compares the indexes with the table, too.
fn integrity_check(conn: &mut SqliteConnection, pragma: &str, table: &str) -> Result<Option<Damage>> {
    // Raw, because pragmas are no tables of the schema. The names are those of the schema.
    let check = sql::<Text>(&format!("PRAGMA {pragma}('{table}')"));
    let found: Vec<String> = if table == WORDS {
        let found = conn.transaction(|conn| {
            // What the connection remembers of the index is renewed by a query, and not by the check: others may have changed it.
            let query = sql::<Integer>("SELECT 1 FROM message_words LIMIT 1");
            query.get_result::<i32>(conn).optional()?;
            check.load(conn)
        });
        // The tables in which it is kept were read before: what is wrong is the index.
        found.or_else(|why: diesel::result::Error| {
            let (line, why) = (why.to_string(), Error::from(why));
            if matches!(why, Error::Damaged) { Ok(vec![line]) } else { Err(why) }
        })?
    } else {
        check.load(conn)?
    };
    let damage = found.into_iter().find(|line| line != "ok");
    Ok(damage.map(|line| Damage {
        what: line.lines().last().unwrap_or_default().to_owned(),
        advice: if table == WORDS { REINDEX_ADVICE } else { RESTORE_ADVICE },
    }))
}

/// Explains to the operator why a file cannot be used, and what to do.
pub(super) fn explain(path: &Path, why: Error) -> Error {
    let path = path.display();
    Error::Unusable(match why {
        Error::Damaged => {
            format!("cannot read {path} as a database: it is damaged, or none; nothing was changed: {RESTORE_ADVICE}")
        }
        Error::ReadOnly => format!(
            "{path} may not be written: let the user of the server write the file and its folder, and see whether the \
             disk was mounted read-only"
        ),
        Error::Unopened => format!(
            "cannot open the database {path}: the folder must be there, and the user of the server must be allowed to \
             make files in it and to read and write {path}"
        ),
        Error::Disk => format!(
            "{path} cannot be read or written: the disk fails or has no room at all, which the log of the system tells, or files may \
             not become larger (ulimit -f)"
        ),
        Error::Full => format!("there is no room left on the disk of {path}: make some"),
        Error::Busy => format!("{path} is held by another process: end it, or try again later"),
        Error::Failed(what) => format!("the database {path} failed: {what}; if it does so again, {RESTORE_ADVICE}"),
        why @ (Error::ConstraintViolated(_)
        | Error::Overloaded
        | Error::TooMuchText
        | Error::Unavailable(_)
        | Error::Gone(_)
        | Error::Unusable(_)) => return why,
    })
}

fn not_there(path: &Path) -> Error {
    Error::Unusable(format!(
        "there is no database {}: see whether it is the right one, or run `duologue migrate` to begin it",
        path.display()
    ))
}

fn damaged(path: &Path, Damage { what, advice }: &Damage) -> Error {
    Error::Unusable(format!("{} is damaged ({what}); nothing was changed: {advice}", path.display()))
}

/// The device and the number of a file, which stay the same whatever its name.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

pub(super) fn wal_path(path: &Path) -> PathBuf {
    with_ending(path, "-wal")
}

/// The file beside another one whose name has this ending, too.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}
