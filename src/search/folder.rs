//! A model in a folder, as sentence-transformers and Hugging Face keep it: `config.json`, `tokenizer.json`,
//! `model.safetensors`, and how it was trained to be used: `1_Pooling/config.json`, `sentence_bert_config.json`,
//! `config_sentence_transformers.json`, `modules.json`, each of which may be missing.

use std::{
    collections::HashMap,
    fmt::Write,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tokenizers::{Tokenizer, TruncationParams};

use super::{
    bert::{Bert, Pooling, Shape},
    kinds::Prefixes,
    weights::Weights,
};
use crate::model::vectors::Vector;

/// Fewer tokens than this have no room for a word.
const MIN_TOKENS: usize = 8;
/// One of so many pages of the weights is in the digest.
const SAMPLED_PAGES: usize = 64;
/// Bytes of such a page.
const PAGE: usize = 4096;

/// A model that was read.
pub(super) struct Model {
    tokenizer: Tokenizer,
    bert: Bert,
    pooling: Pooling,
    lower_case: bool,
}

/// What is known of a model besides its weights.
pub(super) struct About {
    /// Digest of what decides about its vectors, and of no path.
    pub(super) digest: String,
    /// What it is called where it is from.
    pub(super) name: String,
    /// What it wants before texts; empty if the folder says nothing.
    pub(super) prefixes: Prefixes,
}

#[derive(Deserialize)]
struct Config {
    model_type: String,
    #[serde(default, rename = "_name_or_path")]
    name: String,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sentences {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Prompts {
    prompts: HashMap<String, String>,
    default_prompt_name: Option<String>,
}

#[derive(Deserialize)]
struct Module {
    r#type: String,
}

impl Model {
    /// Reads a folder.
    ///
    /// # Errors
    /// What is wrong with it, in part of a sentence.
    pub(super) fn open(folder: &Path) -> Result<(Self, About), String> {
        let files = Files { folder, digest: Sha256::new() };
        files.read_all()
    }

    /// A vector for each text; `None` if there is none, such as after an overflow.
    pub(super) fn embed(&self, texts: &[String]) -> Vec<Option<Vector>> {
        let (tokens, positions): (Vec<_>, Vec<_>) =
            texts.iter().enumerate().filter_map(|(at, text)| Some((self.tokens(text)?, at))).unzip();
        let mut vectors = vec![None; texts.len()];
        for (at, numbers) in positions.into_iter().zip(self.bert.embed(&tokens, self.pooling)) {
            if let Some(vector) = vectors.get_mut(at) {
                *vector = Vector::new(numbers);
            }
        }
        vectors
    }

    fn tokens(&self, text: &str) -> Option<Vec<u32>> {
        let lower_case = self.lower_case.then(|| text.to_lowercase());
        let encoding = self.tokenizer.encode_fast(lower_case.as_deref().unwrap_or(text), true).ok()?;
        Some(encoding.get_ids().to_vec()).filter(|ids| !ids.is_empty())
    }
}

/// The files of a folder, and the digest of those that were read.
struct Files<'a> {
    folder: &'a Path,
    digest: Sha256,
}

impl Files<'_> {
    fn read_all(mut self) -> Result<(Model, About), String> {
        let config: Config = self.json("config.json")?;
        config.check()?;
        // Those of other types have other fields.
        let shape: Shape = self.json("config.json")?;
        let sentences: Sentences = self.optional("sentence_bert_config.json")?.unwrap_or_default();
        let pooling = pooling(&self.optional("1_Pooling/config.json")?.unwrap_or_default())?;
        for Module { r#type: module } in self.optional::<Vec<_>>("modules.json")?.unwrap_or_default() {
            if !["Transformer", "Pooling", "Normalize"].iter().any(|known| module.ends_with(known)) {
                return Err(format!("it needs {module}, which is not supported"));
            }
        }
        let prefixes = self.optional::<Prompts>("config_sentence_transformers.json")?.unwrap_or_default().prefixes();
        let tokenizer = self.tokenizer(&shape, &sentences)?;
        let file = self.read("model.safetensors")?;
        let bert = Weights::parse(&file).and_then(|weights| Bert::read(&weights, &shape));
        let bert = bert.map_err(|why| format!("model.safetensors cannot be used: {why}"))?;
        // Reading all of it would take as long as opening it. What was trained differently differs everywhere.
        file.chunks(PAGE).step_by(SAMPLED_PAGES).for_each(|page| self.digest.update(page));
        self.digest.update(file.len().to_le_bytes());
        let digest = self.digest.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let about = About { digest, name: config.name, prefixes };
        Ok((Model { tokenizer, bert, pooling, lower_case: sentences.do_lower_case }, about))
    }

    fn tokenizer(&mut self, shape: &Shape, sentences: &Sentences) -> Result<Tokenizer, String> {
        let file = self.read("tokenizer.json")?;
        self.digest.update(&file);
        let why = |error: tokenizers::Error| format!("tokenizer.json cannot be used: {error}");
        let mut tokenizer = Tokenizer::from_bytes(&file).map_err(why)?;
        let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or_default();
        if highest as usize >= shape.vocab_size {
            return Err(format!(
                "tokenizer.json has the token {highest}, but the model knows only {}",
                shape.vocab_size
            ));
        }
        let max_length = sentences.max_seq_length.unwrap_or(usize::MAX).min(shape.max_position_embeddings);
        if max_length < MIN_TOKENS {
            return Err(format!("max_seq_length is {max_length}, which is less than {MIN_TOKENS}"));
        }
        let truncation = TruncationParams { max_length, ..TruncationParams::default() };
        tokenizer.with_padding(None).with_truncation(Some(truncation)).map_err(why)?;
        Ok(tokenizer)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        fs::read(self.path(name)).map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                return format!("there is no {name} in it");
            }
            format!("{name} cannot be read: {error}")
        })
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        let file = self.read(name)?;
        self.digest.update(&file);
        serde_json::from_slice(&file).map_err(|error| format!("{name} cannot be used: {error}"))
    }

    fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        if self.path(name).exists() { self.json(name).map(Some) } else { Ok(None) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Config {
    /// The forward pass is that of BERT and of nothing else.
    fn check(&self) -> Result<(), String> {
        let kind = &self.model_type;
        if kind != "bert" {
            return Err(format!(
                "its model_type is {kind:?}, and only \"bert\" is supported; run another program for it and name that with \
                 --embedding-url"
            ));
        }
        for (setting, supported) in [(&self.hidden_act, "gelu"), (&self.position_embedding_type, "absolute")] {
            if let Some(other) = setting.as_deref().filter(|its| *its != supported) {
                return Err(format!("config.json says {other:?}, and only {supported:?} is supported"));
            }
        }
        Ok(())
    }
}

impl Prompts {
    /// What is written before a query and before a passage, which newer models call a document.
    fn prefixes(mut self) -> Prefixes {
        let default = self.default_prompt_name.and_then(|name| self.prompts.get(&name).cloned()).unwrap_or_default();
        let query = self.prompts.remove("query").unwrap_or_else(|| default.clone());
        let passage = self.prompts.remove("passage").or_else(|| self.prompts.remove("document")).unwrap_or(default);
        Prefixes { query, passage }
    }
}

/// The only mode of pooling that is on; the mean if none is named.
fn pooling(modes: &HashMap<String, serde_json::Value>) -> Result<Pooling, String> {
    let on = modes.iter().filter(|(name, is_on)| name.starts_with("pooling_mode_") && **is_on == true);
    let names: Vec<&str> = on.map(|(name, _)| name.trim_start_matches("pooling_mode_")).collect();
    match names.as_slice() {
        [] | ["mean_tokens"] => Ok(Pooling::Mean),
        ["cls_token"] => Ok(Pooling::First),
        others => Err(format!(
            "1_Pooling/config.json asks for {}, and only one of mean_tokens and cls_token is \
                               supported",
            others.join(" and ")
        )),
    }
}
