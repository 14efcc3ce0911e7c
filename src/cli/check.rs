//! The command that checks what a server would need.

use std::{
    io::{self, Write as _, stdout},
    path::absolute,
    slice,
};

use anyhow::{Error, Result, bail};
use duologue::{
    app::{Keys, open_embedder, open_issuer, read_signing_keys},
    config::{Auth, AuthMode, Embeddings, Limits, Listen, Serve},
    events::Nats,
    execution::Persisted,
    http::{self, CannotListen},
    model::timestamps::Timestamp,
    store::{DatabaseUrl, ServingLock, Store},
};
use tokio::net::TcpListener;

use super::{
    METRICS, Probe, READY, probe,
    progress::Progress,
    settings::{nats_settings, resolved, verified},
};

/// With fewer open files a server has few connections.
const FEW_FILES: u64 = 4_096;

/// Checks one thing after the other, and reports what it found: all of them also if nobody reads it.
pub(super) async fn run(settings: &Serve) -> Result<()> {
    let (mut problems, mut written) = (0_u32, io::Result::Ok(()));
    let mut report = |what: &str, found: Result<String>| {
        let line = match found {
            Ok(found) => format!("{what}: {found}"),
            Err(why) => {
                problems += 1;
                format!("{what}: PROBLEM: {why:#}")
            }
        };
        if written.is_ok() {
            written = writeln!(stdout(), "{line}");
        }
    };
    report("settings", verified(settings).map(|_origins| "can be used".to_owned()));
    report("signing key", signing_key(&settings.auth));
    report("issuer", issuer(&settings.auth).await);
    report("embedding model", embedding_model(&settings.embeddings).await);
    report("trusted documents", trusted_documents(&settings.limits));
    let url = resolved(&settings.database).map(|(url, _)| url);
    report("NATS", nats(settings, url.as_ref().ok()).await);
    report("database", database(url).await);
    let mut listeners = Vec::new();
    for listen in &settings.addresses.listen {
        report("address", address(listen, READY, &mut listeners).await);
    }
    if let Some(listen) = &settings.metrics_listen {
        report("address of metrics", address(listen, METRICS, &mut listeners).await);
    }
    report("open files", Ok(open_files()));
    match problems {
        0 => Ok(written?),
        1 => bail!("there is a problem: a server with these settings could not start"),
        _ => bail!("there are {problems} problems: a server with these settings could not start"),
    }
}

fn signing_key(auth: &Auth) -> Result<String> {
    if auth.mode == AuthMode::Open {
        return Ok("none, as nobody signs in".to_owned());
    }
    Ok(match read_signing_keys(auth)?.map(|keys| keys.ids().len()) {
        None => {
            let file = absolute(&auth.signing_key_file)?;
            Keys::check_creatable(&file)?;
            format!("the first start creates {}", file.display())
        }
        Some(1) => "can be used".to_owned(),
        Some(count) => format!("can be used, and {} more for tokens of before", count - 1),
    })
}

async fn issuer(auth: &Auth) -> Result<String> {
    let issuer = if auth.mode == AuthMode::Open { None } else { open_issuer(auth, Timestamp::now).await? };
    Ok(if issuer.is_some() { "its keys can be read" } else { "none" }.to_owned())
}

async fn embedding_model(settings: &Embeddings) -> Result<String> {
    let Some(embedder) = open_embedder(settings).await? else { return Ok("none".to_owned()) };
    // A server starts all the same, and tries again.
    Ok(match embedder.dimensions().await {
        Ok(_any) => "can be used".to_owned(),
        Err(why) => format!("cannot be used now ({why}): messages get no vectors until it can"),
    })
}

fn trusted_documents(limits: &Limits) -> Result<String> {
    let list = limits.trusted_documents.as_deref();
    Persisted::open(list)?;
    Ok(if list.is_some() { "can be used" } else { "none" }.to_owned())
}

async fn nats(settings: &Serve, database: Option<&DatabaseUrl>) -> Result<String> {
    if settings.nats.is_empty() {
        return Ok("none".to_owned());
    }
    if let Some(DatabaseUrl::Sqlite(_)) = database {
        return Ok("not used, as only one server uses a SQLite file".to_owned());
    }
    Nats::check(&nats_settings(settings)).await.map_err(Error::msg)?;
    // A server starts all the same if nobody answers.
    Ok("the settings can be used".to_owned())
}

async fn database(url: Result<DatabaseUrl>) -> Result<String> {
    let url = url?;
    let mut progress = Progress::of(0, "{bar:30} {pos} of {len} tables");
    let pending = Store::check(&url, move |done, total| progress.reach(done, total)).await?;
    ServingLock::check(&url)?;
    let found = match &url {
        DatabaseUrl::Sqlite(_) => format!("{} is sound", url.absolute()),
        DatabaseUrl::Postgres(_) => {
            format!("{} can be used (it checks its files itself: see pg_amcheck in its manual)", url.absolute())
        }
    };
    let Some(pending) = pending else { return Ok(format!("the first start creates {}", url.absolute())) };
    Ok(match pending.len() {
        0 => format!("{found}, and up to date"),
        1 => format!("{found}; the next start, or `duologue migrate`, runs a migration"),
        count => format!("{found}; the next start, or `duologue migrate`, runs {count} migrations"),
    })
}

/// Whether it is free, also beside the others, or used by a server that is ready.
async fn address(wanted: &Listen, how: Probe, others: &mut Vec<TcpListener>) -> Result<String> {
    match http::listen(slice::from_ref(wanted)) {
        Ok(listeners) => {
            let addresses = listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string()));
            let addresses = addresses.collect::<Result<Vec<_>>>()?.join(", ");
            others.extend(listeners);
            Ok(format!("{addresses} is free"))
        }
        Err(CannotListen::InUse { address, .. }) if probe(&format!("http://{address}"), how).await.is_ok() => {
            Ok(format!("{address} is used by a server that is ready"))
        }
        Err(why) => Err(why.into()),
    }
}

fn open_files() -> String {
    match http::raise_descriptor_limit() {
        None => "as many as the system has".to_owned(),
        Some(limit) if limit < FEW_FILES => {
            format!(
                "{limit}, which is about the number of connections there can be: raise the limit (LimitNOFILE, ulimit -n)"
            )
        }
        Some(limit) => format!("{limit}"),
    }
}
