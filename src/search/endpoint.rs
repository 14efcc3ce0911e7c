//! Another program that makes vectors, over HTTP as OpenAI has it (<https://platform.openai.com/docs/api-reference/embeddings>)
//! and Ollama, llama.cpp, vLLM, LM Studio and text-embeddings-inference have it too, each with small differences.
//!
//! What is wrong is found out with a text that nobody wrote: so no answer that could quote a user is ever shown.

use std::{error::Error, iter::successors, sync::OnceLock, time::Duration};

use reqwest::{Client, Response, StatusCode, Url, header, redirect};
use serde::Serialize;
use serde_json::json;

use super::{
    answers::{message, numbers},
    errors::EmbedError,
    kinds::Kind,
    networks::{NotPrivate, PrivateResolver, is_private},
};
use crate::model::vectors::Vector;

/// Asked for when something else was refused: is it the text, or everything?
const PROBE: &str = "hello";
/// A longer `Retry-After` is not believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// Bytes of an answer, for each text: more than 10,000 numbers.
const MAX_BYTES_PER_TEXT: usize = 256 << 10;

/// Which program, and what to ask it for.
pub struct EndpointSettings {
    /// The URL before `/embeddings`, such as `https://api.openai.com/v1`. A user in it is sent as Basic authentication.
    pub url: String,
    /// Sent as a bearer token.
    pub key: Option<String>,
    /// The model.
    pub name: String,
    /// The model to ask for the vectors of queries, if it has a name of its own.
    pub query_name: Option<String>,
    /// Dimensions to ask for; `None`: as many as the model has.
    pub dimensions: Option<usize>,
    /// Texts in a request, at least 1.
    pub batch_size: usize,
    /// The whole answer must have come within this time.
    pub timeout: Duration,
    /// Whether texts may be sent through other networks unencrypted.
    pub allows_plain_http: bool,
}

impl EndpointSettings {
    /// What must be equal for vectors to be comparable.
    pub(super) fn id(&self) -> String {
        json!([self.name, self.query_name, self.dimensions]).to_string()
    }
}

/// A program that makes vectors.
pub(super) struct Endpoint {
    settings: EndpointSettings,
    url: Url,
    http: Client,
    /// Those of the first answer, if none are set.
    dimensions: OnceLock<usize>,
}

/// Some programs know no `dimensions`: it is only there if it is set.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

/// Why there are no vectors, and what the program said about it.
struct Failure {
    error: EmbedError,
    /// Whether it did not answer in time.
    is_late: bool,
    status: Option<StatusCode>,
    says: Option<String>,
}

impl From<EmbedError> for Failure {
    fn from(error: EmbedError) -> Self {
        Self { error, is_late: false, status: None, says: None }
    }
}

impl Endpoint {
    /// Prepares to ask; nothing is sent yet.
    ///
    /// # Errors
    /// One sentence for the operator. The URL is not in it: there may be a password in it.
    pub(super) fn open(settings: EndpointSettings) -> Result<Self, String> {
        let mut url = Url::parse(&settings.url).map_err(|error| format!("--embedding-url is no URL: {error}"))?;
        let encrypted = url.scheme() == "https";
        if !encrypted && url.scheme() != "http" {
            return Err("--embedding-url must begin with https:// or http://".to_owned());
        }
        if !url.username().is_empty() && settings.key.is_some() {
            return Err("--embedding-url has a user in it, and there is an --embedding-key too: only one can be sent"
                .to_owned());
        }
        let must_be_private = !encrypted && !settings.allows_plain_http;
        let address = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        if must_be_private && address.is_some_and(|address| !is_private(address)) {
            return Err(format!("--embedding-url: {}", refusal("this")));
        }
        url.path_segments_mut().map_err(|()| "--embedding-url has no path")?.pop_if_empty().push("embeddings");
        let mut http = Client::builder().timeout(settings.timeout).redirect(redirect::Policy::none());
        if !encrypted {
            // A proxy would be one more who reads along.
            http = http.no_proxy();
        }
        if must_be_private {
            http = http.dns_resolver(PrivateResolver);
        }
        let http = http.build().map_err(|error| error.to_string())?;
        let dimensions = settings.dimensions.map_or_else(OnceLock::new, OnceLock::from);
        Ok(Self { settings, url, http, dimensions })
    }

    /// Texts of a request.
    pub(super) fn batch_size(&self) -> usize {
        self.settings.batch_size
    }

