//! Any object by its id, and what the server says about itself.

use async_graphql::{Context, ID, Interface, Object, Result, SimpleObject};
use futures_util::future::try_join_all;

use super::{Conversation, Message, User, accounts::Session, calls::Call, errors::bad_input, pages::MAX_SIZE};
use crate::model::{
    ids::{AnyId, NotAnId},
    texts::MAX_CONTENT,
};

/// Anything with an id that is unique on this server. Ids are opaque: store them, never parse them.
#[derive(Clone, Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Type-prefixed id, such as usr_1, msg_42, cnv_1_2, ses_7."))]
pub(super) enum Node {
    /// `usr_1`
    User(User),
    /// `msg_42`
    Message(Message),
    /// `cnv_1_2`
    Conversation(Conversation),
    /// `ses_7`
    Session(Session),
}

impl Node {
    /// The object with this id; null if there is none that the viewer may see, or if it is no id at all.
    async fn load(ctx: &Context<'_>, id: &ID) -> Result<Option<Self>> {
        let id: Result<AnyId, NotAnId> = id.parse();
        Ok(match id {
            Ok(AnyId::User(id)) => User::load(ctx, id).await?.map(Self::User),
            Ok(AnyId::Message(id)) => Message::load(ctx, id).await?.map(Self::Message),
            Ok(AnyId::Conversation(id)) => Conversation::load(ctx, id).await?.map(Self::Conversation),
            Ok(AnyId::Session(id)) => Session::load(ctx, id).await?.map(Self::Session),
            Err(_no_id) => None,
        })
    }
}

/// Version, optional features and limits of the server.
#[derive(SimpleObject)]
pub(super) struct ServerInfo {
    /// Version of the server, such as 0.1.0.
    version: &'static str,
    /// Optional features that are on: `open`, if nobody signs in and everybody may act for everyone; `accounts`, if people
    /// sign in.
    features: Vec<&'static str>,
    /// In characters (Unicode scalar values).
    max_content_length: usize,
    /// The most that `first` and `last` may ask for.
    max_page_size: u16,
}

/// Queries about anything.
#[derive(Default)]
pub(super) struct NodeQuery;

#[Object]
impl NodeQuery {
    /// Any object by id.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id, with its prefix.")] id: ID,
    ) -> Result<Option<Node>> {
        Node::load(ctx, &id).await
    }

    /// Objects in the order asked; null for any you may not see.
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most 100 ids, with their prefixes.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Node>>> {
        if ids.len() > usize::from(MAX_SIZE) {
            return Err(bad_input(format!("Ask for at most {MAX_SIZE} ids at once.")));
        }
        try_join_all(ids.iter().map(|id| Node::load(ctx, id))).await
    }

    /// Version, optional features that are on, and limits: check before you use something new.
    async fn server(&self, ctx: &Context<'_>) -> ServerInfo {
        let open = Call::of(ctx).app.keys.is_none();
        ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            features: vec![if open { "open" } else { "accounts" }],
            max_content_length: MAX_CONTENT,
            max_page_size: MAX_SIZE,
        }
    }
}
