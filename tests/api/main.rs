//! The server through its public door: each test has its own server in this process, and its own database.
//!
//! The database is a SQLite file, or a schema of the PostgreSQL server that `DUOLOGUE_TEST_DATABASE` names, as
//! `tests/with-postgres` sets it. Nothing is mocked and nothing sleeps: what is expected is awaited, with a deadline.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::format_collect,
    reason = "a test may fail, and may be slow to build its texts"
)]

mod clock;
mod database;
mod harness;
mod proxy;
mod proxy_files;
mod ports;
mod crowd;
mod world;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod link;

mod users;
mod messages;
mod conversations;
mod feed;
mod resume;
mod retention;
mod expiry;
mod searches;
mod meanings;
mod embedding;
mod relevance;
mod indexing;
mod receipts;
mod signals;
mod accounts;
mod audits;
mod sessions;
mod policy;
mod rates;
mod issuers;
mod jwks;
mod secrecy;
mod admins;
mod endurance;
mod deletion;
mod erasure;
mod crashes;
mod upgrades;
mod sizes;
mod backups;
mod backup_page;
mod litestream;
mod outages;
mod pgbackrest;
mod tls;
mod proxies;
mod servers;
mod membership;
mod jobs;
mod failover;
mod standbys;
#[cfg(target_os = "linux")]
mod networks;
#[cfg(target_os = "linux")]
mod nats;
#[cfg(target_os = "linux")]
mod scaling;
mod presences;
mod overload;
mod storage;
mod damage;
mod soundness;
mod checks;
mod nodes;
mod paging;
mod races;
mod writes;

mod documents;
#[cfg(target_os = "linux")]
mod caches;
mod http;
mod compression;
mod persisted;
mod connections;
mod bounds;
mod memory;
mod floods;
mod stopping;
mod fuzz;
mod pages;
mod sockets;
mod older_sockets;
mod embedded;
mod origins;
mod stalls;
mod streams;
mod texts;
mod embedders;
mod endpoints;
mod execution;
mod validation;
mod canaries;
mod unread;
mod statements;
mod schema;
mod migrations;
mod moving;
mod move_targets;
mod move_ends;
mod imports;
mod demo;
mod exports;
mod round_trips;
mod program;
mod commands;
mod listening;
#[cfg(target_os = "linux")]
mod image;
mod health;
mod logs;
mod metrics;
mod javascript;
mod browser;
mod examples;
mod readme;
mod clients;
mod book;
mod book_pages;
mod limits;
