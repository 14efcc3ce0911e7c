//! Any object by its id, and what the server says about itself.

use async_graphql::{ID, InputObject, OutputType, indexmap::IndexMap, registry::Registry};

use super::{Context, Conversation, Query};
use crate::{
    domain::accounts,
    execution::{
        self, Binder, CollectedField, Error, Fields, MAX_PAGE, NullPropagated, Object, Output, Selection, Unresolved,
        Writer, interface,
    },
    model::{
        ids::{AnyId, NotAnId},
        messages::Message,
        sessions::Session,
        texts::MAX_CONTENT,
        users::User,
    },
};

/// The type of anything that has an id.
struct Node;

/// Any object that has an id.
enum NodeRow<'a> {
    User(&'a User),
    Message(&'a Message),
    Conversation(Conversation),
    Session(&'a Session),
}

impl NodeRow<'_> {
    /// The object with this id; `None` if there is none that the viewer may see, or if it is no id at all.
    fn load<'a>(context: &'a Context, id: &ID) -> Result<Option<NodeRow<'a>>, Unresolved> {
        let id: Result<AnyId, NotAnId> = id.parse();
        Ok(match id {
            Ok(AnyId::User(id)) => context.loaded.users.get(id)?.map(NodeRow::User),
            Ok(AnyId::Message(id)) => context.loaded.messages.get(id)?.map(NodeRow::Message),
            Ok(AnyId::Conversation(id)) => context.conversation(id)?.map(Conversation::of).map(NodeRow::Conversation),
            Ok(AnyId::Session(id)) => {
                let Some(me) = context.viewer.user() else { return Ok(None) };
                let mine = context.require(&context.loaded.sessions, me)?;
                mine.iter().find(|session| session.id == id).map(NodeRow::Session)
            }
            Err(_no_id) => None,
        })
    }
}

/// What is asked of an object, for each type that it can have.
struct NodeSelection {
    user: Selection<User>,
    message: Selection<Message>,
    conversation: Selection<Conversation>,
    session: Selection<Session>,
}

impl execution::Declare for Node {
    const NAME: &'static str = "Node";

    fn describe(registry: &mut Registry) -> async_graphql::registry::MetaType {
        let description =
            "Anything with an id that is unique on this server. Ids are opaque: store them, never parse them.";
        let id = "Type-prefixed id, such as usr_1, msg_42, cnv_1_2, ses_7.";
        let id = execution::field("id", id, ID::create_type_info(registry), IndexMap::default());
        let types = [User::NAME, Message::NAME, Conversation::NAME, Session::NAME];
        for ty in types {
            registry.add_implements(ty, Self::NAME);
        }
        interface(Self::NAME, description, [id], &types)
    }
}

impl Output<Context> for Node {
    type Of<'a> = NodeRow<'a>;
    type Selection = NodeSelection;

    fn declare(registry: &mut Registry) -> String {
        User::declare(registry);
        Message::declare(registry);
        Conversation::declare(registry);
        Session::declare(registry);
        <execution::Declared<Node> as OutputType>::create_type_info(registry)
    }

    fn bind(field: &CollectedField, binder: &mut Binder) -> NodeSelection {
        NodeSelection {
            user: Selection::bind(field.selection_of(User::NAME), binder),
            message: Selection::bind(field.selection_of(Message::NAME), binder),
            conversation: Selection::bind(field.selection_of(Conversation::NAME), binder),
            session: Selection::bind(field.selection_of(Session::NAME), binder),
        }
    }

    fn write<'a>(
        found: NodeRow<'a>,
        selection: &NodeSelection,
        context: &'a Context,
        writer: &mut Writer<'_>,
    ) -> Result<(), NullPropagated> {
        match found {
            NodeRow::User(row) => selection.user.write(row, context, writer),
            NodeRow::Message(row) => selection.message.write(row, context, writer),
            NodeRow::Conversation(row) => selection.conversation.write(row, context, writer),
            NodeRow::Session(row) => selection.session.write(row, context, writer),
        }
    }
}

/// What the server says about itself.
struct ServerInfo;

impl Object for ServerInfo {
    const NAME: &'static str = "ServerInfo";
    const DESCRIPTION: &'static str = "Version, optional features and limits of the server.";
    type Context = Context;
    type Row<'a> = ();

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<String>("version", "Version of the server, such as 0.1.0.", |(), _| env!("CARGO_PKG_VERSION"));
        fields.plain::<Vec<String>>(
            "features",
            "Optional features that are on: `open`, if nobody signs in and everybody may act for everyone; `accounts`, if \
             people sign in; `sign-up`, if they may make accounts for themselves; `search`; `search:semantic`, if messages are \
             found by their meaning, too.",
            |(), context| {
                let who = if context.app.keys.is_none() { "open" } else { "accounts" };
                let sign_up = accounts::is_sign_up_open(&context.app).then_some("sign-up");
                let by_meaning = context.app.embedder.as_ref().map(|_| "search:semantic");
                [Some(who), sign_up, Some("search"), by_meaning].into_iter().flatten().collect()
            },
        );
        fields.plain::<i32>(
            "maxContentLength",
            "The maximum length of a message, in characters (Unicode scalar values).",
            |(), _| i32::try_from(MAX_CONTENT).unwrap_or(i32::MAX),
        );
        fields.plain::<Option<f64>>(
            "messageRetentionDays",
            "Messages older than so many days are hidden and deleted, and no event says so: forget them then. Null if all are kept.",
            |(), context| context.app.message_retention.map(|retention| retention.as_secs_f64() / 86_400.0),
        );
        fields.plain::<i32>("maxPageSize", "The most that `first` and `last` may ask for.", |(), _| MAX_PAGE.into());
    }
}

#[derive(Clone, InputObject)]
struct NodeArguments {
    /// The id, with its prefix.
    id: ID,
}

#[derive(Clone, InputObject)]
struct NodesArguments {
    /// At most 100 ids, with their prefixes.
    ids: Vec<ID>,
}

/// Queries about anything.
pub(super) fn queries(fields: &mut Fields<Query>) {
    fields.with::<Option<Node>, NodeArguments>("node", "Any object by id.", |(), context, NodeArguments { id }| {
        NodeRow::load(context, id)
    });
    fields.with::<Vec<Option<Node>>, NodesArguments>(
        "nodes",
        "The objects with these ids, in the same order; null for each that you may not see.",
        |(), context, NodesArguments { ids }| {
            if ids.len() > usize::from(MAX_PAGE) {
                return Err(Error::bad_input(format!("Ask for at most {MAX_PAGE} ids at once.")).into());
            }
            // All are asked for, also where one has to be loaded first.
            let found: Vec<_> = ids.iter().map(|id| NodeRow::load(context, id)).collect();
            found.into_iter().collect()
        },
    );
    fields.plain::<ServerInfo>(
        "server",
        "Version, optional features that are on, and limits: check before you use something new.",
        |(), _| (),
    );
}
