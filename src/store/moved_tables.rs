//! The tables that [`super::moving`] moves from one kind of database to the other.

use serde_json::{Value, json};

/// A row, or its key, as a JSON array: a binary value as hexadecimal digits, a truth value as 0 or 1.
pub type Row = Vec<Value>;

/// A table: what a row is known by, and the other columns.
pub struct Table {
    /// In the database.
    pub name: &'static str,
    pub(super) keys: &'static [Column],
    pub(super) others: &'static [Column],
}

pub(super) struct Column(pub(super) &'static str, pub(super) ColumnType);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    Integer,
    Text,
    Binary,
    Boolean,
}
use ColumnType::{Binary, Boolean, Integer, Text as Characters};

/// All tables but the words of messages and of names, which are made anew; those come first that others refer to.
pub static TABLES: [Table; 17] = [
    Table {
        name: "server",
        keys: &[Column("id", Integer)],
        others: &[
            Column("epoch", Characters),
            Column("trimmed_through", Integer),
            Column("oldest", Characters),
            Column("message_retention", Integer),
        ],
    },
    Table {
        name: "users",
        keys: &[Column("id", Integer)],
        others: &[
            Column("name", Characters),
            Column("name_key", Characters),
            Column("email", Characters),
            Column("email_key", Characters),
            Column("created_at", Integer),
            Column("erased_at", Integer),
            Column("password_hash", Characters),
            Column("role", Integer),
            Column("trimmed_through", Integer),
            Column("suspended_at", Integer),
        ],
    },
    Table {
        name: "messages",
        keys: &[Column("id", Integer)],
        others: &[
            Column("sender_id", Integer),
            Column("receiver_id", Integer),
            Column("content", Characters),
            Column("reply_to_id", Integer),
            Column("client_id", Characters),
            Column("client_digest", Binary),
            Column("version", Integer),
            Column("created_at", Integer),
            Column("edited_at", Integer),
            Column("deleted_at", Integer),
        ],
    },
    Table {
        name: "members",
        keys: &[Column("user_id", Integer), Column("peer_id", Integer)],
        others: &[
            Column("last_message_id", Integer),
            Column("delivered_through", Integer),
            Column("delivered_at", Integer),
            Column("read_through", Integer),
            Column("read_at", Integer),
            Column("unread", Integer),
        ],
    },
    Table {
        name: "events",
        keys: &[Column("id", Integer)],
        others: &[
            Column("user_id", Integer),
            Column("kind", Integer),
            Column("message_id", Integer),
            Column("peer_id", Integer),
            Column("at", Integer),
        ],
    },
    Table {
        name: "sessions",
        keys: &[Column("id", Integer)],
        others: &[
            Column("user_id", Integer),
            Column("device", Characters),
            Column("refresh_hash", Binary),
            Column("created_at", Integer),
            Column("last_used_at", Integer),
            Column("expires_at", Integer),
            Column("ended_at", Integer),
        ],
    },
    Table {
        name: "service_tokens",
        keys: &[Column("id", Integer)],
        others: &[
            Column("name", Characters),
            Column("token_hash", Binary),
            Column("created_at", Integer),
            Column("revoked_at", Integer),
        ],
    },
    Table {
        name: "audit",
        keys: &[Column("id", Integer)],
        others: &[
            Column("at", Integer),
            Column("actor", Characters),
            Column("session_id", Integer),
            Column("action", Characters),
            Column("user_id", Integer),
            Column("object", Characters),
        ],
    },
    Table {
        name: "blocks",
        keys: &[Column("user_id", Integer), Column("blocked_id", Integer)],
        others: &[Column("created_at", Integer)],
    },
    Table {
        name: "identities",
        keys: &[Column("issuer", Characters), Column("subject", Characters)],
        others: &[Column("user_id", Integer)],
    },
    Table { name: "user_changes", keys: &[Column("user_id", Integer)], others: &[Column("told_through", Integer)] },
    Table { name: "erasures", keys: &[Column("user_id", Integer)], others: &[] },
    Table {
        name: "attempts",
        keys: &[Column("key", Integer)],
        others: &[Column("count", Integer), Column("expires_at", Integer)],
    },
    Table {
        name: "embedding_models",
        keys: &[Column("id", Integer)],
        others: &[
            Column("identity", Characters),
            Column("dimensions", Integer),
            Column("from_id", Integer),
            Column("through_id", Integer),
        ],
    },
    Table {
        name: "embedding_chunks",
        keys: &[Column("id", Integer)],
        others: &[
            Column("model_id", Integer),
            Column("low_id", Integer),
            Column("high_id", Integer),
            Column("entries", Binary),
            Column("vectors", Binary),
        ],
    },
    Table {
        name: "embedding_failures",
        keys: &[Column("model_id", Integer), Column("message_id", Integer)],
        others: &[Column("attempts", Integer), Column("retry_at", Integer)],
    },
    Table { name: "index_changes", keys: &[Column("message_id", Integer)], others: &[Column("is_removed", Boolean)] },
];

