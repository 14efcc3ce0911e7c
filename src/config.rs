//! Every setting, read once from flags and environment. `duologue --help` is the manual.
//!
//! Not here: what the settings do.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{self, Write, stdout},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, builder::FalseyValueParser, error::ErrorKind};
use clap_complete::Shell;
use ipnet::IpNet;

mod accounts;
mod admin;
mod commands;
mod file;
mod help;
mod limits;
mod log;
mod search;
mod values;
mod variables;

pub use accounts::{Auth, AuthMode, SignUp};
pub use admin::Admin;
pub use commands::Command;
use file::FileSettings;
pub use limits::{Limits, Rates};
pub use log::{Log, LogFormat, LogLevel};
pub use search::{DEFAULT_MODEL, Embeddings};
pub use values::{Listen, Secret};
use values::{any_seconds, days, listen, network, one_day_or_more, seconds};

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "duologue", version, about, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Every flag can also be given by the environment variable named beside it.")]
pub struct Cli {
    /// File with settings, in TOML: the names of flags are its keys. `duologue serve --print-config` writes one
    #[arg(long, value_name = "FILE", env = "DUOLOGUE_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The command line of the program, its environment, and the file of settings: what is named first comes before the others. If they are
    /// wrong, it says so and ends the program, and so it does if only help or settings are to be printed.
    #[must_use]
    pub fn read() -> Self {
        let matches = Self::matches(env::args_os().collect()).unwrap_or_else(|error| error.exit());
        if let Some((name @ ("serve" | "check"), given)) = matches.subcommand()
            && given.get_flag("print_config")
        {
            let command = Self::command();
            let settings = command.find_subcommand(name).map(|command| file::printed(command, given));
            let written = stdout().write_all(settings.unwrap_or_default().as_bytes());
            process::exit(written.is_err().into());
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Of variables of the environment that look like a setting of the server, but are none: what is meant, perhaps.
    #[must_use]
    pub fn misspelled_variables() -> Vec<String> {
        let command = Self::command();
        let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        command.find_subcommand("serve").map(|serve| variables::misspelled(names, serve)).unwrap_or_default()
    }

    /// What lets a shell complete the commands.
    #[must_use]
    pub fn completions(shell: Shell) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Self::command(), "duologue", &mut script);
        script
    }

    /// Writes a manual page for each command into a folder.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_manual(folder: &Path) -> io::Result<()> {
        clap_mangen::generate_to(Self::command(), folder)
    }

    fn matches(arguments: Vec<OsString>) -> Result<ArgMatches, clap::Error> {
        let command = Self::command();
        let file = FileSettings::read(&arguments, &command)
            .map_err(|why| clap::Error::raw(ErrorKind::Io, format!("{why}\n")))?;
        let matches = command.clone().try_get_matches_from(file.added_to(arguments));
        matches.map_err(|error| variables::explained(error, command, &file))
    }
}

/// Where the data is.
#[derive(Clone, Args)]
pub struct Database {
    /// Where the data is: sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE. Connections that leave this machine are
    /// encrypted; with `?sslmode=verify-full` the server's certificate is verified as well, `&sslrootcert=FILE` names the
    /// authority
    #[arg(long, value_name = "URL", env = "DUOLOGUE_DATABASE", default_value = "sqlite:duologue.db")]
    #[arg(hide_env_values = true)]
    pub database: String,
    /// A file with that URL, so that a password in it is in no list of processes
    #[arg(long, value_name = "FILE", env = "DUOLOGUE_DATABASE_FILE", conflicts_with = "database")]
    pub database_file: Option<PathBuf>,
    /// PostgreSQL only: maximum number of connections in the pool
    #[arg(long, value_name = "N", env = "DUOLOGUE_DATABASE_CONNECTIONS", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u16).range(2..))]
    pub database_connections: u16,
}

/// Without the URL: there may be a password in it.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.database_connections;
        f.debug_struct("Database").field("database_connections", &connections).finish_non_exhaustive()
    }
}

/// How much demo data.
#[derive(Debug, Clone, Copy, Args)]
#[group(skip)]
pub struct Demo {
    /// How many users
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub users: u32,
    /// How many messages
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub messages: u32,
    /// The same seed makes the same users and messages
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Where the server listens.
#[derive(Debug, Clone, Args)]
pub struct Addresses {
    /// Address and port to listen on, such as `127.0.0.1:8000`, `localhost:8000` or `8000`; repeat it, or separate several
    /// by commas
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "DUOLOGUE_LISTEN",
        default_value = "127.0.0.1:8000",
        value_delimiter = ','
    )]
    #[arg(value_parser = listen)]
    pub listen: Vec<Listen>,
}

