//! What settings name: the database, the issuer of tokens and the embedding model.

use std::{fs, path::Path, sync::Arc};

use crate::{
    config,
    model::timestamps::Timestamp,
    search::{self, Embedder, EndpointSettings},
    secrets::{BadIssuer, BadKeys, Issuer, IssuerSettings, Keys},
    store::{self, DatabaseUrl, Error},
};

/// Settings that cannot be used. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// The keys that sign tokens.
    #[error(transparent)]
    Keys(#[from] BadKeys),
    /// The public keys of an issuer.
    #[error(transparent)]
    Issuer(#[from] BadIssuer),
    /// The embedding model.
    #[error("{0}")]
    Embeddings(String),
}

/// The URL of the database that the settings name.
///
/// # Errors
/// A sentence for the operator, when there is none.
pub fn database_url(settings: &config::Database) -> Result<DatabaseUrl, Error> {
    let settings = read_database_file(settings)?;
    settings.database.trim().parse().map_err(|why: store::BadUrl| Error::Unusable(why.to_string()))
}

/// The same settings with the URL itself if they name a file with it, which may be a pipe: that can be read once.
///
/// # Errors
/// A sentence for the operator, when it cannot be read.
pub fn read_database_file(settings: &config::Database) -> Result<config::Database, Error> {
    let Some(file) = &settings.database_file else { return Ok(settings.clone()) };
    let database = fs::read_to_string(file)
        .map_err(|error| Error::Unusable(format!("cannot read {}: {error}", file.display())))?;
    Ok(config::Database { database, database_file: None, ..settings.clone() })
}

/// Reads the keys that sign tokens; `None` if the settings name a file that does not exist.
///
/// # Errors
/// When they cannot be read or used.
pub fn read_signing_keys(auth: &config::Auth) -> Result<Option<Keys>, BadSettings> {
    Ok(match &auth.signing_key {
        Some(keys) => Some(Keys::parse(&keys.0)?),
        None => Keys::read(&auth.signing_key_file)?,
    })
}

/// Reads the keys of the issuer whose tokens are accepted; `None` if the settings name none.
///
/// # Errors
/// When they cannot be read.
pub async fn open_issuer(auth: &config::Auth, now: impl FnOnce() -> Timestamp) -> Result<Option<Issuer>, BadSettings> {
    let (Some(name), Some(audience), Some(keys)) = (auth.issuer.clone(), auth.audience.clone(), auth.jwks.clone())
    else {
        return Ok(None);
    };
    let (provisions_users, clock_skew) = (auth.create_users, auth.clock_skew);
    let settings = IssuerSettings { name, audience, keys, provisions_users, clock_skew };
    Ok(Some(Issuer::open(settings, now()).await?))
}

/// Opens what makes vectors of texts, if there is anything. Reading a model takes a while, and is done on another thread.
///
/// # Errors
/// When it cannot be used.
pub async fn open_embedder(settings: &config::Embeddings) -> Result<Option<Arc<Embedder>>, BadSettings> {
    let Some(settings) = embedder_settings(settings) else { return Ok(None) };
    let opened = tokio::task::spawn_blocking(|| Embedder::open(settings)).await;
    let opened = opened.map_err(|error| BadSettings::Embeddings(error.to_string()))?;
    opened.map(|embedder| Some(Arc::new(embedder))).map_err(BadSettings::Embeddings)
}

fn embedder_settings(settings: &config::Embeddings) -> Option<search::Settings> {
    let source = match (&settings.embedding_model, &settings.embedding_url, &settings.embedding_name) {
        _ if settings.no_embeddings => return None,
        (_, Some(url), Some(name)) => search::Source::Endpoint(EndpointSettings {
            url: url.0.clone(),
            key: settings.embedding_key.as_ref().map(|key| key.0.clone()),
            name: name.clone(),
            query_name: settings.embedding_query_model.clone(),
            dimensions: settings.embedding_dimensions.map(usize::from),
            batch_size: settings.embedding_batch.into(),
            timeout: settings.embedding_timeout,
            allows_plain_http: settings.embedding_allow_plain_http,
        }),
        (Some(folder), ..) => search::Source::Folder(folder.clone()),
        // A model that nobody asked for need not be there.
        _ => search::Source::Folder(Some(Path::new(config::DEFAULT_MODEL)).filter(|folder| folder.exists())?.into()),
    };
    let (query_prefix, passage_prefix) =
        (settings.embedding_query_prefix.clone(), settings.embedding_passage_prefix.clone());
    Some(search::Settings { source, query_prefix, passage_prefix })
}