/// The tables whose ids the database gives by itself. Messages and events share theirs.
pub(super) const NUMBERED: [&str; 6] =
    ["users", "sessions", "service_tokens", "audit", "embedding_models", "embedding_chunks"];

impl Table {
    /// The key of a row.
    #[must_use]
    pub fn key_of(&self, row: &[Value]) -> Row {
        row.iter().take(self.keys.len()).cloned().collect()
    }

    /// A key before all others.
    #[must_use]
    pub fn first_key(&self) -> Row {
        let least = |column: &Column| if column.1 == Integer { json!(i64::MIN) } else { json!("") };
        self.keys.iter().map(least).collect()
    }

    /// Whether rows of the table may refer to others of it, which have lower keys: they are numbers.
    #[must_use]
    pub fn is_numbered(&self) -> bool {
        self.keys.iter().all(|column| column.1 == Integer)
    }

    /// The names of all columns.
    #[must_use]
    pub fn column_names(&'static self) -> Vec<&'static str> {
        self.columns().map(|column| column.0).collect()
    }

    /// How many rows one statement reads or writes.
    #[must_use]
    pub fn batch_size(&self) -> usize {
        if self.name == "embedding_chunks" { 50 } else { 2_000 }
    }

    pub(super) fn columns(&'static self) -> impl Iterator<Item = &'static Column> {
        self.keys.iter().chain(self.others)
    }

    pub(super) fn names(columns: impl Iterator<Item = &'static Column>) -> String {
        columns.map(|column| column.0).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn key_names(&self) -> String {
        Self::names(self.keys.iter())
    }

    /// The expression that makes a JSON array of a row.
    pub(super) fn to_json(&'static self, is_sqlite: bool) -> String {
        let value = |Column(name, kind): &Column| match (kind, is_sqlite) {
            (Integer | Characters, _) => format!("{}.{name}", self.name),
            (Boolean, _) => format!("CAST({}.{name} AS INTEGER)", self.name),
            // hex() of nothing is a text without digits.
            (Binary, true) => format!("CASE WHEN {0}.{name} IS NOT NULL THEN lower(hex({0}.{name})) END", self.name),
            (Binary, false) => format!("encode({}.{name}, 'hex')", self.name),
        };
        let values = self.columns().map(value).collect::<Vec<_>>().join(", ");
        if is_sqlite { format!("json_array({values})") } else { format!("CAST(json_build_array({values}) AS TEXT)") }
    }
}

/// The expressions for the columns of a row that is the JSON array `from`.
pub(super) fn from_json(columns: impl Iterator<Item = &'static Column>, from: &str, is_sqlite: bool) -> String {
    let value = |(index, Column(_, kind)): (usize, &Column)| match (kind, is_sqlite) {
        (Integer | Characters | Boolean, true) => format!("json_extract({from}, '$[{index}]')"),
        (Binary, true) => format!("unhex(json_extract({from}, '$[{index}]'))"),
        (Characters, false) => format!("{from} ->> {index}"),
        (Integer, false) => format!("CAST({from} ->> {index} AS BIGINT)"),
        (Boolean, false) => format!("CAST(CAST({from} ->> {index} AS INTEGER) AS BOOLEAN)"),
        (Binary, false) => format!("decode({from} ->> {index}, 'hex')"),
    };
    columns.enumerate().map(value).collect::<Vec<_>>().join(", ")
}