/// The settings of the server.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Where it listens.
    #[command(flatten)]
    pub addresses: Addresses,
    /// Address and port of the metrics for Prometheus, at `/metrics`, such as `127.0.0.1:9464`; without it there are none
    #[arg(long, value_name = "ADDRESS", env = "DUOLOGUE_METRICS_LISTEN", value_parser = listen)]
    pub metrics_listen: Option<Listen>,
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// NATS, by which several servers on one PostgreSQL database notify each other: nats://HOST:PORT, or tls://HOST:PORT, with
    /// USER:PASSWORD@ or TOKEN@ before the host if it wants one; several servers of a NATS cluster with commas between them
    #[arg(long, value_name = "URL", env = "DUOLOGUE_NATS", value_delimiter = ',', hide_env_values = true)]
    pub nats: Vec<String>,
    /// A file with a NATS token and key, as `nsc` makes it
    #[arg(long, value_name = "FILE", env = "DUOLOGUE_NATS_CREDENTIALS", requires = "nats")]
    pub nats_credentials: Option<PathBuf>,
    /// Serve on an address that others can reach although nobody has to sign in: everyone who reaches it may read,
    /// change and delete everything, in anybody's name
    #[arg(long, env = "DUOLOGUE_ALLOW_OPEN_NETWORK", value_parser = FalseyValueParser::new())]
    pub allow_open_network: bool,
    /// Have the metrics on an address that others can reach: nobody has to sign in to read them
    #[arg(long, env = "DUOLOGUE_ALLOW_OPEN_METRICS", value_parser = FalseyValueParser::new())]
    pub allow_open_metrics: bool,
    /// Origin of web pages elsewhere that may use this server, such as `https://chat.example.com`; repeat it, or
    /// separate several by commas
    #[arg(long = "cors-origin", value_name = "ORIGIN", env = "DUOLOGUE_CORS_ORIGIN", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// Days for which a client that was away can catch up; after them it loads everything again
    #[arg(long, value_name = "DAYS", env = "DUOLOGUE_FEED_RETENTION", default_value = "30", value_parser = days)]
    pub feed_retention: Duration,
    /// Days after which messages are hidden at once and then deleted for good, for both sides, at least one; without it they are kept
    /// until somebody deletes them. The server that was started last sets it for all
    #[arg(long, value_name = "DAYS", env = "DUOLOGUE_MESSAGE_RETENTION", value_parser = one_day_or_more)]
    pub message_retention: Option<Duration>,
    /// Days for which records of the audit log are kept: see `duologue audit`
    #[arg(long, value_name = "DAYS", env = "DUOLOGUE_AUDIT_RETENTION", default_value = "400", value_parser = days)]
    pub audit_retention: Duration,
    /// Time after the start until a SQLite file is checked for damage, while it is served
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_CHECK_AFTER", default_value = "60", value_parser = seconds)]
    pub check_after: Duration,
    /// Time for which everything is served as before after a signal to stop, while `/health/ready` is 503: as long as a load
    /// balancer takes to notice
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_DRAIN_DELAY", default_value = "0", value_parser = any_seconds)]
    pub drain_delay: Duration,
    /// Time after a user's last connection until the user is shown as offline
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_OFFLINE_AFTER", default_value = "30", value_parser = seconds)]
    pub offline_after: Duration,
    /// Proxy whose `X-Forwarded-For` is taken as the address of the client: an address, or a network such as 10.0.0.0/8;
    /// repeat it, or separate several by commas
    #[arg(long = "trusted-proxy", value_name = "NETWORK", env = "DUOLOGUE_TRUSTED_PROXY", value_delimiter = ',')]
    #[arg(value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Print a file for `--config` with all settings and what they mean, as they are now, and stop
    #[arg(long)]
    pub print_config: bool,
    /// The accounts.
    #[command(flatten)]
    pub auth: Auth,
    /// The log.
    #[command(flatten)]
    pub log: Log,
    /// The rates.
    #[command(flatten)]
    pub rates: Rates,
    /// The limits.
    #[command(flatten)]
    pub limits: Limits,
    /// What search by meaning needs.
    #[command(flatten)]
    pub embeddings: Embeddings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