    /// A vector for each text, all of the same dimensions, with one request, and another one if it is refused.
    pub(super) async fn embed(&self, kind: Kind, texts: Vec<String>) -> Result<Vec<Vector>, EmbedError> {
        let (error, is_late) = match self.ask(kind, &texts).await {
            Ok(vectors) => return Ok(vectors),
            Err(Failure { error, is_late, .. }) => (error, is_late),
        };
        // If the endpoint answers to something else, one of the texts is to blame, whatever it says of them, or if it is late.
        let refused = EmbedError::refused(error.to_string());
        match error {
            EmbedError::Temporary { .. } if !is_late => return Err(error),
            EmbedError::Refused { .. } if texts.len() > 1 => return Err(refused),
            EmbedError::Temporary { .. } | EmbedError::Refused { .. } | EmbedError::Misconfigured { .. } => {}
        }
        let Err(Failure { error: probed, status, says, .. }) = self.ask(kind, &[PROBE.to_owned()]).await else {
            return Err(refused);
        };
        let says = says.map_or_else(String::new, |says| format!(": {}", self.printable(&says)));
        Err(match probed {
            EmbedError::Temporary { .. } => probed,
            EmbedError::Refused { reason } if status == Some(StatusCode::INTERNAL_SERVER_ERROR) => {
                EmbedError::temporary(reason)
            }
            EmbedError::Refused { reason } | EmbedError::Misconfigured { reason } => {
                EmbedError::Misconfigured { reason: format!("{reason}{says}") }
            }
        })
    }

    async fn ask(&self, kind: Kind, texts: &[String]) -> Result<Vec<Vector>, Failure> {
        let settings = &self.settings;
        let name = settings.query_name.as_ref().filter(|_| kind == Kind::Query).unwrap_or(&settings.name);
        let body = Request { model: name, input: texts, encoding_format: "float", dimensions: settings.dimensions };
        let body = serde_json::to_string(&body).map_err(|error| EmbedError::refused(error.to_string()))?;
        let mut request = self.http.post(self.url.clone()).header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &settings.key {
            request = request.bearer_auth(key);
        }
        let response = request.body(body).send().await.map_err(|error| unreachable(&error))?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let max_bytes = MAX_BYTES_PER_TEXT * texts.len().max(1);
        let body = read(response, max_bytes).await?;
        if !status.is_success() {
            let (error, says) = (judged(status, retry_after), message(&body));
            return Err(Failure { error, is_late: false, status: Some(status), says });
        }
        let vectors = numbers(&body, texts.len())?.into_iter().map(Vector::new).collect::<Option<Vec<_>>>();
        let vectors = vectors.ok_or_else(|| EmbedError::refused("the endpoint gave a zero or invalid vector"))?;
        self.check_dimensions(&vectors)?;
        Ok(vectors)
    }

    fn check_dimensions(&self, vectors: &[Vector]) -> Result<(), EmbedError> {
        for given in vectors.iter().map(Vector::dimensions) {
            let wanted = *self.dimensions.get_or_init(|| given);
            if given != wanted {
                let reason = match self.settings.dimensions {
                    Some(_) => "--embedding-dimensions asks for",
                    None => "those before had",
                };
                return Err(EmbedError::misconfigured(format!(
                    "the endpoint gives vectors of {given} dimensions, but {reason} {wanted}"
                )));
            }
        }
        Ok(())
    }

    /// What the program said, shortened, without the key.
    fn printable(&self, says: &str) -> String {
        let key = self.settings.key.as_deref().filter(|key| !key.is_empty());
        let says = key.map_or_else(|| says.to_owned(), |key| says.replace(key, "…"));
        says.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// What a status means. A text that is too long is an error of the server (500) for some.
fn judged(status: StatusCode, retry_after: Option<Duration>) -> EmbedError {
    let advice = match status.as_u16() {
        400 | 413 | 422 | 500 => return EmbedError::refused(format!("the endpoint answers {status}")),
        408 | 425 | 429 | 502..=599 => {
            return EmbedError::Temporary { reason: format!("the endpoint answers {status}"), retry_after };
        }
        401 | 403 => "check --embedding-key",
        404 | 405 => "check --embedding-url, which ends before /embeddings, and --embedding-name",
        300..400 => "name in --embedding-url where it is now",
        _ => "check the flags of embeddings",
    };
    EmbedError::misconfigured(format!("the endpoint answers {status}; {advice}"))
}

/// The body, if it is not too long.
async fn read(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        if body.len() + chunk.len() > max_bytes {
            let why = format!("the endpoint's answer is longer than {max_bytes} bytes");
            return Err(EmbedError::misconfigured(why).into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// Why nothing, or half an answer, came. The URL is left out.
fn unreachable(error: &reqwest::Error) -> Failure {
    if error.is_timeout() && !error.is_connect() {
        let error = EmbedError::temporary("the endpoint did not answer in time");
        return Failure { is_late: true, ..error.into() };
    }
    let causes: Vec<&(dyn Error + 'static)> = successors(error.source(), |cause| (*cause).source()).collect();
    if let Some(far) = causes.iter().find_map(|cause| cause.downcast_ref::<NotPrivate>()) {
        return EmbedError::misconfigured(format!("--embedding-url: {}", refusal(&far.to_string()))).into();
    }
    let last = causes.last().map_or_else(String::new, |cause| format!(": {cause}"));
    EmbedError::temporary(format!("the endpoint cannot be reached{last}")).into()
}

fn refusal(why: &str) -> String {
    format!(
        "{why} would send what people write through other networks unencrypted; use https://, or say \
         --embedding-allow-plain-http if that is what you want"
    )
}
