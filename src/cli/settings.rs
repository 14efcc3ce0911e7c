//! What can be known of the settings of a server before anything is opened or created.

use std::time::Duration;

use anyhow::{Result, bail};
use reqwest::header::HeaderValue;

use duologue::{
    app::{self, Keys, read_signing_keys},
    config::{AuthMode, Database, Listen, Serve, SignUp},
    events::NatsSettings,
    http,
    store::{BadUrl, DatabaseUrl},
};

/// Settings that a server cannot start with, however often it is tried.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(crate) struct UnusableSettings(anyhow::Error);

/// What is in a file of its own may be mended before the next start.
fn wrong(error: anyhow::Error, is_in_file: bool) -> anyhow::Error {
    if is_in_file { error } else { UnusableSettings(error).into() }
}

/// The URL of the database that the settings name, and the settings with that instead of a file with it. A file, which may be a pipe, is
/// read once: here.
pub(super) fn resolved(database: &Database) -> Result<(DatabaseUrl, Database)> {
    let read = app::read_database_file(database).and_then(|read| Ok((app::database_url(&read)?, read)));
    read.map_err(|error| wrong(error.into(), database.database_file.is_some()))
}

/// The URL of a database on the command line.
pub(super) fn url(text: &str) -> Result<DatabaseUrl> {
    text.parse().map_err(|error: BadUrl| wrong(error.into(), false))
}

/// What is read of the settings of a server before anything is opened.
pub(super) struct Prepared {
    /// The origins of web pages that may use the server.
    pub(super) origins: Vec<HeaderValue>,
    /// The keys that sign tokens; `None` where nobody signs in, or if their file is yet to be created.
    pub(super) keys: Option<Keys>,
    /// The URL of the database.
    pub(super) url: DatabaseUrl,
}

/// Reads the files that the settings name. The settings have the URL of the database then.
pub(super) fn prepared(settings: &mut Serve) -> Result<Prepared> {
    let origins = verified(settings).map_err(|error| wrong(error, false))?;
    let auth = &settings.auth;
    let keys = if auth.mode == AuthMode::Open {
        None
    } else {
        read_signing_keys(auth).map_err(|error| wrong(error.into(), auth.signing_key.is_none()))?
    };
    let (url, database) = resolved(&settings.database)?;
    settings.database = database;
    Ok(Prepared { origins, keys, url })
}

pub(super) fn nats_settings(settings: &Serve) -> NatsSettings {
    NatsSettings { servers: settings.nats.clone(), credentials: settings.nats_credentials.clone() }
}

/// The origins of web pages that may use the server, if the settings do not contradict each other.
pub(super) fn verified(settings: &Serve) -> Result<Vec<HeaderValue>> {
    let open = settings.auth.mode == AuthMode::Open;
    let reached = |listen: &[Listen]| {
        let addresses = listen.iter().flat_map(|listen| &listen.0);
        addresses.copied().find(|address| !address.ip().is_loopback())
    };
    if let Some(address) = reached(settings.metrics_listen.as_slice()).filter(|_| !settings.allow_open_metrics) {
        bail!(
            "{address} can be reached by others, and nobody has to sign in to read the metrics: listen on 127.0.0.1, or say \
             --allow-open-metrics if only those reach it who may read them"
        );
    }
    if let Some(address) = reached(&settings.addresses.listen).filter(|_| open && !settings.allow_open_network) {
        bail!(
            "{address} can be reached by others, and on this server nobody has to sign in: whoever reaches it may read, \
             change and delete everything. Say --auth jwt so that people sign in, listen on 127.0.0.1, or say \
             --allow-open-network if that is what you want"
        );
    }
    if open && settings.auth.issuer.is_some() {
        bail!("--issuer has no effect on a server where nobody has to sign in: say --auth jwt as well");
    }
    if open && (settings.auth.signing_key.is_some() || settings.auth.sign_up == SignUp::Closed) {
        bail!(
            "--signing-key and --sign-up have no effect on a server where nobody has to sign in: say --auth jwt as well"
        );
    }
    if settings.auth.create_users && settings.auth.issuer.is_none() {
        bail!("--create-users is about the users of another issuer: say which one with --issuer");
    }
    if settings.auth.access_token_lifetime < Duration::from_secs(1) {
        bail!("--access-token-lifetime must be at least a second: that is how exactly tokens say when they expire");
    }
    if settings.auth.refresh_token_lifetime < settings.auth.access_token_lifetime {
        bail!(
            "--refresh-token-lifetime must not be shorter than --access-token-lifetime: a session would end before its token"
        );
    }
    if settings.limits.dead_after <= settings.limits.ping_interval {
        bail!("--dead-after must be longer than --ping-interval: a client that says nothing must be asked first");
    }
    Ok(http::origins(settings)?)
}
