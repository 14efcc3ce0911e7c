//! What is logged, and how.

use clap::{Args, ValueEnum};

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum LogLevel {
    /// Nothing
    Off,
    /// What failed
    Error,
    /// And what needs attention
    Warn,
    /// And each request, each operation of a socket, and the end of each socket
    Info,
    /// And what helps to find a fault
    Debug,
    /// Everything
    Trace,
}

impl LogLevel {
    /// How much is logged of libraries: no more than warnings.
    #[must_use]
    pub fn of_libraries(self) -> Self {
        match self {
            Self::Off | Self::Error => self,
            Self::Warn | Self::Info | Self::Debug | Self::Trace => Self::Warn,
        }
    }
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// A JSON object, for programs that collect logs
    Json,
}

/// The log.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(next_help_heading = "Log")]
pub struct Log {
    /// How much is logged on standard error
    #[arg(long = "log", value_name = "LEVEL", value_enum, env = "DUOLOGUE_LOG", default_value = "info")]
    pub level: LogLevel,
    /// How a line of the log is written
    #[arg(long = "log-format", value_name = "FORMAT", value_enum, env = "DUOLOGUE_LOG_FORMAT", default_value = "text")]
    pub format: LogFormat,
}
