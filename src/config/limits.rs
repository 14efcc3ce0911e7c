//! How much and how often: limits of clients, and rates. `docs/reference/limits.md` describes what happens beyond them.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::values::{at_least_one, bytes, rate, seconds};

/// How often people may do something; 0 is `off`: as often as they like. Not in open mode.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rate limits, in signed-in mode")]
pub struct Rates {
    /// Sends, edits, marks and other changes of a user in a second, and three times as many at once; or `off`
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_SENDS", default_value_t = 20, value_parser = rate)]
    pub max_sends: u32,
    /// Searches of a user over messages in a minute; or `off`
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_SEARCHES", default_value_t = 30, value_parser = rate)]
    pub max_searches: u32,
    /// Attempts to sign in from an address in a minute; or `off`
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_SIGN_INS", default_value_t = 30, value_parser = rate)]
    pub max_sign_ins: u32,
    /// Failed attempts to sign in to an account from an address in 15 minutes, and changes of a user's name, address and
    /// password; or `off`
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_SIGN_IN_FAILURES", default_value_t = 10, value_parser = rate)]
    pub max_sign_in_failures: u32,
    /// Sign-ups from an address in an hour; or `off`
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_SIGN_UPS", default_value_t = 100, value_parser = rate)]
    pub max_sign_ups: u32,
}

/// What a client may ask for at most.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Bytes of a request's body or of a WebSocket message
    #[arg(long, value_name = "BYTES", env = "DUOLOGUE_MAX_BODY", default_value_t = 256 * 1024)]
    #[arg(value_parser = at_least_one)]
    pub max_body: usize,
    /// Bytes of an answer, be it to a request, to a whole batch, or an event
    #[arg(long, value_name = "BYTES", env = "DUOLOGUE_MAX_ANSWER", default_value_t = 8 * 1024 * 1024)]
    #[arg(value_parser = at_least_one)]
    pub max_answer: usize,
    /// Bytes above which an answer over HTTP is compressed with gzip, if the client accepts that; or `off`. Event streams and
    /// WebSockets are never compressed
    #[arg(long, value_name = "BYTES", env = "DUOLOGUE_COMPRESS_ABOVE", default_value = "4096", value_parser = bytes)]
    pub compress_above: u64,
    /// Tokens of a document
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_TOKENS", default_value_t = 2_000)]
    pub max_tokens: usize,
    /// Maximum nesting depth of fields
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_DEPTH", default_value_t = 12)]
    pub max_depth: u32,
    /// Maximum nesting of brackets of any kind
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_RECURSION", default_value_t = 32)]
    pub max_recursion: u32,
    /// Aliases of an operation, once its fragments are spread
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_ALIASES", default_value_t = 30)]
    pub max_aliases: u64,
    /// Fields at the root of an operation
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_ROOT_FIELDS", default_value_t = 20)]
    pub max_root_fields: u64,
    /// Directives in a document
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_DIRECTIVES", default_value_t = 50)]
    pub max_directives: u64,
    /// Maximum complexity: the number of fields an answer can have, with lists counted at their page size
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_COMPLEXITY", default_value_t = 5_000)]
    pub max_complexity: u64,
    /// File with the only documents that may be run: a JSON object of ids and texts, or Apollo's manifest. A request
    /// names one by its id, as `extensions.persistedQuery.sha256Hash`, or sends its text. GraphiQL needs more than that
    #[arg(long, value_name = "FILE", env = "DUOLOGUE_TRUSTED_DOCUMENTS")]
    pub trusted_documents: Option<PathBuf>,
    /// Operations in a batch
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_BATCH", default_value_t = 10)]
    #[arg(value_parser = at_least_one)]
    pub max_batch: usize,
    /// Running operations on one WebSocket
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_SOCKET_OPERATIONS", default_value_t = 100)]
    pub max_socket_operations: usize,
    /// Connections of one address at a time; a /64 of IPv6 counts as one. Not for loopback addresses and trusted proxies
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_ADDRESS_CONNECTIONS", default_value_t = 256)]
    #[arg(value_parser = at_least_one)]
    pub max_address_connections: usize,
    /// Queries and mutations that run on one WebSocket at a time; more wait for their turn
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_SOCKET_REQUESTS", default_value_t = 8)]
    #[arg(value_parser = at_least_one)]
    pub max_socket_requests: usize,
    /// Queries and mutations of one user at a time, over HTTP and WebSockets, until they are answered
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_USER_REQUESTS", default_value_t = 16)]
    #[arg(value_parser = at_least_one)]
    pub max_user_requests: usize,
    /// Subscriptions of one user
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_USER_SUBSCRIPTIONS", default_value_t = 200)]
    pub max_user_subscriptions: usize,
    /// Fields that all subscriptions of one user together may fill for an event
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_USER_SUBSCRIBED_FIELDS", default_value_t = 5_000)]
    pub max_user_subscribed_fields: usize,
    /// WebSockets and event streams of one user
    #[arg(long, value_name = "N", env = "DUOLOGUE_MAX_USER_SOCKETS", default_value_t = 50)]
    #[arg(value_parser = at_least_one)]
    pub max_user_sockets: usize,
    /// Time for a new connection to send the head of its first request, and for the rest of a head that has begun; after it,
    /// the connection is closed
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_HEADER_TIMEOUT", default_value = "15", value_parser = seconds)]
    pub header_timeout: Duration,
    /// Time that a connection stays open between two requests: longer than a proxy before the server keeps its own
    /// (60 seconds with nginx)
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_KEEP_ALIVE_TIMEOUT", default_value = "75")]
    #[arg(value_parser = seconds)]
    pub keep_alive_timeout: Duration,
    /// Time for the body of a request to arrive
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_BODY_TIMEOUT", default_value = "30", value_parser = seconds)]
    pub body_timeout: Duration,
    /// Time for an operation to be answered
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_REQUEST_TIMEOUT", default_value = "10", value_parser = seconds)]
    pub request_timeout: Duration,
    /// Time for a new WebSocket to send connection_init
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_INIT_TIMEOUT", default_value = "5", value_parser = seconds)]
    pub init_timeout: Duration,
    /// Time between two pings on a WebSocket
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_PING_INTERVAL", default_value = "25", value_parser = seconds)]
    pub ping_interval: Duration,
    /// Time after which a WebSocket is closed whose client sends nothing, not even a pong
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_DEAD_AFTER", default_value = "60", value_parser = seconds)]
    pub dead_after: Duration,
    /// Time for a client to take what is sent to it; after it, its connection is closed
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_STALL_TIMEOUT", default_value = "30", value_parser = seconds)]
    pub stall_timeout: Duration,
}
