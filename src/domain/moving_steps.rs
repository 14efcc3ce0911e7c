//! The steps of a move: what is read of the former database at one moment, and how it is written to the new one.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    slice,
};

use serde_json::Value;

use crate::store::{
    self, Conn, Error,
    indexing::WordsIndex,
    moving::{self, Row, TABLES, Table},
};

/// Why a database was not moved. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum CannotMove {
    /// Both are of the same kind.
    #[error("a database is moved from SQLite to PostgreSQL or back: name one of each")]
    SameKind,
    /// It is not known what would have to be moved.
    #[error("a newer Duologue has brought the former database up to date: move it with that one")]
    Newer,
    /// There is something else.
    #[error("there are users in the new database already: name an empty one")]
    NotEmpty,
    /// Somebody would see it before it is whole.
    #[error("a server uses the new database: stop it, and start it again while the move runs")]
    Served,
    /// The new file has a part of something else.
    #[error("the new file has a part of another move: delete it")]
    BegunOtherwise,
    /// It was moved before.
    #[error("the former database was moved already; if it was to this one, there is nothing left to do")]
    Moved,
    /// There is nothing to give up.
    #[error("no move of this database was begun, or it was given up before")]
    NotBegun,
    /// The new database was moved elsewhere itself.
    #[error("the new database was moved elsewhere, and is closed: name another one")]
    Closed,
    /// Its changes are logged for another target, or for one that is gone, or not all of them any more.
    #[error(
        "a move of the former database to another one was begun: run that one again, or give it up with --cancel; if what it had \
         copied is gone, or it was being given up, only --cancel is left"
    )]
    BegunElsewhere,
    /// It would be lost, and its former database is closed.
    #[error(
        "another move has filled the new database and only has to be finished: run that one again, or name another new database, or \
         empty it, if that move was given up"
    )]
    Filled,
    /// Another process does the same.
    #[error("another `duologue move` runs: let it end first")]
    Running,
    /// Another process may do the same now.
    #[error(
        "the connection to PostgreSQL that kept other moves out was lost: run it again, and it goes on from where it was"
    )]
    LockLost,
    /// The table, and the key of the row.
    #[error(
        "a row of {0} is not the same in both databases after it was copied: {1}; nothing was closed, and a move begins anew"
    )]
    Differs(&'static str, String),
    /// The new database does not accept a row: the table, and the key of the row.
    #[error(
        "the new database does not accept a row of {0}, {1}: {2}; nothing was closed: change or delete the row in the former \
         database, and move it again"
    )]
    Refused(&'static str, String, Error),
    /// A database fails.
    #[error(transparent)]
    Store(#[from] Error),
}

pub(super) type Result<T, E = CannotMove> = std::result::Result<T, E>;

/// A table, and how far it is copied.
pub(super) type Copied = (&'static Table, Row);

/// What is carried over at one time.
pub(super) struct Step {
    /// The numbers of the logged changes that it carries over.
    pub(super) changes: Vec<i64>,
    pub(super) parts: Vec<Part>,
    pub(super) copied: Option<Copied>,
}

/// The rows of a table to put, and the keys of those that are gone.
pub(super) struct Part {
    table: &'static Table,
    pub(super) rows: Vec<Row>,
    gone: Vec<Row>,
}

/// How many rows there are, but for the one about the database itself.
pub(super) fn rows_of_all(conn: &mut Conn<'_>) -> Result<usize> {
    let tables = TABLES.iter().filter(|table| table.name != "server");
    let counts = tables.map(|table| moving::count(conn, table)).sum::<store::Result<i64>>();
    Ok(usize::try_from(counts?).unwrap_or_default())
}

/// The tables that still have to be copied, beginning with the last one of which anything was copied. Changes of the tables before it are
/// carried over with its next rows.
pub(super) fn tables_to_copy(conn: &mut Conn<'_>) -> Result<&'static [Table]> {
    let mut begun = 0;
    for (index, table) in TABLES.iter().enumerate() {
        if moving::copied_through(conn, table)?.is_some() {
            begun = index;
        }
    }
    Ok(TABLES.get(begun..).unwrap_or_default())
}

/// Refuses a former database whose changes are not logged for this move any more.
pub(super) fn require_own(conn: &mut Conn<'_>, id: &str) -> Result<()> {
    match moving::source_id(conn)? {
        Some(source) if source == id => Ok(()),
        Some(_) => Err(CannotMove::Running),
        None => Err(CannotMove::NotBegun),
    }
}

/// Reads rows of a table after a key, and the present rows of all that has changed and is not done, as far as they were copied: others
/// will be copied as they are then.
pub(super) fn read(conn: &mut Conn<'_>, id: &str, copied: Option<Copied>, done: &HashSet<i64>) -> Result<Step> {
    require_own(conn, id)?;
    let mut step = Step { changes: Vec::new(), parts: Vec::new(), copied: None };
    let mut batch = None;
    if let Some((table, after)) = copied {
        let rows = moving::rows_after(conn, table, &after, table.batch_size())?;
        step.copied = rows.last().map(|row| (table, table.key_of(row)));
        batch = Some((Part { table, rows, gone: Vec::new() }, after));
    }
    let mut changed: HashMap<String, HashMap<String, Row>> = HashMap::new();
    for change in moving::logged_changes(conn)?.into_iter().filter(|change| !done.contains(&change.seq)) {
        step.changes.push(change.seq);
        changed.entry(change.table).or_default().insert(text(&change.key), change.key);
    }
    for table in &TABLES {
        let mut keys = changed.remove(table.name).unwrap_or_default();
        let current = batch.as_ref().filter(|(part, _)| part.table.name == table.name);
        if let Some((part, after)) = current {
            let through = part.rows.last().map(|row| table.key_of(row));
            keys.retain(|_, key| {
                let is_before = |end: &Row| table.is_numbered() && compared(key, end).is_le();
                // The last batch is empty, and ends the table.
                through.is_none() || !table.is_numbered() || is_before(after)
            });
        }
        let mut rows = Vec::new();
        let all: Vec<_> = keys.values().cloned().collect();
        for some in all.chunks(table.batch_size()) {
            rows.extend(moving::rows_of(conn, table, some)?);
        }
        // What rows refer to in their own table has a lower key.
        rows.sort_by(|one, other| compared(one, other));
        for row in &rows {
            keys.remove(&text(&table.key_of(row)));
        }
        step.parts.push(Part { table, rows, gone: keys.into_values().collect() });
        if current.is_some() {
            break;
        }
    }
    step.parts.extend(batch.map(|(part, _)| part));
    Ok(step)
}

pub(super) fn write(conn: &mut Conn<'_>, step: &Step, id: &str) -> Result<()> {
    if moving::target_id(conn)?.as_deref() != Some(id) {
        return Err(CannotMove::Running);
    }
    for Part { table, gone, .. } in step.parts.iter().rev() {
        for keys in gone.chunks(table.batch_size()) {
            moving::remove(conn, table, keys)?;
        }
    }
    for Part { table, rows, .. } in &step.parts {
        for rows in rows.chunks(table.batch_size()) {
            let put = conn.savepoint(|conn| moving::put(conn, table, rows));
            put.or_else(|error| if is_refused(&error) { put_each(conn, table, rows) } else { Err(error.into()) })?;
        }
    }
    if let Some((table, key)) = &step.copied {
        moving::set_copied_through(conn, table, key)?;
    }
    Ok(())
}

fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Failed(_) | Error::ConstraintViolated(_))
}

/// Puts rows that were refused together one by one, to tell which it is.
fn put_each(conn: &mut Conn<'_>, table: &'static Table, rows: &[Row]) -> Result<()> {
    for row in rows {
        moving::put(conn, table, slice::from_ref(row)).map_err(|error| {
            let key = || text(&table.key_of(row));
            if is_refused(&error) { CannotMove::Refused(table.name, key(), error) } else { error.into() }
        })?;
    }
    Ok(())
}

/// Writes the last changes, and what is not a row: the numbers that were given, and that no words are indexed.
pub(super) fn complete(conn: &mut Conn<'_>, step: &Step, numbers: &[i64], id: &str) -> Result<()> {
    write(conn, step, id)?;
    moving::set_numbers(conn, numbers)?;
    let (last, index) = (store::feed::last_id(conn)?, store::indexing::words(conn)?);
    let through = if matches!(conn, Conn::Sqlite(_)) { last } else { index.through };
    store::indexing::set_words(conn, WordsIndex { from: last + 1, through, ..index })?;
    Ok(moving::set_complete(conn)?)
}

/// By the numbers or texts of the keys, which come first.
fn compared(one: &[Value], other: &[Value]) -> Ordering {
    let pairs = one.iter().zip(other).map(|(one, other)| match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => one.as_str().cmp(&other.as_str()),
    });
    pairs.fold(Ordering::Equal, Ordering::then)
}

pub(super) fn text(key: &[Value]) -> String {
    Value::from(key).to_string()
}
