//! Searches over messages.

use async_graphql::{Enum, ID, InputObject};

use super::{
    Context, DateTime, Query, count, id,
    pages::{PageInfo, Position, decode, page_size},
};
use crate::{
    domain::searches::{Found, Hit, MAX_TEXT, Search},
    execution::{self, Error, Fields, Object, Text},
    model::{
        messages::Message,
        searches::{Mode, Order, Place},
    },
};

/// The field that searches messages.
pub(super) const FIELD: &str = "searchMessages";

/// How a search compares messages with its text.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Mode")]
enum SearchMode {
    /// Messages with all of the words, regardless of case, accents, and strokes and ligatures of the usual Latin letters.
    Text,
    /// Messages with a similar meaning, also in other words.
    Semantic,
    /// By words and by meaning. Where the server has no embedding model, or it does not answer, the same as TEXT.
    Hybrid,
}

/// The order of what is found.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Order")]
enum SearchOrder {
    /// Best match first: the best 200. By words they are chosen among the newest 2,000 messages with all words, or fewer if these have
    /// more than 1 MiB of text.
    Relevance,
    /// Newest first: all messages with all words. Not with SEMANTIC.
    Newest,
}

/// What to look for.
#[derive(Clone, InputObject)]
struct SearchMessagesInput {
    /// 1 to 1,000 characters. A message must have all of the words; `"a phrase in quotes"` as it is; `wor*`: how a word begins.
    text: String,
    /// TEXT matches words, SEMANTIC matches meaning, HYBRID mixes both and falls back to TEXT.
    #[graphql(default_with = "SearchMode::Hybrid")]
    mode: SearchMode,
    /// Search as this user. Only for admins, service tokens and open mode; otherwise it is you.
    user_id: Option<ID>,
    /// Only in this conversation.
    conversation_id: Option<ID>,
    /// Only what this user sent.
    sender_id: Option<ID>,
    /// Only what was sent at this time or later.
    since: Option<DateTime>,
    /// Only what was sent before this time.
    until: Option<DateTime>,
    /// Best match or newest first.
    #[graphql(default_with = "SearchOrder::Relevance")]
    order: SearchOrder,
}

#[derive(Clone, InputObject)]
struct SearchArguments {
    /// What to look for.
    input: SearchMessagesInput,
    /// At most so many, 0 to 100.
    #[graphql(default_with = "Some(20)")]
    first: Option<i32>,
    /// Only what comes after this cursor, which came from the same input.
    after: Option<String>,
}

impl SearchArguments {
    fn search(&self) -> Result<Search, Error> {
        let input = &self.input;
        if input.text.trim().is_empty() || input.text.chars().nth(MAX_TEXT).is_some() {
            return Err(Error::bad_input(format!(
                "`text` must have 1 to {MAX_TEXT} characters that are not all blank."
            )));
        }
        Ok(Search {
            text: input.text.clone(),
            mode: input.mode.into(),
            order: input.order.into(),
            user: input.user_id.as_ref().map(id).transpose()?,
            conversation: input.conversation_id.as_ref().map(id).transpose()?,
            sender: input.sender_id.as_ref().map(id).transpose()?,
            since: input.since.map(|at| at.0),
            until: input.until.map(|at| at.0),
            first: page_size("`first`", self.first.unwrap_or(20), 0)?,
            after: self.after.as_deref().map(parse_cursor).transpose()?,
        })
    }
}

fn parse_cursor(cursor: &str) -> Result<Place, Error> {
    let why = "This is no cursor of a search. Pass one exactly as it came from `cursor` or `endCursor`.";
    decode(cursor).and_then(|text| text.parse().ok()).ok_or_else(|| Error::bad_input(why))
}

impl Object for Found {
    const NAME: &'static str = "SearchConnection";
    const DESCRIPTION: &'static str = "A page of what a search found.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Vec<Message>>("nodes", "The messages, in the requested order.", |found, _| {
            found.hits.iter().map(|hit| &hit.message).collect()
        });
        fields.plain::<Vec<Hit>>("edges", "The same messages, each with its cursor and what matches.", |found, _| {
            found.hits.iter().collect()
        });
        fields.plain::<PageInfo>("pageInfo", "What lies after the page. A search has no pages before.", |found, _| {
            let place = |hit: &Hit| Position::Place(hit.place);
            let (start, end) = (found.hits.first().map(place), found.hits.last().map(place));
            PageInfo { has_next: found.has_next, has_previous: false, start, end }
        });
        fields.plain::<execution::Enum<SearchMode>>("mode", "The mode that was used.", |found, _| found.mode.into());
        fields.field::<i32>(
            "pending",
            "How many of the messages that you search are not indexed yet for this mode, and cannot be found: by their words with \
             TEXT, otherwise by meaning. 100,000 if there are more.",
            |found, context| {
                let Some(scope) = found.scope else { return Ok(0) };
                context.require(&context.loaded.pending, (scope, found.mode)).copied().map(count)
            },
        );
    }
}

impl Object for Hit {
    const NAME: &'static str = "SearchEdge";
    const DESCRIPTION: &'static str = "A message that was found, where it stands, and what matches.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Message>("node", "The message.", |hit, _| &hit.message);
        fields.plain::<Text<Position>>("cursor", "Where it stands, for `after`. Opaque.", |hit, _| {
            Position::Place(hit.place)
        });
        fields.plain::<f64>(
            "score",
            "Higher is better; compare within one search only. 0 with the order NEWEST.",
            |hit, _| hit.score,
        );
        fields.plain::<String>(
            "snippet",
            "The part of the text that matches, about 160 characters, the matched words between `**`. Each `*` of the text itself \
             is shown as `∗`.",
            |hit, _| &hit.snippet,
        );
    }
}

/// Searches.
pub(super) fn queries(fields: &mut Fields<Query>) {
    fields.with::<Found, SearchArguments>(
        FIELD,
        "Find messages you may see, by words, by meaning, or both.",
        |(), context, arguments| context.require(&context.loaded.searches, arguments.search()?),
    );
}
