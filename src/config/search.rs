//! What makes the vectors that search by meaning compares: a model in a folder, or another program.

use std::{path::PathBuf, time::Duration};

use clap::{Args, builder::FalseyValueParser};

use super::values::{Secret, seconds};

/// The folder of a model that is used if it is there.
pub const DEFAULT_MODEL: &str = "model";

/// What makes vectors of texts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Search")]
pub struct Embeddings {
    /// Folder with the embedding model: BERT, as sentence-transformers saves it (`make model` gets one). Without this flag
    /// it is `model`, if that is there
    #[arg(long, value_name = "DIR", env = "DUOLOGUE_EMBEDDING_MODEL", conflicts_with = "embedding_url")]
    pub embedding_model: Option<PathBuf>,
    /// Base URL of an OpenAI-compatible embeddings API, without `/embeddings`, such as `http://127.0.0.1:11434/v1` for
    /// Ollama: all messages and what people look for are sent there
    #[arg(
        long,
        value_name = "URL",
        env = "DUOLOGUE_EMBEDDING_URL",
        hide_env_values = true,
        requires = "embedding_name"
    )]
    pub embedding_url: Option<Secret>,
    /// Name of the model at the endpoint
    #[arg(long, value_name = "NAME", env = "DUOLOGUE_EMBEDDING_NAME", requires = "embedding_url")]
    pub embedding_name: Option<String>,
    /// Name of the model for search queries there, if it is another one
    #[arg(long, value_name = "NAME", env = "DUOLOGUE_EMBEDDING_QUERY_MODEL", requires = "embedding_url")]
    pub embedding_query_model: Option<String>,
    /// API key for --embedding-url
    #[arg(
        long,
        value_name = "KEY",
        env = "DUOLOGUE_EMBEDDING_KEY",
        hide_env_values = true,
        requires = "embedding_url"
    )]
    pub embedding_key: Option<Secret>,
    /// Dimensions to request, for models that can return shorter vectors
    #[arg(long, value_name = "N", env = "DUOLOGUE_EMBEDDING_DIMENSIONS", requires = "embedding_url")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=16_384))]
    pub embedding_dimensions: Option<u16>,
    /// Messages in one request to the endpoint
    #[arg(long, value_name = "N", env = "DUOLOGUE_EMBEDDING_BATCH", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=2_048))]
    pub embedding_batch: u16,
    /// Time for the endpoint to answer; at most 3 seconds for search queries
    #[arg(long, value_name = "SECONDS", env = "DUOLOGUE_EMBEDDING_TIMEOUT", default_value = "30", value_parser = seconds)]
    pub embedding_timeout: Duration,
    /// Allow an endpoint with unencrypted `http://` outside this machine and private networks
    #[arg(long, env = "DUOLOGUE_EMBEDDING_ALLOW_PLAIN_HTTP", value_parser = FalseyValueParser::new())]
    pub embedding_allow_plain_http: bool,
    /// Prefix that the model expects before a search query, such as `query: `. Without this flag it is the one in the
    /// model's folder
    #[arg(long, value_name = "TEXT", env = "DUOLOGUE_EMBEDDING_QUERY_PREFIX")]
    pub embedding_query_prefix: Option<String>,
    /// Prefix that the model expects before a message, such as `passage: `
    #[arg(long, value_name = "TEXT", env = "DUOLOGUE_EMBEDDING_PASSAGE_PREFIX")]
    pub embedding_passage_prefix: Option<String>,
    /// Search by words only, whatever the other flags are
    #[arg(long, env = "DUOLOGUE_NO_EMBEDDINGS", value_parser = FalseyValueParser::new())]
    pub no_embeddings: bool,
}
