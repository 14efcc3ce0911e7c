//! The commands of the program, with their help.

use std::{path::PathBuf, time::Duration};

use clap::Subcommand;
use clap_complete::Shell;

use super::{
    Addresses, Admin, Database, Demo, Embeddings, Log, Serve,
    help::{DATABASE, NONE, SERVED, help},
    values::{at_least_one, days},
};

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve GraphQL, with a GraphiQL page to try it
    #[command(after_help = help(["serve", "serve --auth jwt --listen 0.0.0.0:8000 --database-file /etc/duologue/database"], SERVED))]
    Serve(Box<Serve>),
    /// Print the GraphQL schema (SDL), sorted
    #[command(after_help = help(["schema", "schema > schema.graphql"], NONE))]
    Schema,
    /// Print a shell completion script
    #[command(after_help = help(["completions bash > /etc/bash_completion.d/duologue", "completions zsh"], NONE))]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages
    #[command(after_help = help(["man .", "man /usr/local/share/man/man1"], "the pages, in the folder"))]
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// Bring the database up to date and stop; `serve` does so at its start
    #[command(after_help = help(["migrate", "migrate --database-file /etc/duologue/database"], DATABASE))]
    Migrate(Database),
    /// Check what a server with these settings would need, without changing anything; a server may run meanwhile
    #[command(long_about = CHECK)]
    #[command(after_help = help(
        ["check --config /etc/duologue/duologue.toml", "check --database sqlite:backup.db"],
        "the database, the signing key and the embedding model, which are only read"
    ))]
    Check(Box<Serve>),
    /// Copy a SQLite file as it is at one moment, while servers use it
    #[command(long_about = BACKUP)]
    #[command(after_help = help(
        ["backup chat-monday.db", "backup --keep 7 /var/backups/chat.db"],
        "the database, which is only read, and the backup"
    ))]
    Backup {
        /// The new file
        file: PathBuf,
        /// Add the time to the name of the file, and keep so many of such backups
        #[arg(long, value_name = "N", value_parser = at_least_one)]
        keep: Option<usize>,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Replace a SQLite file by a backup; stop the server before
    #[command(long_about = RESTORE)]
    #[command(after_help = help(
        ["restore chat-monday.db", "restore chat-monday.db --database sqlite:/var/lib/duologue/duologue.db"],
        "the backup, and the database"
    ))]
    Restore {
        /// The backup
        file: PathBuf,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Ask a server whether it is ready, as containers do
    #[command(after_help = help(["health", "health http://127.0.0.1:8000/"], NONE))]
    Health {
        /// Where the server is; without it, the address of `--listen`
        url: Option<String>,
        /// Where the server listens.
        #[command(flatten)]
        addresses: Addresses,
    },
    /// Begin a new epoch, so that every client loads everything again; run it after a restore of PostgreSQL, before the server starts
    #[command(after_help = help(["new-epoch", "new-epoch --database-file /etc/duologue/database"], DATABASE))]
    NewEpoch(Database),
    /// Read users and messages from a JSON Lines file, all of it or nothing
    #[command(long_about = IMPORT)]
    #[command(after_help = help(["import chat.jsonl", "import chat.jsonl --renumber"], DATABASE))]
    Import {
        /// The file; `-` is standard input
        file: PathBuf,
        /// Give messages new ids, in the order of their times
        #[arg(long)]
        renumber: bool,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Write everything, or the data of one user, to a JSON Lines file, while servers use the database
    #[command(long_about = EXPORT)]
    #[command(after_help = help(
        ["export chat.jsonl", "export --user ada@example.com ada.jsonl"],
        "the database, where only the audit log is written, and the file"
    ))]
    Export {
        /// The new file; `-` is standard output
        file: PathBuf,
        /// Only the data of this user: an id, such as usr_7, or an address
        #[arg(long, value_name = "ID")]
        user: Option<String>,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Move a database from SQLite to PostgreSQL, or back, while servers use it
    #[command(long_about = MOVE)]
    #[command(after_help = help(
        [
            "move --from sqlite:duologue.db --to postgres://chat@db.example.com/chat",
            "move --from sqlite:duologue.db --cancel",
        ],
        "the SQLite file of the two databases, with its log beside it"
    ))]
    Move {
        /// The former database: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`
        #[arg(long, value_name = "URL", env = "DUOLOGUE_MOVE_FROM", hide_env_values = true)]
        from: String,
        /// The new one, which must be empty
        #[arg(long, value_name = "URL", env = "DUOLOGUE_MOVE_TO", hide_env_values = true)]
        #[arg(required_unless_present = "cancel")]
        to: Option<String>,
        /// Only copy and compare, as a rehearsal: the former database stays what it is
        #[arg(long)]
        copy_only: bool,
        /// Give up a move that was interrupted: the former database becomes what it was, and no longer records its changes
        #[arg(long, conflicts_with = "copy_only")]
        cancel: bool,
    },
    /// Rebuild the search index: of words, of vectors, or of both without either flag. A server may use the database
    /// meanwhile; its searches find what is done
    #[command(after_help = help(["reindex", "reindex --vectors --embedding-model model"], DATABASE))]
    Reindex {
        /// Only the words
        #[arg(long)]
        words: bool,
        /// Only the vectors
        #[arg(long)]
        vectors: bool,
        /// The database.
        #[command(flatten)]
        database: Database,
        /// What makes vectors.
        #[command(flatten)]
        embeddings: Embeddings,
    },
    /// List what was done on behalf of others and with accounts, by whom, and the commands of the operator, oldest first
    #[command(long_about = AUDIT)]
    #[command(after_help = help(["audit --since 7", "audit --user ada@example.com --json"], DATABASE))]
    Audit {
        /// Only what was done since so many days, or since a duration such as 12h
        #[arg(long, value_name = "DAYS", value_parser = days)]
        since: Option<Duration>,
        /// Only what was done to this user, on their behalf, or by them: an id, such as usr_7 or svc_1, an address, or operator
        #[arg(long, value_name = "ID")]
        user: Option<String>,
        /// Only this, as the column ACTION has it, such as deleteMessage or "admin grant"
        #[arg(long, value_name = "ACTION")]
        action: Option<String>,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Look after accounts: admins, service tokens, lost passwords, sessions
    #[command(after_help = help(["admin create ada@example.com", "admin users"], DATABASE))]
    Admin {
        /// What to do.
        #[command(subcommand)]
        task: Admin,
    },
    /// Fill a database with believable users and messages
    #[command(long_about = "Fill a database with believable users and messages. Two of the users have a tenth of the \
                            messages between them, at most 10,000: a conversation to page through.")]
    #[command(after_help = help(["demo", "demo --users 50 --messages 2000 --seed 2"], DATABASE))]
    Demo {
        /// The amount.
        #[command(flatten)]
        demo: Demo,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
}

impl Command {
    /// The settings of the log, if the command has any.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        if let Self::Serve(settings) = self { Some(&settings.log) } else { None }
    }
}

