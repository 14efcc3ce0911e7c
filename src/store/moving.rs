//! What moves a database to the other kind: tables whose rows are read and written as JSON arrays, the same on both databases, and
//! triggers that log which rows have changed meanwhile.
//!
//! The former database gets the table `moving_changes` with the log, and `moved` once it is not to be used any more. The new one has
//! the table `moving` until it may be used. Each has the id of the move: a move with another id is not resumed.

use diesel::{
    OptionalExtension, RunQueryDsl,
    connection::SimpleConnection,
    dsl::sql,
    sql_query,
    sql_types::{BigInt, Text},
};
use serde_json::{Value, json};

use super::{
    Conn, Error, Result,
    conn::{has_table, on},
    feed,
    moved_tables::{Column, ColumnType, NUMBERED, from_json},
};
pub use super::{
    moved::{is_move_target, is_moved, require_not_moved, require_usable},
    moved_tables::{Row, TABLES, Table},
};

/// What a FROM has for the elements of the JSON array that is bound as `$1`: rows of `given.value`.
fn json_elements(conn: &Conn<'_>) -> &'static str {
    match conn {
        Conn::Sqlite(_) => "json_each($1) AS given",
        Conn::Postgres(_) => "json_array_elements(CAST($1 AS JSON)) AS given (value)",
    }
}

#[derive(diesel::QueryableByName)]
struct Json {
    #[diesel(sql_type = Text)]
    json: String,
}

/// Loads the rows that a statement with the column `json` gives.
fn load(conn: &mut Conn<'_>, statement: String, given: &impl serde::Serialize) -> Result<Vec<Row>> {
    // Raw, like all statements here, because diesel knows tables by their types.
    let query = sql_query(statement).bind::<Text, _>(serde_json::to_string(given).map_err(unreadable)?);
    let rows: Vec<Json> = on!(conn, |c| query.load(c))?;
    rows.iter().map(|row| serde_json::from_str(&row.json).map_err(unreadable)).collect()
}

fn execute(conn: &mut Conn<'_>, statement: String, given: &[Row]) -> Result<()> {
    let query = sql_query(statement).bind::<Text, _>(serde_json::to_string(given).map_err(unreadable)?);
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "this is what `map_err` has")]
fn unreadable(error: serde_json::Error) -> Error {
    Error::Failed(format!("a row is no JSON: {error}"))
}

/// Rows with higher keys than this one, by their keys, at most `limit`.
pub fn rows_after(conn: &mut Conn<'_>, table: &'static Table, after: &[Value], limit: usize) -> Result<Vec<Row>> {
    let is_sqlite = matches!(conn, Conn::Sqlite(_));
    let (keys, row) = (table.key_names(), table.to_json(is_sqlite));
    let after_key = from_json(table.keys.iter(), if is_sqlite { "$1" } else { "CAST($1 AS JSON)" }, is_sqlite);
    let name = table.name;
    let statement =
        format!("SELECT {row} AS json FROM {name} WHERE ({keys}) > ({after_key}) ORDER BY {keys} LIMIT {limit}");
    load(conn, statement, &after)
}

/// The rows with these keys, in no order.
pub fn rows_of(conn: &mut Conn<'_>, table: &'static Table, keys: &[Row]) -> Result<Vec<Row>> {
    let is_sqlite = matches!(conn, Conn::Sqlite(_));
    let wanted = from_json(table.keys.iter(), "given.value", is_sqlite);
    let (row, name, names, given) = (table.to_json(is_sqlite), table.name, table.key_names(), json_elements(conn));
    load(conn, format!("SELECT {row} AS json FROM {name} WHERE ({names}) IN (SELECT {wanted} FROM {given})"), &keys)
}

/// Inserts rows, or replaces those with their keys.
pub fn put(conn: &mut Conn<'_>, table: &'static Table, rows: &[Row]) -> Result<()> {
    let (is_sqlite, source) = (matches!(conn, Conn::Sqlite(_)), json_elements(conn));
    let name = table.name;
    if name == "users" {
        // Whoever has the address of one of these here has another one there by now, or none, and is put later.
        let of = |column: &str| {
            let index = table.columns().position(|Column(its, _)| *its == column).unwrap_or_default();
            let value = if is_sqlite { "json_extract(given.value, '$[{}]')" } else { "given.value ->> {}" };
            value.replace("{}", &index.to_string())
        };
        let (id, email) = (of("id"), of("email_key"));
        let freed = format!(
            "UPDATE users SET email_key = NULL WHERE id IN (SELECT CAST({id} AS BIGINT) FROM {source}) \
             OR email_key IN (SELECT {email} FROM {source})"
        );
        execute(conn, freed, rows)?;
    }
    let (columns, values) = (Table::names(table.columns()), from_json(table.columns(), "given.value", is_sqlite));
    let updates = table.others.iter().map(|Column(its, _)| format!("{its} = excluded.{its}")).collect::<Vec<_>>();
    let action = if updates.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", updates.join(", ")) };
    let keys = table.key_names();
    let statement = format!(
        "INSERT INTO {name} ({columns}) SELECT {values} FROM {source} WHERE TRUE ON CONFLICT ({keys}) DO {action}"
    );
    execute(conn, statement, rows)
}

