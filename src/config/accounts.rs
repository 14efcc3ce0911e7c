//! Who may ask, and how it is known who does.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, builder::FalseyValueParser};

use super::values::{Secret, any_seconds, days, seconds};

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// Nobody signs in: everybody who reaches the server may act for everyone
    Open,
    /// People sign in, and programs have service tokens
    Jwt,
}

/// Whether people may make accounts for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignUp {
    /// Everybody may
    Open,
    /// Nobody may: admins and service tokens make accounts, with `createUser`, and so do tokens of an issuer with `--create-users`
    Closed,
}

/// How it is known who asks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accounts")]
pub struct Auth {
    /// Authentication mode
    #[arg(long = "auth", value_name = "MODE", value_enum, env = "DUOLOGUE_AUTH", default_value = "open")]
    pub mode: AuthMode,
    /// Whether people may make accounts for themselves
    #[arg(long, value_name = "MODE", value_enum, env = "DUOLOGUE_SIGN_UP", default_value = "open")]
    pub sign_up: SignUp,
    /// Key that signs tokens: at least 32 random bytes in base64 (`openssl rand -base64 32`). Two, with a comma between
    /// them, while you change it: the first one signs, both are accepted
    #[arg(long, value_name = "KEY", env = "DUOLOGUE_SIGNING_KEY", hide_env_values = true)]
    pub signing_key: Option<Secret>,
    /// File with the key, one or two lines, if `--signing-key` is not given; created if it does not exist
    #[arg(long, value_name = "FILE", env = "DUOLOGUE_SIGNING_KEY_FILE", default_value = "duologue.key")]
    pub signing_key_file: PathBuf,
    /// Seconds until an access token expires
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_ACCESS_TOKEN_LIFETIME", default_value = "900", value_parser = seconds)]
    pub access_token_lifetime: Duration,
    /// Issuer whose tokens are accepted too: the `iss` in them, such as `https://login.example.com/`
    #[arg(long, value_name = "NAME", env = "DUOLOGUE_ISSUER", requires_all = ["audience", "jwks"])]
    pub issuer: Option<String>,
    /// What the issuer calls this server: the `aud` in its tokens
    #[arg(long, value_name = "NAME", env = "DUOLOGUE_AUDIENCE", requires = "issuer")]
    pub audience: Option<String>,
    /// Public keys of the issuer: the URL of a JWKS, or a file with a JWKS or with one key as PEM
    #[arg(long, value_name = "URL|FILE", env = "DUOLOGUE_JWKS", requires = "issuer")]
    pub jwks: Option<String>,
    /// Seconds by which the issuer's clock may be ahead or behind: so far before and after their times its tokens are accepted
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_CLOCK_SKEW", default_value = "30", value_parser = any_seconds)]
    pub clock_skew: Duration,
    /// Create an account for each new `sub` of the issuer. Without this flag `sub` must be the id of a user, such as
    /// usr_7
    #[arg(long, env = "DUOLOGUE_CREATE_USERS", value_parser = FalseyValueParser::new())]
    pub create_users: bool,
    /// Days until a refresh token expires, and with it its session
    #[arg(long, value_name = "DAYS", env = "DUOLOGUE_REFRESH_TOKEN_LIFETIME", default_value = "30", value_parser = days)]
    pub refresh_token_lifetime: Duration,
    /// Seconds for which a refresh token that was used returns the same next one again, in case the answer was lost; later use ends
    /// the session. With more, a stolen token is noticed later
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_REFRESH_GRACE_PERIOD", default_value = "10", value_parser = any_seconds)]
    pub refresh_grace_period: Duration,
}
