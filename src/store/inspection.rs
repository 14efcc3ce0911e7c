//! A look at a SQLite file before it is used. What is wrong with it is said in a sentence for the operator, and the file is
//! left as it is, byte for byte: it may be all that there is of the data.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::ErrorKind,
    mem,
    path::{Path, PathBuf},
};

use diesel::{
    Connection, QueryableByName, RunQueryDsl, SqliteConnection,
    connection::SimpleConnection,
    sql_types::{BigInt, Integer, Text},
};

use super::{Error, Result, migrations, pools::BUSY};

/// 'Duol': tells our files from the databases of other programs.
pub(super) const APPLICATION_ID: i32 = 0x4475_6F6C;

/// To read this much takes a second or more: the operator is told what takes so long.
const LARGE: u64 = 256 << 20;

/// Links in a row that Linux follows.
const LINKS: usize = 40;

const RESTORE: &str =
    "; nothing was changed: keep a copy of it and of the -wal beside it, then restore a backup, or name another file";

/// The file itself, and not a link to it, which need not be there yet: its log is beside it. The path begins at the root:
/// SQLite takes one that begins with `file:` for a URI.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| target.clone(), |folder| folder.join(&target));
    }
    fs::canonicalize(&path).or_else(|_not_there| std::path::absolute(&path)).unwrap_or(path)
}

/// Reads the whole file. One that is not there, or empty, is fine: it is to be made.
///
/// # Errors
/// [`Error::Unusable`]; or [`Error::Busy`] when somebody else holds the file.
pub(super) async fn inspect(path: PathBuf) -> Result<()> {
    let look = move || look(&path).map_err(|why| sentence(&path, why));
    tokio::task::spawn_blocking(look).await.map_err(|panic| Error::Failed(panic.to_string()))?
}

fn look(path: &Path) -> Result<()> {
    let shown = path.display();
    // The log first: another process may be making the file, and makes the log last.
    let log = size(&log_of(path));
    let size = size(path);
    if size == 0 && log > 0 {
        // SQLite would throw the log away.
        return Err(Error::Unusable(format!(
            "{shown} is empty or not there, but its write-ahead log {shown}-wal has data; nothing was changed: put the \
             file back to its log, or restore a backup; to begin anew, move the log away"
        )));
    }
    if size == 0 {
        return Ok(());
    }
    if size > LARGE {
        tracing::info!(file.bytes = size, "the database is being checked");
    }
    // SQLite would open it all the same, for reading alone.
    OpenOptions::new().read(true).write(true).open(path).map_err(|why| {
        let refused = matches!(why.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem);
        if refused { Error::ReadOnly } else { Error::Unopened }
    })?;
    let mut conn = SqliteConnection::establish(&shown.to_string()).map_err(|_no_more_is_known| Error::Unopened)?;
    let outcome = check(&mut conn, path);
    if outcome.is_err() && log > 0 {
        // The last connection that closes writes the log into the file. The end of the process does not.
        mem::forget(conn);
    }
    outcome
}

fn check(conn: &mut SqliteConnection, path: &Path) -> Result<()> {
    conn.batch_execute(&format!("PRAGMA busy_timeout = {}; PRAGMA query_only = ON", BUSY.as_millis()))?;
    let header = header(conn)?;
    let shown = path.display();
    if header.tables > 0 && header.application_id != APPLICATION_ID {
        let sentence = format!("{shown} is the database of another program; nothing was changed: name another file");
        return Err(Error::Unusable(sentence));
    }
    // Raw, because pragmas are no tables of the schema.
    let found: Finding = diesel::sql_query("PRAGMA quick_check(1)").get_result(conn)?;
    if found.quick_check != "ok" {
        let what = found.quick_check.lines().last().unwrap_or_default();
        return Err(Error::Unusable(format!("{shown} is damaged ({what}){RESTORE}")));
    }
    if header.tables > 0
        && let Some(migration) = migrations::unknown_of_sqlite(conn)?
    {
        return Err(Error::Unusable(format!("{shown} {}", migrations::newer(&migration))));
    }
    Ok(())
}

/// What a file says about itself.
#[derive(QueryableByName)]
pub(super) struct Header {
    #[diesel(sql_type = Integer)]
    application_id: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) tables: i64,
}

/// Reads the header, and so finds out whether it is a database at all.
pub(super) fn header(conn: &mut SqliteConnection) -> Result<Header> {
    // Raw, because pragmas are no tables of the schema.
    let query = "SELECT application_id, (SELECT count(*) FROM sqlite_schema) AS tables FROM pragma_application_id";
    Ok(diesel::sql_query(query).get_result(conn)?)
}

#[derive(QueryableByName)]
struct Finding {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

/// Why a file cannot be used, and what to do.
pub(super) fn sentence(path: &Path, why: Error) -> Error {
    let path = path.display();
    Error::Unusable(match why {
        Error::Damaged => format!("cannot read {path} as a database: it is damaged, or none{RESTORE}"),
        Error::ReadOnly => format!(
            "{path} may not be written: let the user of the server write the file and its folder, and see whether the \
             disk was mounted read-only"
        ),
        Error::Unopened => format!(
            "cannot open the database {path}: the folder must be there, and the user of the server must be allowed to \
             make files in it and to read and write {path}"
        ),
        Error::Disk => format!(
            "{path} cannot be read or written: the disk fails, or has no room at all; the log of the system says more"
        ),
        Error::Full => format!("there is no room left on the disk of {path}: make some"),
        Error::Busy => format!("{path} is held by another process: end it, or try again later"),
        why @ (Error::Refused(_)
        | Error::Overloaded
        | Error::Unavailable(_)
        | Error::Unusable(_)
        | Error::Failed(_)) => return why,
    })
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-wal");
    name.into()
}