/// Deletes the rows with these keys.
pub fn remove(conn: &mut Conn<'_>, table: &'static Table, keys: &[Row]) -> Result<()> {
    let key = from_json(table.keys.iter(), "given.value", matches!(conn, Conn::Sqlite(_)));
    let (name, names, given) = (table.name, table.key_names(), json_elements(conn));
    if name == "messages" {
        // Whatever refers to one of these here refers to none there by now, and is put later.
        let freed = format!("UPDATE messages SET reply_to_id = NULL WHERE reply_to_id IN (SELECT {key} FROM {given})");
        execute(conn, freed, keys)?;
    }
    execute(conn, format!("DELETE FROM {name} WHERE ({names}) IN (SELECT {key} FROM {given})"), keys)
}

/// Deletes all rows of all tables, and the words of names, which refer to users; of a SQLite file none.
pub fn clear(conn: &mut Conn<'_>) -> Result<()> {
    if let Conn::Postgres(c) = conn {
        c.batch_execute(&format!("TRUNCATE {}, name_words", names()))?;
    }
    Ok(())
}

fn names() -> String {
    TABLES.iter().map(|table| table.name).collect::<Vec<_>>().join(", ")
}

/// How many rows a table has; none if it is not there yet.
pub fn count(conn: &mut Conn<'_>, table: &Table) -> Result<i64> {
    if !has_table(conn, table.name)? {
        return Ok(0);
    }
    Ok(on!(conn, |c| sql::<BigInt>(&format!("SELECT count(*) FROM {}", table.name)).get_result(c))?)
}

/// The move for which its changes are logged, or that has closed it; `None` if there is none.
pub fn source_id(conn: &mut Conn<'_>) -> Result<Option<String>> {
    if has_table(conn, "moving_source")? {
        return Ok(on!(conn, |c| sql::<Text>("SELECT id FROM moving_source").get_result(c).optional())?);
    }
    Ok(None)
}

/// From now on its changes are logged for a move. They must not be logged for another one.
pub fn begin_change_log(conn: &mut Conn<'_>, id: &str) -> Result<()> {
    on!(conn, |c| c.batch_execute("CREATE TABLE moving_source (id TEXT NOT NULL)"))?;
    let source = sql_query("INSERT INTO moving_source (id) VALUES ($1)").bind::<Text, _>(id);
    on!(conn, |c| source.execute(c))?;
    match conn {
        Conn::Sqlite(c) => {
            c.batch_execute(
                "CREATE TABLE moving_changes (seq INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL)",
            )?;
            for (table, event) in TABLES.iter().flat_map(|table| EVENTS.map(|event| (table, event))) {
                let row = if event == "DELETE" { "OLD." } else { "NEW." };
                let key =
                    table.keys.iter().map(|Column(name, _)| format!("{row}{name}")).collect::<Vec<_>>().join(", ");
                let name = table.name;
                c.batch_execute(&format!(
                    "CREATE TRIGGER moving_{name}_{event} AFTER {event} ON {name} BEGIN \
                     INSERT INTO moving_changes (name, key) VALUES ('{name}', json_array({key})); END"
                ))?;
            }
        }
        Conn::Postgres(c) => {
            c.batch_execute(
                "CREATE TABLE moving_changes (
                     seq BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name TEXT NOT NULL, key TEXT NOT NULL
                 )",
            )?;
            for Table { name, keys, .. } in &TABLES {
                let key = |row: &str| {
                    keys.iter().map(|Column(name, _)| format!("{row}.{name}")).collect::<Vec<_>>().join(", ")
                };
                let (new, old) = (key("NEW"), key("OLD"));
                c.batch_execute(&format!(
                    "CREATE FUNCTION moving_{name}() RETURNS trigger LANGUAGE plpgsql AS $log$ BEGIN
                         IF TG_OP = 'DELETE' THEN
                             INSERT INTO moving_changes (name, key) VALUES ('{name}', CAST(json_build_array({old}) AS TEXT));
                         ELSE
                             INSERT INTO moving_changes (name, key) VALUES ('{name}', CAST(json_build_array({new}) AS TEXT));
                         END IF;
                         RETURN NULL;
                     END $log$;
                     CREATE TRIGGER moving AFTER INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION moving_{name}()"
                ))?;
            }
        }
    }
    Ok(())
}