const CHECK: &str = "Check what a server with these settings would need, without changing anything; a server may run meanwhile.

Checked are the settings, the signing key, the keys of an issuer, the embedding model, the list of trusted documents, the settings of \
NATS, all of a SQLite file for damage, whether the database is up to date and may be used, the addresses, and the limit of open files. It \
takes the settings of `duologue serve`. The command fails if such a server could not start.";

const BACKUP: &str = "Copy a SQLite file as it is at one moment, while servers use it.

The copy is checked, and has its name only once it is whole and on the disk. It is a database itself: what was deleted is not in it. \
With --keep 7, `chat.db` becomes `chat-20260131T120000Z.db`, and of such files the newest 7 are kept.";

const RESTORE: &str = "Replace a SQLite file by a backup; stop the server before.

The backup is checked first, and stays as it is. The former file is kept beside it under another name. Clients that come back load \
everything again.";

const IMPORT: &str = "Read users and messages from a JSON Lines file, all of it or nothing.

Each line is one of
  {\"user\": {\"id\": 1, \"name\": \"Ada\", \"email\": \"ada@example.com\", \"createdAt\": \"2026-01-31T12:00:00Z\"}}
  {\"message\": {\"id\": 7, \"senderId\": 1, \"receiverId\": 2, \"content\": \"Hi\", \"createdAt\": \"2026-01-31T12:00:01Z\"}}
  {\"marks\": {\"userId\": 2, \"peerId\": 1, \"read\": {\"messageId\": 7, \"at\": \"2026-01-31T12:00:02Z\"}}}
in any order, as long as users come before their messages. A user may also have passwordHash (Argon2id, in PHC format; one with \
other costs than m=19456,t=2,p=1 is replaced at the first sign-in, and until then the time of an attempt tells that there is \
such an account), admin and suspendedAt; a message may also have replyToId, clientId and editedAt; marks name the newest \
message of a conversation that was delivered to a user (delivered), and the newest one that the user has read (read). What is \
not marked as read is unread. A file of `duologue export` is taken back whole.

On an empty database the ids are kept; on one that has users already, everything gets new ids, after those that are there. All lists \
are in the order of the ids. So the messages of all conversations must be in the order of their times; with --renumber they are brought \
into it, with each answer after its message. Stop servers that use the database, or they wait meanwhile.";

const EXPORT: &str = "Write everything, or the data of one user, to a JSON Lines file, while servers use the database.

The lines are those that `duologue import` reads. Everything is all users with the hashes of their passwords, all messages, what was \
read, and blocks; not the sessions, the service tokens and the audit log, which `duologue audit --json` lists. Of one user it is the \
account, its sessions and blocks, and all messages that were sent and received and not deleted; of others their ids and names, and when \
they were created. The file can be read by its owner alone.";

const AUDIT: &str = "List what was done on behalf of others and with accounts, by whom, and the commands of the operator, oldest first.

Recorded are what admins and service tokens change on behalf of a user, changes of passwords and addresses, deletions of accounts, and the \
commands `admin`, `import`, `export`, `restore`, `move` and `new-epoch`. Not recorded are what users do themselves, what is only read, and \
what clients do in open mode, as nobody knows who they are. There are no texts, names and addresses in it. The server deletes \
records that are older than --audit-retention.";

const MOVE: &str = "Move a database from SQLite to PostgreSQL, or back, while servers use it.

Everything is copied, compared, and in the end the former database is closed: its servers stop, and servers of the new one, \
which wait until then, become ready. Ids, cursors, sessions and tokens stay valid, as long as the new servers have the same \
signing key. When it is interrupted, run it again: it goes on from where it was. Until then the former database records its changes, \
which takes space: give the move up with --cancel if it is not to go on. The index of words is made anew in the background.";