/// The changes of a table are logged no longer. On PostgreSQL this waits for whoever reads the table, and others wait behind it: not for
/// long, and for one table at a time.
pub fn end_change_log_of(conn: &mut Conn<'_>, table: &Table) -> Result<()> {
    let name = table.name;
    match conn {
        Conn::Sqlite(c) => {
            for event in EVENTS {
                c.batch_execute(&format!("DROP TRIGGER IF EXISTS moving_{name}_{event}"))?;
            }
        }
        Conn::Postgres(c) => c.batch_execute(&format!(
            "SET LOCAL lock_timeout = '500ms'; DROP TRIGGER IF EXISTS moving ON {name}; DROP FUNCTION IF EXISTS moving_{name}"
        ))?,
    }
    Ok(())
}

/// No move goes on with the logged changes, as they will not be whole any more.
pub fn disown_change_log(conn: &mut Conn<'_>) -> Result<()> {
    Ok(on!(conn, |c| c.batch_execute("UPDATE moving_source SET id = ''"))?)
}

/// No changes are logged any more, of any table.
pub fn end_change_log(conn: &mut Conn<'_>) -> Result<()> {
    Ok(on!(conn, |c| c.batch_execute("DROP TABLE IF EXISTS moving_changes; DROP TABLE IF EXISTS moving_source"))?)
}

const EVENTS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// A change of a row.
pub struct LoggedChange {
    /// Its number.
    pub seq: i64,
    /// The table.
    pub table: String,
    /// The key of the row.
    pub key: Row,
}

/// The changes that are logged, in the order of their numbers.
pub fn logged_changes(conn: &mut Conn<'_>) -> Result<Vec<LoggedChange>> {
    let query = sql::<(BigInt, Text, Text)>("SELECT seq, name, key FROM moving_changes ORDER BY seq");
    let rows: Vec<(i64, String, String)> = on!(conn, |c| query.load(c))?;
    let change = |(seq, table, key): (i64, String, String)| {
        Ok(LoggedChange { seq, table, key: serde_json::from_str(&key).map_err(unreadable)? })
    };
    rows.into_iter().map(change).collect()
}

/// The keys of the rows of a table whose changes are logged.
pub fn logged_keys(conn: &mut Conn<'_>, table: &Table) -> Result<Vec<Row>> {
    let query = sql::<Text>("SELECT DISTINCT key FROM moving_changes WHERE name = ").bind::<Text, _>(table.name);
    let keys: Vec<String> = on!(conn, |c| query.load(c))?;
    keys.iter().map(|key| serde_json::from_str(key).map_err(unreadable)).collect()
}

/// How many changes are logged; `limit` if there are more.
pub fn count_logged(conn: &mut Conn<'_>, limit: i64) -> Result<i64> {
    let query = format!("SELECT count(*) FROM (SELECT 1 FROM moving_changes LIMIT {limit}) AS counted");
    Ok(on!(conn, |c| sql::<BigInt>(&query).get_result(c))?)
}

const SEQ: [Column; 1] = [Column("seq", ColumnType::Integer)];

/// Removes logged changes by their numbers. Not all up to one: those of PostgreSQL are not committed in their order.
pub fn discard(conn: &mut Conn<'_>, seqs: &[i64]) -> Result<()> {
    let rows: Vec<Row> = seqs.iter().map(|seq| vec![json!(seq)]).collect();
    let key = from_json(SEQ.iter(), "given.value", matches!(conn, Conn::Sqlite(_)));
    let given = json_elements(conn);
    execute(conn, format!("DELETE FROM moving_changes WHERE seq IN (SELECT {key} FROM {given})"), &rows)
}

/// Lets nobody write until the end of the transaction. On SQLite each transaction does. Others lock the tables in another order: it
/// gives up after so many milliseconds, as they wait for it meanwhile.
pub fn lock(conn: &mut Conn<'_>, patience_ms: u32) -> Result<()> {
    if let Conn::Postgres(c) = conn {
        c.batch_execute(&format!("SET LOCAL lock_timeout = {patience_ms}; LOCK TABLE {} IN SHARE MODE", names()))?;
    }
    Ok(())
}

/// From now on nothing can be written to it, and it is not to be used any more. Servers that still do hear that it is busy, and that
/// they may try again.
pub fn close(conn: &mut Conn<'_>) -> Result<()> {
    match conn {
        Conn::Sqlite(c) => {
            for (table, event) in TABLES.iter().flat_map(|table| EVENTS.map(|event| (table.name, event))) {
                c.batch_execute(&format!(
                    "CREATE TRIGGER moved_{table}_{event} BEFORE {event} ON {table} BEGIN \
                     SELECT RAISE(ABORT, 'database is locked: it was moved'); END"
                ))?;
            }
            c.batch_execute("CREATE TABLE moved (id INTEGER PRIMARY KEY)")?;
        }
        Conn::Postgres(c) => {
            c.batch_execute(
                "CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS
                 $moved$ BEGIN RAISE EXCEPTION 'lock timeout: the database was moved'; END $moved$;
                 CREATE TABLE moved (id INTEGER PRIMARY KEY)",
            )?;
            for table in &TABLES {
                c.batch_execute(&format!(
                    "CREATE TRIGGER moved BEFORE INSERT OR UPDATE OR DELETE ON {} FOR EACH STATEMENT EXECUTE FUNCTION moved()",
                    table.name
                ))?;
            }
        }
    }
    Ok(())
}

/// The highest numbers that the tables have given, also to rows that are gone.
pub fn numbers(conn: &mut Conn<'_>) -> Result<Vec<i64>> {
    let number = |table: &str| match conn {
        Conn::Sqlite(_) => format!("coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0)"),
        Conn::Postgres(_) => format!("coalesce(pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id')), 0)"),
    };
    let statements = NUMBERED.map(number);
    statements.iter().map(|its| Ok(on!(conn, |c| sql::<BigInt>(&format!("SELECT {its}")).get_result(c))?)).collect()
}

/// Goes on after these numbers.
pub fn set_numbers(conn: &mut Conn<'_>, numbers: &[i64]) -> Result<()> {
    let last = feed::last_id(conn)?;
    for (table, number) in NUMBERED.iter().zip(numbers) {
        match conn {
            Conn::Sqlite(c) => c.batch_execute(&format!(
                "DELETE FROM sqlite_sequence WHERE name = '{table}'; INSERT INTO sqlite_sequence (name, seq) VALUES ('{table}', {number})"
            ))?,
            Conn::Postgres(c) => c.batch_execute(&set_sequence(table, *number))?,
        }
    }
    if let Conn::Postgres(c) = conn {
        c.batch_execute(&set_sequence("messages", last))?;
    }
    Ok(())
}

fn set_sequence(table: &str, last: i64) -> String {
    format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), greatest({last}, 1), {last} > 0)")
}

/// From now on the database is being filled by a move, and must not be used yet.
pub fn begin_target(conn: &mut Conn<'_>, id: &str) -> Result<()> {
    let create = "DROP TABLE IF EXISTS moving; CREATE TABLE moving (name TEXT PRIMARY KEY, value TEXT NOT NULL)";
    on!(conn, |c| c.batch_execute(create))?;
    set_target_state(conn, ID, id)
}

/// The move that fills the database; `None` if there is none.
pub fn target_id(conn: &mut Conn<'_>) -> Result<Option<String>> {
    if is_move_target(conn)? { target_state(conn, ID) } else { Ok(None) }
}

/// Everything is copied.
pub fn set_complete(conn: &mut Conn<'_>) -> Result<()> {
    set_target_state(conn, COMPLETE, "")
}

/// Whether everything is copied.
pub fn is_complete(conn: &mut Conn<'_>) -> Result<bool> {
    Ok(target_state(conn, COMPLETE)?.is_some())
}

// No table has such a name.
const ID: &str = "the id";
const COMPLETE: &str = "all of it";

/// The key up to which the rows of a table are copied; `None` before the first.
pub fn copied_through(conn: &mut Conn<'_>, table: &Table) -> Result<Option<Row>> {
    target_state(conn, table.name)?.map(|key| serde_json::from_str(&key).map_err(unreadable)).transpose()
}

/// The rows of a table are copied up to this key.
pub fn set_copied_through(conn: &mut Conn<'_>, table: &Table, key: &[Value]) -> Result<()> {
    set_target_state(conn, table.name, &serde_json::to_string(key).map_err(unreadable)?)
}

fn target_state(conn: &mut Conn<'_>, name: &str) -> Result<Option<String>> {
    let query = sql::<Text>("SELECT value FROM moving WHERE name = ").bind::<Text, _>(name);
    Ok(on!(conn, |c| query.get_result(c).optional())?)
}

fn set_target_state(conn: &mut Conn<'_>, name: &str, value: &str) -> Result<()> {
    let query = sql_query(
        "INSERT INTO moving (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    );
    let query = query.bind::<Text, _>(name).bind::<Text, _>(value);
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// From now on the database may be used.
pub fn end_target(conn: &mut Conn<'_>) -> Result<()> {
    Ok(on!(conn, |c| c.batch_execute("DROP TABLE moving"))?)
}
